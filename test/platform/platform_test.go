package platform

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/demo"
	"weir/internal/protocol/protocoltest"
)

// machine is a processor and what runs its programs.
type machine struct {
	arch string
	emu  string
	env  []string
	// signals says that the emulator survives a signal.
	signals bool
}

// machines are those that are run. qemu-user 7.2 keeps one table of segments for
// all threads of a 386 program, so a thread that a signal has interrupted goes on
// with another one's storage: without Go's signals for preemption there are none.
var machines = []machine{
	{"386", "qemu-i386", []string{"GOARCH=386", "GODEBUG=asyncpreemptoff=1"}, false},
	{"arm", "qemu-arm", []string{"GOARCH=arm", "GOARM=7"}, true},
}

// pure are the rooms whose arithmetic may differ where an int has 32 bits and a
// word must be aligned.
var pure = []string{
	"weir/internal/media/...", "weir/internal/format/amf", "weir/internal/format/flv", "weir/internal/format/mp4",
	"weir/internal/format/mpegts", "weir/internal/format/m3u8", "weir/internal/wire/rtmp", "weir/internal/hub",
}

func (m machine) environ() []string {
	return append(os.Environ(), append([]string{"CGO_ENABLED=0", "GOOS=linux"}, m.env...)...)
}

// sources looks at all that is tested: what a test has looked at is what the cache
// of "go test" knows it by.
func sources(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"../../cmd", "../../internal"} {
		if err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPureRooms(t *testing.T) {
	sources(t)
	for _, m := range machines {
		t.Run(m.arch, func(t *testing.T) {
			c := exec.Command("go", append([]string{"test", "-short", "-vet=off", "-timeout=3m", "-exec=" + m.emu}, pure...)...)
			c.Env = m.environ()
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v (test/install.sh installs what the tests need)\n%s", err, out)
			}
			if n := strings.Count(string(out), "ok  \t"); n < len(pure) {
				t.Errorf("only %d packages were tested:\n%s", n, out)
			}
		})
	}
}

func TestPublishAndPlay(t *testing.T) {
	sources(t)
	dir := t.TempDir()
	film := filepath.Join(dir, "film.flv")
	if err := os.WriteFile(film, demo.Loop(), 0o644); err != nil {
		t.Fatal(err)
	}
	source := pictures(t, film)
	for _, m := range machines {
		t.Run(m.arch, func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(dir, "weir-"+m.arch)
			c := exec.Command("go", "build", "-o", bin, "weir/cmd/weir")
			c.Env = m.environ()
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			s := serve(t, m, bin)
			s.background(t, "ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "flv", "rtmp://"+s.rtmp+"/live/s")
			s.await(t, "audio sh")
			t.Cleanup(func() { s.wellbeing(t) })
			for name, url := range map[string]string{"rtmp": "rtmp://" + s.rtmp + "/live/s", "flv": "http://" + s.http + "/live/s.flv", "mp4": "http://" + s.http + "/live/s.mp4"} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					got := pictures(t, url, "-read_intervals", "%+#120")
					if len(got) < 30 || !within(got, source) {
						t.Errorf("%d pictures, which are not those of the film: %v", len(got), got)
					}
				})
			}
		})
	}
}

// pictures returns the sizes of a stream's pictures, in order.
func pictures(t *testing.T, url string, args ...string) (sizes []string) {
	t.Helper()
	c := exec.Command("timeout", append([]string{"20", "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=size", "-of", "csv=p=0"}, append(args, url)...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("ffprobe %s: %v\n%s", url, err, errs.String())
	}
	return strings.Fields(out.String())
}

// within reports whether part is a piece of the film, which goes round.
func within(part, film []string) bool {
	round := slices.Concat(film, film)
	for i := range film {
		if len(round)-i >= len(part) && slices.Equal(round[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// server is a server under an emulator.
type server struct {
	rtmp, http, log string
}

func serve(t *testing.T, m machine, bin string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{rtmp: protocoltest.FreeAddr(t), http: protocoltest.FreeAddr(t), log: filepath.Join(dir, "log")}
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := exec.Command(m.emu, bin, "-e")
	c.Dir, c.Stdout, c.Stderr = dir, out, out
	c.Env = append(m.environ(), "SRS_LISTEN="+s.rtmp, "SRS_HTTP_SERVER_ENABLED=on", "SRS_HTTP_SERVER_LISTEN="+s.http, "SRS_VHOST_HTTP_REMUX_ENABLED=on")
	run(t, c)
	s.await(t, "ready in")
	if m.signals {
		t.Cleanup(func() {
			c.Process.Signal(syscall.SIGTERM)
			s.await(t, "] stopped\n")
		})
	}
	return s
}

// run starts a program that is ended with the test.
func run(t *testing.T, c *exec.Cmd) {
	t.Helper()
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = time.Second
	if err := c.Start(); err != nil {
		t.Fatalf("%v (test/install.sh installs what the tests need)", err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	})
}

func (s *server) background(t *testing.T, name string, args ...string) {
	t.Helper()
	run(t, exec.Command(name, args...))
}

func (s *server) text() string { b, _ := os.ReadFile(s.log); return string(b) }

// wellbeing sees that the server has not complained.
func (s *server) wellbeing(t *testing.T) {
	t.Helper()
	for _, bad := range []string{"[ERROR]", "panic", "fatal error", "qemu: uncaught"} {
		if text := s.text(); strings.Contains(text, bad) {
			t.Errorf("the server says %q:\n%s", bad, text)
		}
	}
}

func (s *server) await(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.text(), what); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server never said %q:\n%s", what, s.text())
		}
	}
}
