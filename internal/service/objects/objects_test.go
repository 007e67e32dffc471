package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// cellar is a store, with a hand in what it does.
type cellar struct {
	*Store
	back  *s3mem.Backend
	parts atomic.Int32 // that were taken
	// deny answers a request, if it returns true.
	deny func(w http.ResponseWriter, r *http.Request) bool
}

func newCellar(t *testing.T) *cellar {
	t.Helper()
	c := &cellar{back: s3mem.New()}
	if err := c.back.CreateBucket("films"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(c.back).Server()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.deny != nil && c.deny(w, r) {
			return
		}
		if r.URL.Query().Has("partNumber") {
			c.parts.Add(1)
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { c.Transport.CloseIdleConnections() })
	c.Store = &Store{Endpoint: web.URL, Region: "us-east-1", Bucket: "films", AccessKey: "a", SecretKey: "b", Transport: NewTransport()}
	return c
}

func (c *cellar) get(t *testing.T, key string) []byte {
	t.Helper()
	o, err := c.back.GetObject("films", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Contents.Close()
	b, err := io.ReadAll(o.Contents)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func ignore(Upload) {}

func TestPut(t *testing.T) {
	c := newCellar(t)
	for name, size := range map[string]int{"live/a b.flv": 1000, "live/large.mp4": 2*smallPart + 77} {
		want := noise(size)
		if err := c.Put(t.Context(), name, "video/mp4", bytes.NewReader(want), int64(size), Upload{}, ignore); err != nil {
			t.Fatal(name, err)
		}
		if got := c.get(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes came, which are not the %d that were sent", name, len(got), size)
		}
	}
	if got := c.URL("live/a b.flv"); got != c.Endpoint+"/films/live/a%20b.flv" {
		t.Error(got)
	}
	c.Public = "https://cdn.example.com/rec/"
	if got := c.URL("live/x.flv"); got != "https://cdn.example.com/rec/live/x.flv" {
		t.Error(got)
	}
}

// An upload that was broken off goes on where it was.
func TestGoesOn(t *testing.T) {
	c := newCellar(t)
	want := noise(3*smallPart + 5)
	c.deny = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "3" {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	var left Upload
	put := func() error {
		return c.Put(t.Context(), "x.mp4", "video/mp4", bytes.NewReader(want), int64(len(want)), left, func(u Upload) { left = u })
	}
	if err := put(); err == nil || left.ID == "" || c.parts.Load() != 2 {
		t.Fatalf("%v; %+v, %d parts", err, left, c.parts.Load())
	}
	c.deny = nil
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if n := c.parts.Load(); n != 4 {
		t.Errorf("%d parts were sent in both attempts, want 4", n)
	}
	if !bytes.Equal(c.get(t, "x.mp4"), want) {
		t.Error("the object is not what was sent")
	}
	// A store that has forgotten it is sent all of it.
	left.ID = "gone"
	if err := put(); err != nil || left.ID == "gone" {
		t.Fatal(err, left)
	}
}

func TestRefusals(t *testing.T) {
	c := newCellar(t)
	put := func(ctx context.Context, size int) error {
		return c.Put(ctx, "x.flv", "video/x-flv", bytes.NewReader(noise(size)), int64(size), Upload{}, ignore)
	}
	c.Bucket = "elsewhere"
	if err := put(t.Context(), 10); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Error(err)
	}
	c.Bucket = "films"
	c.deny = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	if err := put(t.Context(), 10); err == nil || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
	release := make(chan struct{})
	defer close(release)
	c.deny = func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	c.Stall = 50 * time.Millisecond
	for _, size := range []int{10, 2 * smallPart} {
		if err := put(t.Context(), size); !errors.Is(err, errStalled) {
			t.Error(err)
		}
	}
	c.Stall = 0
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := put(ctx, 10); err == nil {
		t.Error("a store that hangs has taken it")
	}
	c.Endpoint = "http://127.0.0.1:1"
	if err := put(t.Context(), 10); err == nil {
		t.Error("nobody has taken it")
	}
}
