package interop

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// yt-dlp follows HDS, and what it writes is the stream, packet by packet.
func TestYtdlpHDS(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	h := open(t, "hds { enabled on; hds_path ./html; hds_fragment 3; hds_window 30; }")
	h.publish(t, bFrames, "s")
	wait(t, "three fragments", func() bool {
		_, err := get("http://" + h.web + "/live/sSeg1-Frag3")
		return err == nil
	})
	file := filepath.Join(t.TempDir(), "out.flv")
	p := background(t, "yt-dlp", "--no-part", "--fixup", "never", "--no-cache-dir", "-o", file, h.page("s", ".f4m"))
	wait(t, "twelve seconds of the stream", func() bool {
		time.Sleep(time.Second)
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0 && pictures(t, file) > 12*rate
	})
	p.signal(syscall.SIGINT)
	p.wait(10 * time.Second)
	bFrames.check(t, "yt-dlp's file", demux(t, file, 12, ""), 12, true)
	if t.Failed() {
		t.Logf("%s", p.log)
	}
}

// pictures counts the video packets of a file that may still grow.
func pictures(t *testing.T, file string) int {
	t.Helper()
	r := run(t, "ffprobe", "-v", "quiet", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0", file)
	return strings.Count(r.out, "\n")
}
