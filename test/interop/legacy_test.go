package interop

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// plainHEVC has its pictures in the order in which they are shown, so that its
// messages need no composition time.
var plainHEVC = &source{file: "plain-hevc.mp4", video: true,
	args: picture + "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:min-keyint=25:bframes=0 -tag:v hvc1"}

// Encoders of some years put HEVC into RTMP as codec 12, before there was a
// standard. No client at hand does that any more, so the messages are made here
// from a file of x265, by the book; what the server makes of them is for ffmpeg
// to judge.
func TestLegacyHEVC(t *testing.T) {
	t.Parallel()
	plainHEVC.list(t)
	config, frames := hevcFrames(t, plainHEVC.path(t))
	h := open(t, "")
	c, err := link.Dial(t.Context(), h.stream("s"), link.DialOptions{FMLE: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reading, writing sync.WaitGroup
	reading.Go(func() { c.Drain() })
	writing.Go(func() {
		if err := publishCodec12(c, config, frames, stop); err != nil {
			t.Errorf("publish: %v", err)
		}
	})
	defer func() {
		close(stop)
		writing.Wait() // the client is closed by who writes
		c.Close()
		reading.Wait()
	}()
	h.awaitLive(t, "s")
	h.awaitHLS(t, "s")
	for _, ext := range []string{".m3u8", ".mp4"} {
		out := must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", h.page("s", ext))
		if !bytes.Contains([]byte(out), []byte("hevc,320,180")) {
			t.Errorf("ffprobe of %s: %q", ext, out)
		}
		plainHEVC.check(t, ext, demux(t, h.page("s", ext), 3, ""), 3, ext == ".mp4")
	}
	for _, url := range []string{h.stream("s"), h.page("s", ".flv")} {
		codec, packets := avList(t, "watch", url, "--seconds", "3").stream("video")
		if codec != "hevc" {
			t.Errorf("%s is %q", url, codec)
		}
		sameRun(t, url, packets, plainHEVC.packets["video"], 70)
	}
}

// publishCodec12 sends frames in real time until it is stopped.
func publishCodec12(c *link.Client, config []byte, frames [][]byte, stop <-chan struct{}) error {
	const key, inter, header, frame = 0x1c, 0x2c, 0, 1
	if err := c.WriteMessage(rtmp.TypeVideo, 0, append([]byte{key, header, 0, 0, 0}, config...)); err != nil {
		return err
	}
	began := time.Now()
	for i, f := range frames {
		at := time.Duration(i) * time.Second / rate
		if err := c.Flush(); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(time.Until(began.Add(at))):
		}
		first := byte(inter)
		if i%25 == 0 {
			first = key
		}
		if err := c.WriteMessage(rtmp.TypeVideo, uint32(at.Milliseconds()), append([]byte{first, frame, 0, 0, 0}, f...)); err != nil {
			return err
		}
	}
	return nil
}

// hevcFrames reads the configuration record and the frames, as units with their
// lengths before them, of an MP4 file.
func hevcFrames(t *testing.T, file string) (config []byte, frames [][]byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("hvcC"))
	if at < 4 {
		t.Fatal("no hvcC in the file")
	}
	config = b[at+4 : at-4+int(binary.BigEndian.Uint32(b[at-4:]))]

	raw := filepath.Join(t.TempDir(), "raw.hevc")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-bsf:v", "hevc_mp4toannexb,hevc_metadata=aud=insert", raw).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	if b, err = os.ReadFile(raw); err != nil {
		t.Fatal(err)
	}
	const delimiter, vps, sps, pps, sei = 35, 32, 33, 34, 39
	for _, unit := range bytes.Split(b, []byte{0, 0, 1}) {
		unit = bytes.TrimRight(unit, "\x00")
		if len(unit) < 3 {
			continue
		}
		switch unit[0] >> 1 & 0x3f {
		case delimiter:
			frames = append(frames, nil)
		case vps, sps, pps, sei: // they are in the record
		default:
			last := len(frames) - 1
			frames[last] = append(binary.BigEndian.AppendUint32(frames[last], uint32(len(unit))), unit...)
		}
	}
	return config, frames
}
