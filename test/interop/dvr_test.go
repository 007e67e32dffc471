package interop

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// callbacks is a callback server that remembers what it was told and accepts all.
type callbacks struct {
	*httptest.Server
	mu   sync.Mutex
	told []map[string]any
}

func newCallbacks(t *testing.T) *callbacks {
	c := &callbacks{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		json.NewDecoder(r.Body).Decode(&body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, body)
		io.WriteString(w, "0")
	}))
	t.Cleanup(c.Close)
	return c
}

// hooks are the directives that have a vhost call it.
func (c *callbacks) hooks() string {
	return "http_hooks { enabled on; on_dvr " + c.URL + "/dvrs; }"
}

// files waits until it has been told of so many recordings, and returns their names
// as they were told.
func (c *callbacks) files(t *testing.T, n int) (all []string) {
	t.Helper()
	wait(t, fmt.Sprintf("on_dvr is told %d times", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.told) >= n
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, body := range c.told {
		file, _ := body["file"].(string)
		if body["action"] != "on_dvr" || body["cwd"] == "" || body["client_id"] == "" || body["app"] != "live" || body["vhost"] != "__defaultVhost__" || body["stream_url"] != fmt.Sprint("/live/", body["stream"]) {
			t.Errorf("on_dvr was told %v", body)
		}
		all = append(all, file)
	}
	return all
}

// whole checks that a file is the beginning of a source: every packet from the first
// on, at the source's distances.
func (s *source) whole(t *testing.T, file string, seconds int) {
	t.Helper()
	got, want := avList(t, "list", file), avList(t, "list", s.path(t))
	for _, kind := range []string{"video", "audio"} {
		codec, a := got.stream(kind)
		name, b := want.stream(kind)
		if codec != name {
			t.Errorf("%s: %s is %q, want %q", file, kind, codec, name)
		}
		if len(b) == 0 {
			continue
		}
		// The first packets of the sound may be from before the first picture.
		skip := 0
		for skip < min(4, len(b)) && len(a) > 0 && b[skip].hash != a[0].hash {
			skip++
		}
		if kind == "video" && skip > 0 {
			t.Errorf("%s: the first picture is another", file)
		}
		b = b[skip:]
		least := seconds * rate
		if kind == "audio" {
			least = seconds * 38
		}
		if len(a) < least || len(a) > len(b) {
			t.Errorf("%s: %d packets of %s, want %d", file, len(a), kind, least)
			continue
		}
		for i := range a {
			if d := (a[i].dts - a[0].dts) - (b[i].dts - b[0].dts); a[i].hash != b[i].hash || d > 0.0021 || d < -0.0021 {
				t.Errorf("%s: packet %d of %s is not the one that was published, or %.3f s late", file, i, kind, d)
				break
			}
		}
	}
}

// Whatever is published is recorded, and ffprobe, ffmpeg and FFmpeg 8 find in the
// file every packet that was published, at its time.
func TestDVR(t *testing.T) {
	for name, src := range map[string]*source{"h264": bFrames, "hevc": hevc, "av1": av1, "vp9": vp9, "mp3": mp3Sound, "sound": soundOnly, "mute": mute} {
		for _, ext := range []string{".flv", ".mp4"} {
			t.Run(name+ext, func(t *testing.T) {
				t.Parallel()
				src.path(t)
				c := newCallbacks(t)
				h := open(t, "dvr { enabled on; dvr_path ./html/dvr/[app]/[stream]"+ext+"; } "+c.hooks())
				var pub *process
				if strings.HasSuffix(src.file, ".mp4") {
					pub = background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
					h.awaitLive(t, "s")
				} else {
					pub = h.publish(t, src, "s")
				}
				time.Sleep(5 * time.Second)
				pub.signal(syscall.SIGINT)
				if got := c.files(t, 1)[0]; got != "./html/dvr/live/s"+ext {
					t.Errorf("file %s", got)
				}
				file := filepath.Join(h.dir, "html/dvr/live/s"+ext)
				src.whole(t, file, 4)
				if ext == ".mp4" {
					must(t, "ffprobe", "-v", "error", "-show_streams", file)
					if boxes := topBoxes(t, file); boxes != "ftyp mdat moov" {
						t.Errorf("boxes %s, want those of an ordinary file", boxes)
					}
					got := demux(t, file, 60, "")
					if src.video {
						src.list(t)
						sameRun(t, "decoded pictures", got.pictures[:len(got.pictures)-4], src.pictures, 4*rate)
					}
				} else if name == "h264" || name == "mp3" || name == "sound" || name == "mute" {
					must(t, "ffprobe", "-v", "error", "-show_streams", file)
				}
			})
		}
	}
}

// topBoxes returns the names of an MP4's boxes.
func topBoxes(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for len(b) >= 16 {
		n := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
		names = append(names, string(b[4:8]))
		if n == 1 {
			n = 0
			for _, c := range b[8:16] {
				n = n<<8 | uint64(c)
			}
		}
		if n < 8 || n > uint64(len(b)) {
			return strings.Join(names, " ") + " damaged"
		}
		b = b[n:]
	}
	return strings.Join(names, " ")
}

// Segments follow one another without a frame between them, and each decodes from
// its first frame on.
func TestDVRSegments(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	c := newCallbacks(t)
	h := open(t, "dvr { enabled on; dvr_plan segment; dvr_duration 2; dvr_path ./html/[stream].[timestamp].mp4; dvr_clips on; } "+c.hooks())
	pub := h.publish(t, bFrames, "s")
	time.Sleep(7 * time.Second)
	pub.signal(syscall.SIGINT)
	files := c.files(t, 4)
	var video, pictures []packet
	for _, f := range files {
		got := demux(t, filepath.Join(h.dir, f), 60, "")
		video, pictures = append(video, got.video...), append(pictures, got.pictures...)
	}
	sameRun(t, "packets of all files", video, bFrames.packets["video"], 7*rate-4)
	// The last ones are of a group that was cut off.
	sameRun(t, "pictures of all files", pictures[:len(pictures)-4], bFrames.pictures, 7*rate-8)
	// So does a clip of them, from the key frame before its beginning on.
	file := filepath.Join(h.dir, "clip.mp4")
	must(t, "curl", "-sSf", "-m", "10", "-o", file, fmt.Sprintf("http://%s/api/v1/recordings/live/s/clip?start=-60", h.web))
	clip := demux(t, file, 60, "")
	if len(clip.video) != len(video) || len(clip.pictures) != len(video) {
		t.Errorf("a clip of all has %d packets and %d pictures, the files have %d", len(clip.video), len(clip.pictures), len(video))
	}
	sameRun(t, "packets of a clip", clip.video, bFrames.packets["video"], 7*rate-4)
}

// kills is how often a recording server is killed.
var kills = flag.Int("kills", 8, "how often TestDVRKilled kills a server")

// A server that is killed at any moment leaves files that open and play, and the
// next start finishes and announces them; at most a second or two is lost.
func TestDVRKilled(t *testing.T) {
	for i := range *kills {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			bFrames.list(t)
			ext := []string{".flv", ".mp4"}[i%2]
			c := newCallbacks(t)
			path, err := built()
			if err != nil {
				t.Fatal(err)
			}
			h := &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
			file := filepath.Join(h.dir, "weir.conf")
			vhost := "dvr { enabled on; dvr_path ./html/[stream]" + ext + "; } " + c.hooks()
			if err := os.WriteFile(file, fmt.Appendf(nil, conf, h.rtmp, h.web, "", h.api, vhost), 0o644); err != nil {
				t.Fatal(err)
			}
			h.process, h.log = serve(t, h.dir, nil, path, "-c", file)
			if !h.log.await("ready in", 20*time.Second) {
				t.Fatalf("not ready: %s", h.log)
			}
			pub := background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", h.stream("s"))
			left := filepath.Join(h.dir, "html", "s"+ext+".tmp")
			wait(t, "the recording has begun", func() bool {
				_, err := os.Stat(left)
				return err == nil
			})
			lives := time.Duration(100+rand.IntN(3000)) * time.Millisecond
			time.Sleep(lives)
			h.process.kill()
			pub.wait(5 * time.Second)
			if r := run(t, "ffprobe", "-v", "error", "-f", map[string]string{".flv": "flv", ".mp4": "mp4"}[ext], "-show_entries", "stream=codec_name", left); r.err != nil || !strings.Contains(r.out, "h264") {
				t.Errorf("what was left does not open: %v", r)
			}
			h.process, h.log = serve(t, h.dir, nil, path, "-c", file)
			t.Cleanup(func() { h.process.shut(t) })
			if got := c.files(t, 1)[0]; got != "./html/s"+ext {
				t.Errorf("file %s", got)
			}
			// A second was there when it began; of what came since, the last second may be
			// lost.
			seconds := max(1, int(lives.Seconds()))
			done := filepath.Join(h.dir, "html", "s"+ext)
			must(t, "ffprobe", "-v", "error", "-show_streams", done)
			bFrames.whole(t, done, seconds)
			if ext == ".mp4" {
				if boxes := topBoxes(t, done); boxes != "ftyp mdat moov" {
					t.Errorf("boxes %s", boxes)
				}
			}
		})
	}
}

// A disk that fills up costs the recording only: who watches sees all, the API says
// what is wrong, what was recorded plays, and where there is room again recording
// goes on.
func TestDVRFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small disk, and needs to be root")
	}
	for _, ext := range []string{".flv", ".mp4"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			bFrames.list(t)
			path, err := built()
			if err != nil {
				t.Fatal(err)
			}
			h := &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
			disk := filepath.Join(h.dir, "disk")
			os.Mkdir(disk, 0o755)
			file := filepath.Join(h.dir, "weir.conf")
			if err := os.WriteFile(file, fmt.Appendf(nil, conf, h.rtmp, h.web, "", h.api, "dvr { enabled on; dvr_path ./disk/[stream].[timestamp]"+ext+"; }"), 0o644); err != nil {
				t.Fatal(err)
			}
			h.log = newJournal()
			cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs -o size=300k none "$1" && exec "$2" -c "$3"`, "sh", disk, path, file)
			cmd.Dir, cmd.Stdout, cmd.Stderr = h.dir, h.log, h.log
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=20")
			h.process = start(t, cmd, h.log)
			if !h.log.await("ready in", 20*time.Second) {
				t.Fatalf("not ready: %s", h.log)
			}
			t.Cleanup(func() { h.process.shut(t) })
			inside := fmt.Sprintf("/proc/%d/root%s", h.process.cmd.Process.Pid, disk)
			h.publish(t, bFrames, "s")
			watched := filepath.Join(t.TempDir(), "s.flv")
			curl := background(t, "curl", "-sS", "-m", "14", "-o", watched, h.page("s", ".flv"))
			wait(t, "the API says that the disk is full", func() bool {
				time.Sleep(300 * time.Millisecond)
				b, err := get("http://" + h.api + "/api/v1/summaries")
				return err == nil && strings.Contains(string(b), "no space left")
			})
			recorded := func() []string { l, _ := filepath.Glob(inside + "/s.*" + ext); return l }
			wait(t, "what was recorded is finished", func() bool { return len(recorded()) == 1 })
			first := filepath.Join(t.TempDir(), "first"+ext)
			b, err := os.ReadFile(recorded()[0])
			if err == nil {
				err = os.WriteFile(first, b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			must(t, "ffprobe", "-v", "error", "-show_streams", first)
			bFrames.whole(t, first, 1)
			os.Remove(recorded()[0])
			if !h.log.await("recording is written again", 30*time.Second) {
				t.Error("recording does not go on when there is room")
			}
			curl.wait(30 * time.Second)
			bFrames.check(t, "who watches", demux(t, watched, 10, ""), 10, true)
		})
	}
}

// Finished recordings are files of the HTTP server: Chromium plays and seeks an MP4
// by ranges, and ffmpeg goes into an FLV.
func TestDVROverHTTP(t *testing.T) {
	t.Parallel()
	hall(t)
	c := newCallbacks(t)
	h := open(t, "dvr { enabled on; dvr_path ./html/rec/[stream].mp4; } "+c.hooks())
	pub := h.publish(t, bFrames, "s")
	time.Sleep(8 * time.Second)
	pub.signal(syscall.SIGINT)
	c.files(t, 1)
	var said struct{ DVRs []struct{ URL string } }
	b, err := get("http://" + h.api + "/api/v1/dvrs/")
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || len(said.DVRs) != 1 || said.DVRs[0].URL != "/rec/s.mp4" {
		t.Fatalf("list: %s, %v", b, err)
	}
	url := "http://" + h.web + said.DVRs[0].URL
	if out := must(t, "curl", "-sS", "-r", "4-7", url); out != "ftyp" {
		t.Errorf("a range: %q", out)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><video muted src="%s#t=4"></video><script>const v = document.querySelector('video'); v.onloadeddata = () => v.play()</script>`, url)
	}))
	defer site.Close()
	ctx := browser(t)
	if _, err := chromedp.Run(ctx, chromedp.Navigate(site.URL)); err != nil {
		t.Fatal(err)
	}
	wait(t, "the page plays from the fourth second on", func() bool {
		time.Sleep(100 * time.Millisecond)
		l := lookAt(t, ctx)
		return l.Error == "" && l.Time > 5 && l.Frames > 10 && l.Width == 320
	})
}
