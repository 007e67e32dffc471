package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
)

// page plays a list of cases one after the other and posts what it saw.
const page = `<!doctype html><video muted></video><script>
const video = document.querySelector('video');
const once = (o, e) => new Promise((ok, no) => { o.addEventListener(e, ok, {once: true}); o.addEventListener('error', () => no(new Error(e + ': ' + (video.error && video.error.message))), {once: true}); });
const get = async (u) => (await fetch(u)).arrayBuffer();
async function play(c) {
  if (!MediaSource.isTypeSupported(c.type)) throw new Error('not supported: ' + c.type);
  const ms = new MediaSource();
  video.src = URL.createObjectURL(ms);
  await once(ms, 'sourceopen');
  const sb = ms.addSourceBuffer(c.type);
  for (let i = 0; i < c.parts; i++) {
    const b = await get('/part/' + c.name + '/' + i);
    sb.appendBuffer(b);
    await once(sb, 'updateend');
  }
  ms.endOfStream();
  if (video.buffered.length) video.currentTime = video.buffered.start(0);
  await video.play();
  await once(video, 'ended');
  const q = video.getVideoPlaybackQuality();
  return {ranges: video.buffered.length, end: video.buffered.length && video.buffered.end(0), time: video.currentTime,
    frames: q.totalVideoFrames, dropped: q.droppedVideoFrames, width: video.videoWidth};
}
(async () => {
  const out = {};
  for (const c of await (await fetch('/cases')).json()) {
    try { out[c.name] = await play(c); } catch (e) { out[c.name] = {error: String(e)}; }
  }
  await fetch('/done', {method: 'POST', body: JSON.stringify(out)});
})();
</script>`

type browserCase struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Parts int    `json:"parts"`

	parts  [][]byte
	frames int // of video
}

// result is what the page saw of a case.
type result struct {
	Error   string
	Ranges  int
	End     float64
	Time    float64
	Frames  int
	Dropped int
	Width   int
}

func newCase(t *testing.T, name string, frames []*media.Frame, each bool) browserCase {
	t.Helper()
	l := layoutOf(frames)
	c := browserCase{Name: name, Type: fmt.Sprintf(`video/mp4; codecs="%s"`, mp4.Codecs(l))}
	if l.Main(media.Video) == nil {
		c.Type = strings.Replace(c.Type, "video", "audio", 1)
	}
	init, err := mp4.AppendInit(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	c.parts = [][]byte{init}
	step := 20
	if each {
		step = 1
	}
	for i := 0; i < len(frames); i += step {
		if each {
			c.parts = append(c.parts, mp4.AppendFrameFragment(nil, frames[i]))
			continue
		}
		end := min(i+step, len(frames))
		c.parts = append(c.parts, mp4.AppendFragment(nil, uint32(i), frames[i:end], frames[end:]))
	}
	for _, f := range frames {
		if f.Track.Kind == media.Video {
			c.frames++
		}
	}
	c.Parts = len(c.parts)
	return c
}

// live gives frames the times that an RTMP publisher would: whole
// milliseconds.
func live(frames []*media.Frame) []*media.Frame {
	for _, f := range frames {
		pts := f.PTS().Truncate(time.Millisecond)
		f.DTS, f.Prev = f.DTS.Truncate(time.Millisecond), f.Prev.Truncate(time.Millisecond)
		f.CTO = pts - f.DTS
	}
	return frames
}

// TestChromium plays fragments through Media Source Extensions. It knows no
// H.265 and takes no MP3 in MP4; ffmpeg checks those.
func TestChromium(t *testing.T) {
	avc := live(sample(t, x264, "-c:a aac"))
	cases := []browserCase{
		newCase(t, "groups", avc, false),
		newCase(t, "frames", avc, true),
		newCase(t, "av1", live(sample(t, "-c:v libsvtav1 -preset 12 -g 25", "-c:a libopus")), true),
		newCase(t, "vp9", live(sample(t, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25", "-c:a flac")), false),
		newCase(t, "aac", live(sample(t, "", "-c:a aac")), true),
		newCase(t, "opus", live(sample(t, "", "-c:a libopus")), true),
	}
	done := make(chan map[string]result, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("GET /cases", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(cases) })
	mux.HandleFunc("GET /part/{name}/{n}", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range cases {
			if c.Name == r.PathValue("name") {
				var n int
				fmt.Sscan(r.PathValue("n"), &n)
				_, _ = w.Write(c.parts[n])
			}
		}
	})
	mux.HandleFunc("POST /done", func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]result
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		done <- m
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required", "--user-data-dir="+t.TempDir(), srv.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got map[string]result
	select {
	case got = <-done:
	case <-ctx.Done():
		t.Error("Chromium did not come to an end")
	}
	cancel()
	_ = cmd.Wait() // killed: it does not end by itself
	for _, c := range cases {
		r := got[c.Name]
		if r.Error != "" || r.Ranges != 1 || r.End < 1.95 || r.End > 2.25 || r.Time < 1.9 {
			t.Errorf("%s: %+v, want one range of 2 s that is played", c.Name, r)
		}
		if c.frames > 0 && (r.Frames < c.frames*9/10 || r.Width != 320) {
			t.Errorf("%s: %d of %d frames shown, %d wide: %+v", c.Name, r.Frames, c.frames, r.Width, r)
		}
	}
}
