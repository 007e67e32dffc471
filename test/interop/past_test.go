//go:build long

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// ffmpeg gets of a past time, by RTMP, FLV, HLS and DASH, frames as they were recorded; players in a browser stay that much behind. What of this
// is no matter of clients is held to in the packages themselves.
func TestTimeShift(t *testing.T) {
	hall(t)
	h := open(t, "time_shift { enabled on; window 600; path ./shift; } dash { enabled on; dash_path ./html; dash_fragment 2; } dvr { enabled on; dvr_path ./rec/s.flv; }")
	pub := background(t, "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", h.stream("s"))
	h.awaitLive(t, "s")
	time.Sleep(40 * time.Second)
	got := map[string]received{}
	for name, from := range map[string]string{"RTMP": h.stream("s?start=-30"), "FLV": h.page("s", ".flv?start=-30"), "HLS": h.page("s", ".m3u8?start=-30"), "DASH": h.page("s", ".mpd?start=-30")} {
		got[name] = demux(t, from, 6, "")
	}
	for _, p := range lowPlayers {
		least, most := 14.0, 24.0
		ctx := plays(t, p.page, p.script, h.page("s", p.ext+"?start=-15"))
		watches(t, ctx, 320, 180)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("JSON.stringify("+p.behind+")"))
		var behind float64
		if err == nil {
			err = json.Unmarshal([]byte(text), &behind)
		}
		t.Logf("%s is %.1f s behind", p.name, behind)
		if strings.HasSuffix(p.ext, ".mpd") {
			least, most = 0, 12 // by the clock of the manifest, which counts from so much later
		}
		if err != nil || behind < least || behind > most {
			t.Errorf("%s: %v, %v s behind", p.name, err, behind)
		}
	}
	pub.signal(syscall.SIGINT)
	file := filepath.Join(h.dir, "rec/s.flv")
	wait(t, "it is recorded", func() bool { _, err := os.Stat(file); return err == nil })
	want := demux(t, file, 600, "")
	for name, r := range got {
		sameRun(t, name+", pictures", r.video, want.video, 4*rate)
		sameRun(t, name+", sound", r.audio, want.audio, 100)
		sameRun(t, name+", decoded", r.pictures[:len(r.pictures)-8], want.pictures, 3*rate)
	}
}
