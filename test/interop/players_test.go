package interop

import (
	"bytes"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// rtmpdump plays over librtmp, and what it writes is the stream.
func TestRtmpdumpPlays(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	h := open(t, "")
	h.publish(t, bFrames, "s")
	file := filepath.Join(t.TempDir(), "out.flv")
	r := run(t, "rtmpdump", "-q", "-v", "-r", h.stream("s"), "-B", "5", "-o", file)
	if r.err != nil {
		t.Errorf("rtmpdump: %v", r)
	}
	bFrames.check(t, "rtmpdump's file", demux(t, file, 4, ""), 4, true)
}

// GStreamer's rtmp2src plays, and what it writes is the stream.
func TestGStreamerPlays(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	h := open(t, "")
	h.publish(t, bFrames, "s")
	file := filepath.Join(t.TempDir(), "out.flv")
	// A buffer is a message; the stream has 63 frames a second.
	r := run(t, "gst-launch-1.0", "-q", "rtmp2src", "location="+h.stream("s"), "num-buffers=320", "!", "filesink", "location="+file)
	if r.err != nil {
		t.Errorf("gst-launch-1.0: %v", r)
	}
	bFrames.check(t, "rtmp2src's file", demux(t, file, 4, ""), 4, true)
}

// GStreamer's rtmp2sink publishes, and ffmpeg decodes all of it.
func TestGStreamerPublishes(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "")
	pub := background(t, "gst-launch-1.0", append(strings.Fields("-q -e videotestsrc pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 !"+
		" x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! flvmux streamable=true name=m ! rtmp2sink sync=true location="+h.stream("g")),
		strings.Fields("audiotestsrc ! audio/x-raw,rate=44100,channels=2 ! avenc_aac ! aacparse ! m.")...)...)
	h.awaitLive(t, "g")
	h.awaitHLS(t, "g")
	for _, url := range []string{h.stream("g"), h.page("g", ".flv"), h.page("g", ".m3u8")} {
		got := demux(t, url, 3, "")
		moving(t, url, got, 3, 0.045)
	}
	pub.signal(2) // SIGINT, which -e makes an end of stream
	if err := pub.wait(10 * time.Second); err != nil {
		t.Errorf("rtmp2sink ended badly: %v\n%s", err, pub.log)
	}
	wait(t, "nobody publishes", func() bool { s, ok := h.info(t, "g"); return !ok || !s.Publish.Active })
}

// moving checks pictures whose source we do not have: all there, in time, and
// hardly one like the one before. An encoder that films live drops what it has
// no time for; step is the longest hole that is well.
func moving(t *testing.T, what string, got received, seconds int, step float64) {
	t.Helper()
	if n := len(got.pictures); n < seconds*rate*3/4 {
		t.Errorf("%s: %d pictures were decoded, want %d", what, n, seconds*rate)
	}
	if n := len(got.audio); n < seconds*38 {
		t.Errorf("%s: %d audio packets, want %d", what, n, seconds*43)
	}
	same := 0
	for i := 1; i < len(got.pictures); i++ {
		if got.pictures[i].hash == got.pictures[i-1].hash {
			same++
		}
	}
	if same > len(got.pictures)/5 {
		t.Errorf("%s: %d of %d pictures are like the one before", what, same, len(got.pictures))
	}
	steady(t, what+": video", got.video, step)
	steady(t, what+": audio", got.audio, max(step, 0.035))
}

// ffplay shows moving pictures, with the sound that it keeps them to.
func TestFFplay(t *testing.T) {
	for _, ext := range []string{"", ".flv", ".ts", ".mp4", ".m3u8"} {
		t.Run("s"+ext, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, "", everyMount)
			h.publish(t, bFrames, "s")
			url := h.stream("s")
			if ext != "" {
				url = h.page("s", ext)
			}
			if ext == ".m3u8" {
				h.awaitHLS(t, "s")
			}
			log := newJournal()
			cmd := exec.Command("ffplay", "-v", "info", "-nostats", "-vf", "showinfo", url)
			cmd.Env = append(os.Environ(), "SDL_VIDEODRIVER=dummy", "SDL_AUDIODRIVER=dummy")
			cmd.Stdout, cmd.Stderr = log, log
			start(t, cmd, log)
			wait(t, "forty different pictures shown by ffplay", func() bool {
				seen := map[string]bool{}
				for _, m := range shown.FindAllStringSubmatch(log.String(), -1) {
					seen[m[1]] = true
				}
				return len(seen) >= 40
			})
		})
	}
}

var shown = regexp.MustCompile(`showinfo.* s:320x\d+ .* checksum:([0-9A-F]{8}) `)

// VLC plays every form as an unprivileged user, for it refuses to be root.
func TestVLCPlays(t *testing.T) {
	for _, ext := range []string{"", ".flv", ".ts", ".m3u8"} {
		t.Run("s"+ext, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, "", everyMount)
			h.publish(t, bFrames, "s")
			url := h.stream("s")
			if ext != "" {
				url = h.page("s", ext)
			}
			if ext == ".m3u8" {
				h.awaitHLS(t, "s")
			}
			vlc(t, url)
		})
	}
}

// vlc has VLC play an address for some seconds, and looks at the pictures.
func vlc(t *testing.T, url string) {
	t.Helper()
	home := nobodysHome(t)
	args := strings.Fields("-I dummy -q --play-and-exit --run-time=4 --no-audio --vout=vdummy --video-filter=scene --scene-format=png" +
		" --scene-ratio=5 --scene-prefix=p --scene-path=" + home)
	r := runIn(t, unprivileged(home, "cvlc", append(args, url, "vlc://quit")...))
	if r.err != nil {
		t.Errorf("cvlc: %v", r)
	}
	// Every fifth picture that it showed.
	files, _ := filepath.Glob(filepath.Join(home, "p*.png"))
	seen := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			continue // VLC ended while it wrote
		}
		if s := img.Bounds().Size(); s.X != 320 {
			t.Errorf("a picture of %v", s) // the filter has its own mind about the height
		}
		seen[string(b)] = true
	}
	if len(seen) < 8 {
		t.Errorf("VLC showed %d different pictures of %d, want 8 or more: %v", len(seen), len(files), r)
	}
}

// nobodysHome returns a folder that every user may write to.
func nobodysHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unprivileged returns a command that runs as nobody, if we are root.
func unprivileged(home, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	if os.Geteuid() == 0 {
		cmd = exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", name}, args...)...)
	}
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home)
	return cmd
}

// curl ends well when the publication does, and has every frame until then.
func TestCurlGetsTheEnd(t *testing.T) {
	t.Parallel()
	h := open(t, "")
	bFrames.list(t)
	pub := h.publish(t, bFrames, "s")
	dir := t.TempDir()
	for _, c := range []struct{ ext, version string }{{".flv", "--http1.1"}, {".mp4", "--http1.1"}, {".flv", "--http1.0"}, {".mp4", "--http1.0"}} {
		file := filepath.Join(dir, "s"+c.version+c.ext)
		p := background(t, "curl", "-sS", c.version, "-o", file, h.page("s", c.ext))
		defer func() {
			if err := p.wait(5 * time.Second); err != nil {
				t.Errorf("curl %s of %s: %v %s", c.version, c.ext, err, p.log)
			}
			bFrames.check(t, c.version+c.ext, demux(t, file, 3, ""), 3, true)
		}()
	}
	time.Sleep(4 * time.Second)
	pub.signal(2)
	pub.wait(5 * time.Second)
}

// ffmpeg and curl play over TLS.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	dir, addr := t.TempDir(), protocoltest.FreeAddr(t)
	cert, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	r := run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert)
	if r.err != nil {
		t.Fatalf("openssl: %v", r)
	}
	h := openWith(t, "https { enabled on; listen "+addr+"; key "+key+"; cert "+cert+"; }", "")
	pub := h.publish(t, bFrames, "s")
	file := filepath.Join(dir, "s.flv")
	curl := background(t, "curl", "-sS", "-k", "-o", file, "https://"+addr+"/live/s.flv")
	h.awaitHLS(t, "s")
	for _, ext := range []string{".flv", ".mp4"} {
		bFrames.check(t, ext, demux(t, "https://"+addr+"/live/s"+ext, 2, ""), 2, true)
	}
	bFrames.check(t, "hls", demux(t, "https://"+addr+"/live/s.m3u8", 2, "-bsf:a aac_adtstoasc"), 2, false)
	pub.signal(2)
	if err := curl.wait(10 * time.Second); err != nil {
		t.Errorf("curl: %v %s", err, curl.log)
	}
	bFrames.check(t, "curl", demux(t, file, 4, ""), 4, true)
}
