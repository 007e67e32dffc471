package interop

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser starts Chromium, perhaps with more flags, and returns a context in which
// chromedp drives it.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("mute-audio", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.WSURLReadTimeout(40*time.Second),
	)
	flags = append(flags, more...)
	most := 90 * time.Second
	if *long {
		most = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(func() {
		cancel() // closes the browser and waits for it
	})
	return ctx
}

// looks is what a page's video element says.
type looks struct {
	Time                   float64
	Frames, Dropped        int
	Width, Height          int
	Paused                 bool
	Error, State, Buffered string
}

const look = `JSON.stringify((v => {
  const q = v && v.getVideoPlaybackQuality()
  return !v ? {error: 'no video element'} : {time: v.currentTime, frames: q.totalVideoFrames, dropped: q.droppedVideoFrames,
    width: v.videoWidth, height: v.videoHeight, paused: v.paused, error: v.error ? v.error.message : '',
    state: (document.querySelector('output') || {}).textContent || '',
    buffered: Array.from({length: v.buffered.length}, (_, i) => v.buffered.start(i).toFixed(2) + '-' + v.buffered.end(i).toFixed(2)).join(' ')}
})(document.querySelector('video')))`

func lookAt(t *testing.T, ctx context.Context) (l looks) {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](look))
	if err != nil {
		t.Fatalf("look at the page: %v", err)
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// watches checks that the picture comes within a time and then advances: over
// three seconds, time and decoded frames grow as they must.
func watches(t *testing.T, ctx context.Context, width, height int) looks {
	t.Helper()
	var first looks
	wait(t, "the page shows frames", func() bool {
		time.Sleep(100 * time.Millisecond)
		first = lookAt(t, ctx)
		return first.Frames > 5 && first.Time > 0
	})
	time.Sleep(3 * time.Second)
	last := lookAt(t, ctx)
	if last.Width != width || last.Height != height {
		t.Errorf("the picture is %dx%d, want %dx%d", last.Width, last.Height, width, height)
	}
	if d := last.Time - first.Time; d < 2 || d > 7 { // it may jump to the newest data
		t.Errorf("the video's time went on by %.1f s in 3 s: %+v, %+v", d, first, last)
	}
	if n := last.Frames - first.Frames; n < 2*rate {
		t.Errorf("%d frames were decoded in 3 s: %+v, %+v", n, first, last)
	}
	if last.Paused || last.Error != "" {
		t.Errorf("paused or in error: %+v", last)
	}
	return last
}

// One command, and there is a moving picture with sound in the browser.
func TestDemo(t *testing.T) {
	t.Parallel()
	hall(t)
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir, temp := t.TempDir(), t.TempDir()
	demo, log := serve(t, dir, []string{"TMPDIR=" + temp}, path, "demo")
	if !log.await("Ctrl-C", 20*time.Second) {
		t.Fatalf("demo: %s", log)
	}
	url := regexp.MustCompile(`http://\S+/players/\S+`).FindString(log.String())
	ctx := browser(t)
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	watches(t, ctx, 640, 360)
	// The loop begins anew after eight seconds, which the page must not notice.
	time.Sleep(4 * time.Second)
	watches(t, ctx, 640, 360)
	stream := regexp.MustCompile(`rtmp://\S+`).FindString(log.String())
	if got := demux(t, stream, 3, ""); len(got.audio) < 100 {
		t.Errorf("%d audio packets came", len(got.audio))
	}
	demo.signal(syscall.SIGINT)
	if err := demo.wait(5 * time.Second); err != nil {
		t.Errorf("demo ended badly: %v\n%s", err, log)
	}
	for _, d := range []string{dir, temp} {
		if left, _ := os.ReadDir(d); len(left) > 0 {
			t.Errorf("demo left %v behind", left)
		}
	}
}

// The player page plays what an encoder publishes, with B-frames, and goes on
// when the publisher comes again.
func TestPlayerPage(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "")
	ctx := browser(t)
	page := "http://" + h.web + "/players/srs_player.html?autostart=true&stream=s"
	if _, err := chromedp.Run(ctx, chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
	pub := h.publish(t, bFrames, "s") // after the page
	watches(t, ctx, 320, 180)
	pub.kill()
	wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
	time.Sleep(time.Second)
	h.publish(t, baseline, "s")
	time.Sleep(3 * time.Second) // let it play what the old one left
	watches(t, ctx, 320, 180)
}

// What only Enhanced RTMP carries plays in the page as well, if the browser knows
// the codecs; where it does not, the page says so.
func TestPlayerPageCodecs(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "")
	for name, src := range map[string]*source{"av1": av1, "hevc": hevc} {
		background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream(name))
		h.awaitLive(t, name)
	}
	ctx := browser(t)
	page := "http://" + h.web + "/players/srs_player.html?autostart=true&stream="
	if _, err := chromedp.Run(ctx, chromedp.Navigate(page+"av1")); err != nil {
		t.Fatal(err)
	}
	watches(t, ctx, 320, 180)
	if _, err := chromedp.Run(ctx, chromedp.Navigate(page+"hevc")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the page says that it cannot play HEVC", func() bool { return strings.Contains(lookAt(t, ctx).State, "cannot play") })
}

// The page measures the bandwidth both ways, below the limit of bandcheck.
func TestBandwidthPage(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "bandcheck { enabled on; key secret; interval 0; limit_kbps 4000; }")
	ctx := browser(t)
	if _, err := chromedp.Run(ctx, chromedp.Navigate("http://"+h.web+"/players/srs_bwt.html?autostart=1&key=secret")); err != nil {
		t.Fatal(err)
	}
	result := ""
	wait(t, "the page has a result", func() bool {
		time.Sleep(200 * time.Millisecond)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector('output').textContent`))
		if err != nil {
			t.Fatal(err)
		}
		result = text
		return strings.HasSuffix(text, "done") || text != "" && !strings.HasPrefix(text, "download")
	})
	if !regexp.MustCompile(`^download [0-9]+ kbit/s, upload [0-9]+ kbit/s, done$`).MatchString(result) {
		t.Errorf("the page says %q", result)
	}
}
