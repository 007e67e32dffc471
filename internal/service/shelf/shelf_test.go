package shelf

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/service"
)

// answer lets a file answer a request.
func answer(f *File, method string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://x/f", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.Serve(w, r)
	return w
}

func TestServe(t *testing.T) {
	f := New("video/MP2T", CacheFor(20*time.Second), "tag", []byte("0123"), nil, []byte("456"), []byte("789"))
	for _, c := range []struct {
		name, method string
		header       []string
		status       int
		body, length string
	}{
		{"all", "GET", nil, 200, "0123456789", "10"},
		{"head", "HEAD", nil, 200, "", "10"},
		{"a range over parts", "GET", []string{"Range", "bytes=3-7"}, 206, "34567", "5"},
		{"the end", "GET", []string{"Range", "bytes=-2"}, 206, "89", "2"},
		{"from the middle", "GET", []string{"Range", "bytes=4-"}, 206, "456789", "6"},
		{"past the end", "GET", []string{"Range", "bytes=20-"}, 416, "invalid range: failed to overlap\n", ""},
		{"as before", "GET", []string{"If-None-Match", `"tag"`}, 304, "", ""},
		{"not as before", "GET", []string{"If-None-Match", `"other"`}, 200, "0123456789", "10"},
		{"the rest of another", "GET", []string{"Range", "bytes=4-", "If-Range", `"other"`}, 200, "0123456789", "10"},
		{"gzip", "GET", []string{"Accept-Encoding", "gzip"}, 200, "0123456789", "10"},
	} {
		w := answer(f, c.method, c.header...)
		if w.Code != c.status || w.Body.String() != c.body || c.length != "" && w.Header().Get("Content-Length") != c.length {
			t.Errorf("%s: %d %q, %s bytes; want %d %q", c.name, w.Code, w.Body, w.Header().Get("Content-Length"), c.status, c.body)
		}
		if w.Code < 300 && (w.Header().Get("Content-Type") != "video/MP2T" || w.Header().Get("Cache-Control") != "max-age=20, immutable" || w.Header().Get("Accept-Ranges") != "bytes") {
			t.Errorf("%s: %v", c.name, w.Header())
		}
	}
}

// Text that is longer than a packet is compressed for those who take that, under
// another ETag.
func TestServeText(t *testing.T) {
	text := []byte(strings.Repeat("#EXTINF:2.000, no desc\n", 100))
	f := Text("t", CacheManifest, text)
	plain, small := answer(f, "GET"), answer(f, "GET", "Accept-Encoding", "br;q=1, gzip;q=0.5")
	if !bytes.Equal(plain.Body.Bytes(), text) || small.Body.Len() >= len(text)/2 || plain.Header().Get("ETag") == small.Header().Get("ETag") {
		t.Fatalf("%d and %d bytes, %v", plain.Body.Len(), small.Body.Len(), small.Header())
	}
	z, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, text) {
		t.Errorf("unpacked: %v", err)
	}
	for _, refuses := range []string{"gzip;q=0", "gzip;q=0.000", "br", ""} {
		if w := answer(f, "GET", "Accept-Encoding", refuses); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("compressed for %q", refuses)
		}
	}
	if w := answer(Text("t", CacheManifest, []byte("short")), "GET", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("what fits in a packet is compressed")
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{"a/b-0.ts": "a/b-0.ts", "a b": "a%20b", "a%20b": "a%2520b", "x:y/z": "./x:y/z", "ü?#": "%C3%BC%3F%23"} {
		if got := Escape(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// No name leads out of the folder, whatever a peer called its stream; a complaint
// is told once, and taken back.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	d := &Disk{Dir: filepath.Join(dir, "html"), Log: slog.New(slog.NewTextHandler(&log, nil)), Notices: &service.Notices{}, Subject: "hls files of s"}
	if err := d.Write("a/b/c.ts", []byte("one "), []byte("two")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "html/a/b/c.ts")); err != nil || string(b) != "one two" {
		t.Errorf("%q, %v", b, err)
	}
	os.Symlink(dir, filepath.Join(dir, "html/out"))
	for _, name := range []string{"../x", "a/../../x", "/x", "out/x"} {
		if err := d.Write(name, []byte("x")); err == nil {
			t.Errorf("%s was written", name)
		}
		if _, err := d.Read(name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file outside: %v", err)
	}
	d.Remove("a/b/c.ts", "nosuch")
	if _, err := d.Read("a/b/c.ts"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	for range 3 {
		d.Complain(&os.PathError{Op: "write", Path: log.String(), Err: errors.New("disk full")})
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 || len(d.Notices.All()) != 1 {
		t.Errorf("%d lines, notices %v", n, d.Notices.All())
	}
	d.Complain(nil)
	d.Complain(nil)
	if strings.Count(log.String(), "written again") != 1 || len(d.Notices.All()) != 0 {
		t.Errorf("%s, notices %v", &log, d.Notices.All())
	}
}
