package dvr

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// cellar is object storage that can be made to fail.
type cellar struct {
	*httptest.Server
	back    *s3mem.Backend
	refuse  atomic.Int32 // the status of answers, 0 for those of the store
	refused atomic.Int32
}

func newCellar(t *testing.T) *cellar {
	t.Helper()
	c := &cellar{back: s3mem.New()}
	if err := c.back.CreateBucket("films"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(c.back).Server()
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := c.refuse.Load(); status != 0 {
			c.refused.Add(1)
			w.WriteHeader(int(status))
			return
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cellar) get(key string) []byte {
	o, err := c.back.GetObject("films", key, nil)
	if err != nil {
		return nil
	}
	defer o.Contents.Close()
	b, _ := io.ReadAll(o.Contents)
	return b
}

// conf is the block of a house that sends there.
func (c *cellar) conf(more string) string {
	return fmt.Sprintf("s3 { enabled on; endpoint %s; region us-east-1; bucket films; access_key a; secret_key b; name rec/[app]/[file]; %s }", c.URL, more)
}

// last returns what on_dvr was told of last.
func (h *house) last() (file, url string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.told) == 0 {
		return "", ""
	}
	r := h.told[len(h.told)-1].Recording
	return r.File, r.URL
}

func TestUpload(t *testing.T) {
	c := newCellar(t)
	h := start(t, "[app]/[stream].mp4", c.conf("url https://cdn.example.com;"))
	files := h.record(movie(0, 50), 1)
	want, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := c.get("rec/live/live/s.mp4"); !bytes.Equal(got, want) {
		t.Errorf("the store has %d bytes, the file has %d", len(got), len(want))
	}
	if _, url := h.last(); url != "https://cdn.example.com/rec/live/live/s.mp4" {
		t.Error(url)
	}
	list, _ := h.answer("GET", "")
	if len(list) != 1 || list[0].Upload != done || list[0].Remote == "" {
		t.Errorf("%+v", list)
	}
}

func TestUploadTakesTheFileAway(t *testing.T) {
	c := newCellar(t)
	h := start(t, "[app]/[stream].flv", c.conf("keep_local off;"))
	h.record(movie(0, 50), 1)
	if len(c.get("rec/live/live/s.flv")) == 0 {
		t.Error("nothing was sent")
	}
	h.Wait("the file to go", func() bool { return len(glob(h.dir+"/*")) == 0 })
	if list, _ := h.answer("GET", ""); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// A store that is away or refuses is tried again, by the next server too, and on_dvr is
// told once.
func TestUploadAgain(t *testing.T) {
	c := newCellar(t)
	c.refuse.Store(http.StatusForbidden)
	dir := t.TempDir()
	h := startIn(t, dir, "[stream].flv", c.conf(""))
	p := h.publish(live)
	write(p, movie(0, 50))
	p.Close()
	h.Wait("three attempts", func() bool { return c.refused.Load() >= 3 })
	if f := h.files(); len(f) != 0 {
		t.Errorf("told of %q, which is nowhere", f)
	}
	if list, _ := h.answer("GET", ""); len(list) != 1 || list[0].Upload != waiting {
		t.Errorf("%+v", list)
	}
	if n := h.Env.Notices.All(); len(n) != 1 {
		t.Errorf("notices: %q", n)
	}
	h.Stop()
	c.refuse.Store(0)
	h = startIn(t, dir, "[stream].flv", c.conf(""))
	h.Wait("the recording to be sent", func() bool { _, url := h.last(); return url == c.URL+"/films/rec/live/s.flv" })
	want, _ := os.ReadFile(filepath.Join(dir, "s.flv"))
	if !bytes.Equal(c.get("rec/live/s.flv"), want) || len(want) == 0 {
		t.Error("the store has something else")
	}
	h.Stop()
	// A third server knows that it was sent.
	h = startIn(t, dir, "[stream].flv", c.conf(""))
	h.Wait("the list", func() bool {
		list, _ := h.answer("GET", "")
		return len(list) == 1 && list[0].Upload == done && list[0].Remote != ""
	})
	if f := h.files(); len(f) != 0 {
		t.Errorf("told again of %q", f)
	}
}

// A recording that somebody deletes while it waits is not sent, and is nobody's fault.
func TestUploadOfNothing(t *testing.T) {
	c := newCellar(t)
	c.refuse.Store(http.StatusServiceUnavailable)
	h := start(t, "[stream].flv", c.conf(""))
	p := h.publish(live)
	write(p, movie(0, 50))
	p.Close()
	h.Wait("an attempt", func() bool { return c.refused.Load() > 0 })
	if err := os.Remove(filepath.Join(h.dir, "s.flv")); err != nil {
		t.Fatal(err)
	}
	c.refuse.Store(0)
	h.Wait("the list to be empty", func() bool { list, _ := h.answer("GET", ""); return len(list) == 0 })
	if left := glob(h.dir + "/*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
