package thumbnail

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weir/internal/child"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
)

var live = protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}

// house is a server whose ffmpeg is a script, each run of which leaves a line in a file.
type house struct {
	*protocoltest.House
	t      *testing.T
	server *server
	p      protocoltest.Publisher
	runs   string
	at     int
}

func start(t *testing.T, script string) *house {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "ffmpeg")
	h := &house{t: t, runs: filepath.Join(dir, "runs")}
	if script != "" {
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho $* >> "+h.runs+"\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What starts programs stays, and is not the house's.
	if _, err := child.Output(5*time.Second, "/bin/sh", "sh", "-c", "exit 0"); err != nil {
		t.Fatal(err)
	}
	protocol := Protocol
	protocol.New = func(env service.Env) (service.Service, error) {
		h.server = newServer(env)
		env.Media.Handle(service.OrderLive, h.server.handle)
		return h.server, nil
	}
	h.House = protocoltest.Open(t, protocoltest.Options{Protocol: protocol, Vhost: "thumbnail { enabled on; ffmpeg " + program + "; }"})
	var err error
	if h.p, err = protocoltest.Publish(t.Context(), h.House, live); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.p.Close() })
	h.key()
	return h
}

// key publishes a group of pictures.
func (h *house) key() {
	for range 25 {
		h.p.Write(protocoltest.Video(protocoltest.Picture, h.at, 25, 200))
		h.at++
	}
}

func (h *house) get() *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.Env.Media.ServeHTTP(w, httptest.NewRequest("GET", "/live/s.jpg?token=x", nil))
	return w
}

// ran returns how often the program was started.
func (h *house) ran() (n int) {
	b, _ := os.ReadFile(h.runs)
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}

// age makes the picture old enough for another.
func (h *house) age() {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	for _, p := range h.server.all {
		p.made = time.Now().Add(-time.Hour)
	}
}

const jpeg = `printf '\377\330picture\377\331'`

// A picture is made once for all who ask, again when it is old and there is a newer key
// frame, and never without being let in.
func TestThumbnail(t *testing.T) {
	h := start(t, jpeg)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if w := h.get(); w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" || w.Body.String() != "\xff\xd8picture\xff\xd9" {
				t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
			}
		})
	}
	all.Wait()
	h.key() // a newer one, but not yet
	h.get()
	if h.ran() != 1 {
		t.Errorf("%d programs for nine requests", h.ran())
	}
	h.age()
	h.get()
	h.age()
	h.get() // nothing newer
	if h.ran() != 2 {
		t.Errorf("%d programs for two key frames", h.ran())
	}
	h.Diary.Deny(func(r *session.Request) error {
		if r.Ask.Said.Param == "?token=x" && r.Act == session.Play {
			return errors.New("not you")
		}
		return nil
	})
	if w := h.get(); w.Code != 403 {
		t.Errorf("denied: %d", w.Code)
	}
	h.Diary.Deny(nil)
	h.p.Close()
	h.Wait("the stream is gone", func() bool { return h.get().Code == 404 })
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "weir-thumbnail-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A program that hangs is ended, one that fails or writes half a picture is told of, and
// none is started for each request.
func TestBadPrograms(t *testing.T) {
	for _, script := range []string{"sleep 60", "exit 1", "printf '\\377\\330half'", ""} {
		t.Run(fmt.Sprintf("%.8q", script), func(t *testing.T) {
			if script == "" {
				t.Setenv("PATH", t.TempDir())
			}
			h := start(t, script)
			want, least := 503, 1
			if script == "sleep 60" {
				h.server.patience, least = 200*time.Millisecond, 0 // it may be ended before it has left its line
			}
			if script == "" {
				want = 501
			}
			for range 3 {
				if w := h.get(); w.Code != want || w.Body.Len() == 0 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
			if n := h.ran(); script != "" && (n < least || n > 1) {
				t.Errorf("%d programs", n)
			}
			h.age()
			h.get()
			if n := h.ran(); script != "" && (n < 2*least || n > 2) {
				t.Errorf("%d programs", n)
			}
		})
	}
}
