package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// hlsPage plays HLS from another origin with hls.js.
const hlsPage = `<!doctype html><video muted autoplay playsinline></video><output></output>
<script src="/player.js"></script><script>
const hls = new Hls({lowLatencyMode: false, liveSyncDurationCount: 2})
const say = document.querySelector('output')
hls.on(Hls.Events.ERROR, (_, e) => { say.textContent += e.type + ' ' + e.details + (e.fatal ? ' (fatal) ' : ' ') })
hls.on(Hls.Events.MANIFEST_PARSED, () => document.querySelector('video').play())
hls.loadSource(new URLSearchParams(location.search).get('url'))
hls.attachMedia(document.querySelector('video'))
</script>`

// site is another origin than the server's, with a page that plays by a script of
// npm.
func site(t *testing.T, page, script string) string {
	t.Helper()
	script = "../clients/node_modules/" + script
	if _, err := os.Stat(script); err != nil {
		t.Fatalf("%v; test/install.sh gets it", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("GET /player.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, script)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// plays opens an address in the page.
func plays(t *testing.T, page, script, url string) context.Context {
	t.Helper()
	ctx := browser(t)
	if _, err := chromedp.Run(ctx, chromedp.Navigate(site(t, page, script)+"/?url="+url)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// complaint returns what hls.js said but for what it says on a machine that is too slow
// for it: that it had to wait, and that it went on behind where it had waited.
func complaint(said string) string {
	return strings.TrimSpace(strings.NewReplacer("mediaError bufferStalledError ", "", "mediaError bufferSeekOverHole ", "").Replace(said))
}

const hlsJS = "hls.js/dist/hls.min.js"

// hls.js plays HLS in each of its forms, goes on without complaint, and goes over
// to another publisher with another picture.
func TestHLSJS(t *testing.T) {
	for name, env := range map[string][]string{
		"ts":              nil,
		"fmp4":            {"SRS_VHOST_HLS_HLS_USE_FMP4=on"},
		"keys":            {"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_FRAGMENTS_PER_KEY=3"},
		"keys of fmp4":    {"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_USE_FMP4=on"},
		"no viewer named": {"SRS_VHOST_HLS_HLS_CACHEABLE=on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, "", env...)
			pub := h.publish(t, bFrames, "s")
			h.awaitHLS(t, "s")
			ctx := plays(t, hlsPage, hlsJS, h.page("s", ".m3u8"))
			watches(t, ctx, 320, 180)
			time.Sleep(4 * time.Second) // several more segments
			if l := watches(t, ctx, 320, 180); complaint(l.State) != "" {
				t.Errorf("hls.js complained: %s", l.State)
			}
			pub.kill()
			wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
			h.publish(t, small, "s")
			wait(t, "the new picture", func() bool { return lookAt(t, ctx).Width == 256 })
			if l := watches(t, ctx, 256, 144); strings.Contains(l.State, "fatal") {
				t.Errorf("hls.js complained: %s", l.State)
			}
		})
	}
}

// hls.js plays what Chromium decodes, whatever form that takes, and sound or
// picture alone.
func TestHLSJSCodecs(t *testing.T) {
	for name, src := range map[string]*source{"av1": av1, "mp3": mp3Sound, "mute": mute, "sound": soundOnly} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, "")
			if src == av1 {
				background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
				h.awaitLive(t, "s")
			} else {
				h.publish(t, src, "s")
			}
			h.awaitHLS(t, "s")
			ctx := plays(t, hlsPage, hlsJS, h.page("s", ".m3u8"))
			if src == soundOnly {
				listens(t, ctx)
			} else {
				watches(t, ctx, 320, 180)
			}
			if l := lookAt(t, ctx); complaint(l.State) != "" {
				t.Errorf("hls.js complained: %s", l.State)
			}
		})
	}
}

// listens checks that a stream without picture goes on.
func listens(t *testing.T, ctx context.Context) {
	t.Helper()
	var first looks
	wait(t, "the page plays", func() bool {
		time.Sleep(100 * time.Millisecond)
		first = lookAt(t, ctx)
		return first.Time > 0.5
	})
	time.Sleep(3 * time.Second)
	last := lookAt(t, ctx)
	if d := last.Time - first.Time; d < 2 || d > 7 || last.Paused || last.Error != "" {
		t.Errorf("it went on by %.1f s in 3 s: %+v", d, last)
	}
}

// ffmpeg reads HLS as fragmented MP4 and encrypted, and has every packet that was
// published.
func TestFFmpegHLS(t *testing.T) {
	for name, env := range map[string][]string{
		"fmp4":         {"SRS_VHOST_HLS_HLS_USE_FMP4=on"},
		"keys":         {"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_FRAGMENTS_PER_KEY=2"},
		"keys of fmp4": {"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_USE_FMP4=on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, "", env...)
			for id, src := range map[string]*source{"both": bFrames, "sound": soundOnly, "mute": mute} {
				h.publish(t, src, id)
				h.awaitHLS(t, id)
				bits := ""
				if name == "keys" && src.audio { // a transport stream
					bits = "-bsf:a aac_adtstoasc"
				}
				src.check(t, "hls", demux(t, h.page(id, ".m3u8"), 4, bits), 4, name != "keys")
			}
		})
	}
}

// What FFmpeg 8 publishes over Enhanced RTMP is in HLS under its own name.
func TestHLSCodecs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, video, audio, env string
		src                     *source
	}{
		{"hevc in ts", "hevc", "aac", "", hevc},
		{"hevc in fmp4", "hevc", "aac", "SRS_VHOST_HLS_HLS_USE_FMP4=on", hevc},
		{"av1 and opus", "av1", "opus", "", av1},
		{"ac-3 in ts", "h264", "ac3", "", ac3},
		{"ac-3 in fmp4", "h264", "ac3", "SRS_VHOST_HLS_HLS_USE_FMP4=on", ac3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var env []string
			if c.env != "" {
				env = append(env, c.env)
			}
			h := open(t, "", env...)
			background(t, "node", "../clients/av.mjs", "publish", c.src.path(t), h.stream("s"))
			h.awaitLive(t, "s")
			h.awaitHLS(t, "s")
			r := runIn(t, exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", h.page("s", ".m3u8")))
			if r.err != nil || !strings.Contains(r.out, c.video+",320") || !strings.Contains(r.out, c.audio) {
				t.Errorf("ffprobe: %v", r)
			}
			got := demux(t, h.page("s", ".m3u8"), 3, "")
			c.src.list(t)
			sameRun(t, "pictures", got.pictures, c.src.pictures, 3*rate-4)
			steady(t, "video", got.video, 0.045)
			steady(t, "audio", got.audio, 0.035)
		})
	}
}

// VLC plays HLS as fragmented MP4 and encrypted, and DASH.
func TestVLCPlaysSegments(t *testing.T) {
	for name, env := range map[string][]string{
		"fmp4": {"SRS_VHOST_HLS_HLS_USE_FMP4=on"},
		"keys": {"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_FRAGMENTS_PER_KEY=3"},
		"dash": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, dashConf, env...)
			h.publish(t, bFrames, "s")
			if name == "dash" {
				h.awaitDASH(t, "s")
				vlc(t, h.page("s", ".mpd"))
				return
			}
			h.awaitHLS(t, "s")
			vlc(t, h.page("s", ".m3u8"))
		})
	}
}

// What several engines make of a stream is one playlist, of which hls.js plays either
// and goes from one to the other.
func TestMultivariant(t *testing.T) {
	t.Parallel()
	hall(t)
	engine := func(name, coding string) string {
		return "engine " + name + " { enabled on; acodec copy; " + coding + " output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }"
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
	text := fmt.Sprintf(conf, h.rtmp, h.web, "", h.api, "transcode { enabled on; "+engine("hd", "vcodec copy;")+
		engine("sd", "vcodec libx264; vwidth 128; vheight 72; vprofile baseline; vpreset ultrafast; vparams { g 25; }")+"}")
	text = strings.Replace(text, "hls_window 12;", "hls_window 12; hls_multivariant [stream]_all [stream]_hd [stream]_sd;", 1)
	if err := os.WriteFile(filepath.Join(h.dir, "weir.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.process, h.log = serve(t, h.dir, nil, path, "-c", "weir.conf")
	if !h.log.await("ready in", 20*time.Second) {
		t.Fatalf("not ready:\n%s", h.log)
	}
	t.Cleanup(func() { h.process.shut(t) })
	h.publish(t, baseline, "s")
	h.awaitHLS(t, "s_hd")
	h.awaitHLS(t, "s_sd")
	ctx := plays(t, strings.Replace(hlsPage, "const hls =", "var hls =", 1), hlsJS, h.page("s_all", ".m3u8"))
	level := func(n int) {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[int](fmt.Sprintf("hls.nextLevel = %d, hls.levels.length", n)))
		if err != nil || got != 2 {
			t.Fatalf("hls.js knows %d levels, %v", got, err)
		}
	}
	wait(t, "the page plays", func() bool { return lookAt(t, ctx).Frames > 5 })
	// hls.js sorts its levels by bandwidth.
	for n, width := range []int{128, 320, 128} {
		level(n % 2)
		wait(t, fmt.Sprintf("the picture is %d wide", width), func() bool { return lookAt(t, ctx).Width == width })
		before := lookAt(t, ctx).Time
		wait(t, "it goes on", func() bool { return lookAt(t, ctx).Time > before+1 })
	}
	if l := lookAt(t, ctx); strings.Contains(l.State, "fatal") {
		t.Errorf("hls.js complained: %s", l.State)
	}
}

// What FFmpeg 8 publishes of two pictures and two sounds is a ladder in HLS: hls.js sees
// both and goes from one to the other, and ffprobe reads all, and the key frames by themselves.
func TestMultitrackHLS(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "", "SRS_VHOST_HLS_HLS_IFRAMES=on")
	background(t, "node", "../clients/av.mjs", "publish", multi.path(t), h.stream("s"))
	h.awaitLive(t, "s")
	h.awaitHLS(t, "s")
	ctx := plays(t, strings.Replace(hlsPage, "const hls =", "var hls =", 1), hlsJS, h.page("s", ".m3u8"))
	wait(t, "the page plays", func() bool { return lookAt(t, ctx).Frames > 5 })
	do := func(js, want string) {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](js+", [hls.levels.length, hls.audioTracks.map(a => a.name).join(), hls.audioTrack].join(' ')"))
		if err != nil || got != want {
			t.Fatalf("after %s hls.js has %q, want %q, %v", js, got, want, err)
		}
	}
	for n, width := range []int{160, 320} { // hls.js sorts its levels
		do(fmt.Sprintf("hls.nextLevel = %d", n), "2 Audio 1,Audio 2 0")
		wait(t, fmt.Sprintf("the picture is %d wide", width), func() bool { return lookAt(t, ctx).Width == width })
	}
	do("hls.audioTrack = 1", "2 Audio 1,Audio 2 1")
	before := lookAt(t, ctx).Time
	wait(t, "it goes on", func() bool { return lookAt(t, ctx).Time > before+2 })
	if l := lookAt(t, ctx); strings.Contains(l.State, "fatal") {
		t.Errorf("hls.js complained: %s", l.State)
	}
	got := must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", h.page("s", ".m3u8"))
	if !strings.Contains(got, "h264,320") || !strings.Contains(got, "h264,160") || strings.Count(got, "aac") < 2 {
		t.Errorf("ffprobe sees %q", got)
	}
	keys := must(t, "ffprobe", "-v", "error", "-probesize", "10000", "-analyzeduration", "10000", "-show_entries", "packet=flags", "-of", "csv=p=0", "-read_intervals", "%+#2", h.page("s.video1.iframes", ".m3u8"))
	if lines := strings.Fields(keys); len(lines) < 2 || slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "K") }) {
		t.Errorf("the first pictures of segments are %q", keys)
	}
}

// lowPage plays with parts of segments, and tells how far behind the publisher's moment
// the picture is.
var lowPage = strings.NewReplacer("lowLatencyMode: false, liveSyncDurationCount: 2", "lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5", "const hls =", "var hls =").Replace(hlsPage)

// lowDASH and lowShaka do so with DASH.
var (
	lowDASH  = strings.Replace(dashPage, "const player =", "var player =", 1)
	lowShaka = strings.Replace(shakaPage, "const player = new shaka.Player()", "window.player = new shaka.Player(); player.configure({streaming: {liveSync: {enabled: true}}})", 1)
)

// lowPlayers are the players of low latency: their pages and scripts, what they play, how
// far they say to be behind the publisher, and what is asked of that, in seconds.
var lowPlayers = []struct {
	name, page, script, ext, behind string
	most                            float64
	long                            bool
}{
	{"hls.js", lowPage, hlsJS, ".m3u8", "hls.playingDate ? (Date.now() - hls.playingDate) / 1000 : 1e6", 2, false},
	{"dash.js", lowDASH, dashPlayers["dash.js"][1], ".mpd", "player.getCurrentLiveLatency() || 1e6", 2.5, false},
	{"shaka", lowShaka, dashPlayers["shaka"][1], ".mpd", "player.getStats().liveLatency || 1e6", 2.5, true},
}

// Players of low latency are two seconds behind, by HLS's parts and requests that wait and
// by DASH's chunks; with -long they stay there for five minutes. It takes a machine on which a
// browser can play: one that is starved falls behind by itself, however early it is served.
func TestLowLatency(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "dash { enabled on; dash_path ./html; dash_fragment 2; dash_low_latency on; dash_latency 1.5; }",
		"SRS_VHOST_HLS_ENABLED=on", "SRS_VHOST_HLS_HLS_LOW_LATENCY=on", "SRS_VHOST_HLS_HLS_USE_FMP4=on", "SRS_VHOST_HLS_HLS_FRAGMENT=2")
	background(t, "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", h.stream("s"))
	h.awaitLive(t, "s")
	h.awaitHLS(t, "s")
	h.awaitDASH(t, "s")
	type viewer struct {
		name   string
		most   float64
		behind func() float64
		late   int
		worst  float64
	}
	var all []*viewer
	for _, p := range lowPlayers {
		if p.long && !*long {
			continue
		}
		ctx := plays(t, p.page, p.script, h.page("s", p.ext))
		v := &viewer{name: p.name, most: p.most, behind: func() (seconds float64) {
			text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("JSON.stringify("+p.behind+")"))
			if err == nil {
				err = json.Unmarshal([]byte(text), &seconds)
			}
			if err != nil {
				t.Fatal(p.name, err)
			}
			return seconds
		}}
		watches(t, ctx, 320, 180)
		wait(t, p.name+" is hardly behind", func() bool {
			time.Sleep(100 * time.Millisecond)
			return v.behind() < p.most
		})
		if l := watches(t, ctx, 320, 180); complaint(l.State) != "" {
			t.Errorf("%s complained: %s", p.name, l.State)
		}
		all = append(all, v)
	}
	if !*long {
		return
	}
	const looks = 600
	for range looks {
		time.Sleep(500 * time.Millisecond)
		for _, v := range all {
			d := v.behind()
			if v.worst = max(v.worst, d); d >= v.most {
				v.late++
			}
		}
	}
	for _, v := range all {
		t.Logf("for five minutes %s was late in %d of %d looks, the worst by %.2f s", v.name, v.late, looks, v.worst)
		if v.late > looks/100 {
			t.Errorf("%s was %v s behind or more in %d of %d looks, the worst %.2f s", v.name, v.most, v.late, looks, v.worst)
		}
	}
}
