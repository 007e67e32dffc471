package static

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/service"
)

// open serves a folder and returns its address.
func open(t *testing.T, dir string) string {
	t.Helper()
	text := fmt.Sprintf("listen 1; http_server { enabled on; dir %s; } vhost __defaultVhost__ { }", dir)
	snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, []config.Spec{blocks.Root, blocks.VhostRoot, blocks.HTTPServer, blocks.HTTPStatic})
	if err != nil {
		t.Fatal(err)
	}
	mux := &service.Mux{}
	if _, err := Protocol.New(service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(snap), Media: mux, Identity: service.Identity{Started: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func get(t *testing.T, addr, target string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestRanges(t *testing.T) {
	dir := t.TempDir()
	var all strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&all, "%04d", i)
	}
	whole := all.String()
	for _, name := range []string{"a.mp4", "a.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	addr := open(t, dir)
	for _, c := range []struct {
		target, header string
		status         int
		want           string // of the body, "" if it does not matter
		at             string
	}{
		{"/a.mp4", "", 200, whole, ""},
		{"/a.mp4", "bytes=100-199", 206, whole[100:200], "bytes 100-199/4000"},
		{"/a.mp4", "bytes=3996-", 206, whole[3996:], "bytes 3996-3999/4000"},
		{"/a.mp4", "bytes=-4", 206, whole[3996:], "bytes 3996-3999/4000"},
		{"/a.mp4", "bytes=3996-999999999999", 206, whole[3996:], "bytes 3996-3999/4000"},
		{"/a.mp4", "bytes=4000-", 416, "", "bytes */4000"},
		{"/a.mp4", "bytes=99999999-999999999", 416, "", "bytes */4000"},
		{"/a.mp4", "bytes=200-100", 416, "", ""},
		{"/a.mp4", "bytes=99999999999999999999999-", 416, "", ""},
		{"/a.mp4", "lines=1-2", 416, "", ""},
		{"/a.mp4", "bytes=0-0,-1", 206, "", ""},
		{"/a.mp4", "bytes=" + strings.Repeat("0-,", 2000) + "0-", 200, whole, ""}, // more than the file
		{"/a.txt", "bytes=4-7", 206, "0001", "bytes 4-7/4000"},
		{"/a.mp4?range=100-199", "", 206, whole[100:200], "bytes 100-199/4000"},
		{"/a.mp4?bytes=100-199", "", 206, whole[100:200], "bytes 100-199/4000"},
		{"/a.mp4?bytes=3996-", "", 206, whole[3996:], "bytes 3996-3999/4000"},
		{"/a.mp4?bytes=x", "", 416, "", ""},
		{"/a.mp4?bytes=1-2", "bytes=4-7", 206, "0001", "bytes 4-7/4000"},
		{"/a.txt?bytes=4-7", "", 200, whole, ""},
	} {
		header := []string{}
		if c.header != "" {
			header = []string{"Range", c.header}
		}
		res, body := get(t, addr, c.target, header...)
		if res.StatusCode != c.status || c.want != "" && body != c.want || c.at != "" && res.Header.Get("Content-Range") != c.at {
			t.Errorf("%s, %.40s: %d, %d bytes, %q; want %d, %q", c.target, c.header, res.StatusCode, len(body), res.Header.Get("Content-Range"), c.status, c.at)
		}
	}
}

// What SRS wrote for a stream whose name has escapes is asked for by them, as there.
func TestNameWithEscapes(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a%20b.ts"), []byte("escaped"), 0o644)
	os.WriteFile(filepath.Join(dir, "c d.ts"), []byte("plain"), 0o644)
	addr := open(t, dir)
	for target, want := range map[string]string{"/a%20b.ts": "escaped", "/a%2520b.ts": "escaped", "/c%20d.ts": "plain"} {
		if res, body := get(t, addr, target); res.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q", target, res.StatusCode, body)
		}
	}
	for _, target := range []string{"/%2e%2e/serve_test.go", "/..%2fserve_test.go", "/%252e%252e/x"} {
		if res, _ := get(t, addr, target); res.StatusCode != 404 {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	}
}

func TestCaching(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.mp4")
	os.WriteFile(file, []byte("0123456789"), 0o644)
	os.WriteFile(filepath.Join(dir, "a.m3u8"), []byte("#EXTM3U\n"), 0o644)
	addr := open(t, dir)
	res, _ := get(t, addr, "/a.mp4")
	tag, since := res.Header.Get("ETag"), res.Header.Get("Last-Modified")
	if tag == "" || since == "" || res.Header.Get("Cache-Control") != "" || res.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("headers %v", res.Header)
	}
	if res, body := get(t, addr, "/a.mp4", "If-None-Match", tag); res.StatusCode != 304 || body != "" {
		t.Errorf("If-None-Match: %d %q", res.StatusCode, body)
	}
	if res, _ := get(t, addr, "/a.mp4", "If-Modified-Since", since); res.StatusCode != 304 {
		t.Errorf("If-Modified-Since: %d", res.StatusCode)
	}
	if res, body := get(t, addr, "/a.mp4", "Range", "bytes=2-3", "If-Range", tag); res.StatusCode != 206 || body != "23" {
		t.Errorf("If-Range: %d %q", res.StatusCode, body)
	}
	// Another file of the same size under the name is another.
	os.WriteFile(file, []byte("abcdefghij"), 0o644)
	os.Chtimes(file, time.Time{}, time.Now().Add(time.Minute))
	if res, body := get(t, addr, "/a.mp4", "If-None-Match", tag); res.StatusCode != 200 || body != "abcdefghij" {
		t.Errorf("after a change: %d %q", res.StatusCode, body)
	}
	if res, body := get(t, addr, "/a.mp4", "Range", "bytes=2-3", "If-Range", tag); res.StatusCode != 200 || body != "abcdefghij" {
		t.Errorf("If-Range after a change: %d %q", res.StatusCode, body)
	}
	if res, _ := get(t, addr, "/a.m3u8"); res.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("a playlist: %v", res.Header)
	}
	if res, body := get(t, addr, "/crossdomain.xml"); res.StatusCode != 200 || body != "<cross-domain-policy/>" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/xml") {
		t.Errorf("crossdomain.xml: %d %q %v", res.StatusCode, body, res.Header)
	}
}

func TestFLVStart(t *testing.T) {
	b := flv.AppendFileHeader(nil, false, true)
	b = flv.AppendTag(b, flv.TypeVideo, 0, []byte{0x17, 0, 0, 0, 0, 1})
	head := len(b)
	b = flv.AppendTag(b, flv.TypeScript, 0, []byte("\x02\x00\x0aonMetaData"))
	var keys []int
	for i := range 20 {
		first := byte(0x27)
		if i%5 == 0 {
			first = 0x17
			keys = append(keys, len(b))
		}
		b = flv.AppendTag(b, flv.TypeVideo, uint32(i*40), append([]byte{first, 1, 0, 0, 0}, make([]byte, 100)...))
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a.flv"), b, 0o644)
	os.WriteFile(filepath.Join(dir, "text.flv"), []byte("this is no FLV"), 0o644)
	addr := open(t, dir)
	from := func(at int) string { return string(b[:head]) + string(b[at:]) }
	for target, want := range map[string]string{
		"/a.flv":                                 string(b),
		"/a.flv?start=0":                         string(b),
		"/a.flv?start=-1":                        string(b),
		"/a.flv?start=abc":                       string(b),
		"/a.flv?start=99999999999999999999":      string(b),
		fmt.Sprint("/a.flv?start=", keys[2]):     from(keys[2]),
		fmt.Sprint("/a.flv?start=", keys[2]+1):   from(keys[2]),
		fmt.Sprint("/a.flv?start=", keys[3]+200): from(keys[3]),
		fmt.Sprint("/a.flv?start=", len(b)-1):    string(b), // no tag from there on
		"/text.flv?start=3":                      "this is no FLV",
	} {
		res, body := get(t, addr, target)
		if res.StatusCode != 200 || body != want || res.ContentLength != int64(len(want)) {
			t.Errorf("%s: %d, %d bytes of %d, want %d", target, res.StatusCode, len(body), res.ContentLength, len(want))
		}
	}
	if res, _ := get(t, addr, fmt.Sprint("/a.flv?start=", len(b))); res.StatusCode != 416 {
		t.Errorf("behind the end: %d", res.StatusCode)
	}
	whole, _ := get(t, addr, "/a.flv")
	part, _ := get(t, addr, fmt.Sprint("/a.flv?start=", keys[1]))
	if whole.Header.Get("ETag") == part.Header.Get("ETag") {
		t.Error("a part has the ETag of the whole")
	}
	if res, body := get(t, addr, fmt.Sprint("/a.flv?start=", keys[1]), "Range", fmt.Sprintf("bytes=%d-%d", head-1, head+10)); res.StatusCode != 206 || body != from(keys[1])[head-1:head+11] {
		t.Errorf("a range of a part: %d, %x", res.StatusCode, body)
	}
}

// No spelling of a path leads out of the folder, and no kind of file holds a
// request up.
func TestTraversal(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "html")
	os.Mkdir(dir, 0o755)
	os.WriteFile(filepath.Join(top, "secret"), []byte("secret"), 0o644)
	os.WriteFile(filepath.Join(dir, "with space é.txt"), []byte("fine"), 0o644)
	os.WriteFile(filepath.Join(dir, "a..b.txt"), []byte("fine"), 0o644)
	os.Symlink(filepath.Join(top, "secret"), filepath.Join(dir, "link"))
	os.Symlink("..", filepath.Join(dir, "up"))
	syscall.Mkfifo(filepath.Join(dir, "pipe.flv"), 0o644)
	addr := open(t, dir)
	for _, p := range []string{"/../secret", "/%2e%2e/secret", "/..%2fsecret", "/%2e%2e%2fsecret", "/a/../../secret", "/./../secret", "//../secret", "/..%5csecret", "/..\\secret",
		"/%252e%252e/secret", "/link", "/up/secret", "/secret", "/%00", "/a..b.txt%00.html", "/..", "/.", "/" + strings.Repeat("../", 50) + "etc/passwd", "/pipe.flv", "/pipe.flv?start=5",
		"/" + strings.Repeat("a", 5000), "/..;/secret", "/%c0%ae%c0%ae/secret", "/\xff\xfe"} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", p)
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(nc)
		if err != nil || bytes.Contains(b, []byte("secret\n")) || bytes.HasSuffix(b, []byte("secret")) || bytes.Contains(b, []byte("root:")) || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
			t.Errorf("%.60q: %v %.200q", p, err, b)
		}
		nc.Close()
	}
	for target, want := range map[string]string{"/with%20space%20%C3%A9.txt": "fine", "/a..b.txt": "fine"} {
		if res, body := get(t, addr, target); res.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q", target, res.StatusCode, body)
		}
	}
}
