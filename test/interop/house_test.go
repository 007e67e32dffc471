package interop

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// scratch is a folder for what the tests share: the binary and the media.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait more than they work.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", "8")
	}
	dir, err := os.MkdirTemp("", "weir-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// built builds the server once.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "weir")
	cmd := exec.Command("go", "build", "-race", "-o", path, "weir/cmd/weir")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build -race: %w\n%s", err, out)
	}
	return path, nil
})

// journal keeps what a process writes and tells who waits for a line.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
	grew chan struct{} // closed and replaced at each write
}

func newJournal() *journal { return &journal{grew: make(chan struct{})} }

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Write(b)
	close(j.grew)
	j.grew = make(chan struct{})
	return len(b), nil
}

func (j *journal) read() (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String(), j.grew
}

func (j *journal) String() string { s, _ := j.read(); return s }

// await returns the text once it holds what, or false after the time.
func (j *journal) await(what string, within time.Duration) bool {
	late := time.After(within)
	for {
		text, grew := j.read()
		if strings.Contains(text, what) {
			return true
		}
		select {
		case <-grew:
		case <-late:
			return false
		}
	}
}

// tail returns the last lines of a text.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// house is a running server.
type house struct {
	dir            string // its work folder
	process        *process
	log            *journal
	rtmp, web, api string // host:port
}

// conf is the configuration of a house: the ports, and what a test adds to the
// HTTP server and to the default vhost.
const conf = `
listen          %s;
max_connections 1000;
daemon          off;
srs_log_tank    console;
pid             ./weir.pid;
http_server     { enabled on; listen %s; dir ./html; %s }
http_api        { enabled on; listen %s; }
vhost __defaultVhost__ {
    http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }
    hls        { enabled on; hls_path ./html; hls_fragment 1; hls_window 12; }
    %s
}
`

// open starts a server, perhaps with more environment, that ends with the test
// and must end well.
func open(t *testing.T, vhost string, env ...string) *house {
	t.Helper()
	return openWith(t, "", vhost, env...)
}

// openWith is open with more directives of the HTTP server. [rtmp] in the vhost's is
// the server's address.
func openWith(t *testing.T, http, vhost string, env ...string) *house {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	// Somebody may take a port between our look and the server's.
	for try := 0; ; try++ {
		h := &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
		file := filepath.Join(h.dir, "weir.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, conf, h.rtmp, h.web, http, h.api, strings.ReplaceAll(vhost, "[rtmp]", h.rtmp)), 0o644); err != nil {
			t.Fatal(err)
		}
		h.process, h.log = serve(t, h.dir, env, path, "-c", file)
		if h.log.await("ready in", 20*time.Second) {
			t.Cleanup(func() { h.process.shut(t) })
			return h
		}
		h.process.kill()
		if text := h.log.String(); try == 3 || !strings.Contains(text, "in use") {
			t.Fatalf("the server did not become ready:\n%s", tail(text, 50))
		}
	}
}

// serve starts the binary in dir, with more environment.
func serve(t *testing.T, dir string, env []string, path string, args ...string) (*process, *journal) {
	t.Helper()
	log := newJournal()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=20"), env...)
	return start(t, cmd, log), log
}

// shut ends the server as an operator would and looks at how it ended.
func (p *process) shut(t *testing.T) {
	t.Helper()
	began := time.Now()
	p.signal(syscall.SIGTERM)
	err := p.wait(5 * time.Second)
	text := p.log.String()
	if err != nil {
		t.Errorf("server ended %v after SIGTERM: %v", time.Since(began).Round(time.Millisecond), err)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if at := strings.Index(text, bad); at >= 0 {
			t.Errorf("server's log has %q:\n%s", bad, text[max(0, at-200):min(len(text), at+6000)])
		}
	}
	if t.Failed() {
		t.Logf("the end of the server's log:\n%s", tail(text, 60))
	}
}

// stream and page are addresses of a stream: over RTMP, and over HTTP with the
// extension of a format.
func (h *house) stream(name string) string    { return "rtmp://" + h.rtmp + "/live/" + name }
func (h *house) page(name, ext string) string { return "http://" + h.web + "/live/" + name + ext }

// streamInfo is what the API says of a stream.
type streamInfo struct {
	Name    string
	Frames  int64 // of video
	Recv    int64 `json:"recv_bytes"`
	Clients int
	Publish struct {
		Active bool
		CID    string
	}
}

func (h *house) info(t *testing.T, name string) (s streamInfo, ok bool) {
	t.Helper()
	var answer struct{ Streams []streamInfo }
	b, err := get("http://" + h.api + "/api/v1/streams/?count=100")
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		t.Fatalf("API: %v", err)
	}
	for _, s := range answer.Streams {
		if s.Name == name {
			return s, true
		}
	}
	return s, false
}

// awaitLive waits until a stream has a publisher and frames have come.
func (h *house) awaitLive(t *testing.T, name string) {
	t.Helper()
	wait(t, "stream "+name+" is live", func() bool {
		s, ok := h.info(t, name)
		return ok && s.Publish.Active && s.Recv > 10000
	})
}

// awaitHLS waits until the playlist of a stream lists a few segments.
func (h *house) awaitHLS(t *testing.T, name string) {
	t.Helper()
	wait(t, "playlist of "+name, func() bool {
		time.Sleep(200 * time.Millisecond) // each look is a client to the server
		b, err := get(h.page(name, ".m3u8"))
		if err != nil {
			return false
		}
		if i := strings.LastIndex(string(b), "\n/live/"+name+"."); i >= 0 && strings.Contains(string(b)[i:], "hls_ctx") {
			i++
			line, _, _ := strings.Cut(string(b)[i:], "\n")
			if b, err = get("http://" + h.web + strings.TrimSpace(line)); err != nil {
				return false
			}
		}
		return strings.Count(string(b), "#EXTINF") >= 3
	})
}

// wait polls for something that is to come true in 20 s, or, where a machine is so busy that it
// cannot be looked at often in that time, in 100 looks.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	const patience, most, looks = 20 * time.Second, 2 * time.Minute, 100
	for began, n := time.Now(), 1; ; n++ {
		if is() {
			return
		}
		switch lasted := time.Since(began); {
		case n >= looks && lasted > patience:
			t.Fatalf("after %v and %d looks it is not true that: %s", lasted.Round(time.Second), n, what)
		case lasted > most:
			t.Fatalf("after %v it is not true that: %s; there were only %d looks, so this machine is too busy to say why", lasted.Round(time.Second), what, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func get(url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, 16<<20))
}
