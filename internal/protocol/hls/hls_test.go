package hls

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// house is a server with nothing but HLS in it.
type house struct {
	t    *testing.T
	env  service.Env
	svc  *server
	stop func()

	mu   sync.Mutex
	told []string // events; guarded by mu
}

// Observe implements session.Observer.
func (h *house) Observe(e session.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e.What {
	case session.Played:
		h.told = append(h.told, "play "+e.Ask.Said.Stream+e.Ask.Said.Param)
	case session.Stopped:
		h.told = append(h.told, fmt.Sprint("stop ", e.Err))
	case session.Segmented:
		g := e.Segment
		h.told = append(h.told, fmt.Sprintf("segment %d %.2f %s %s %s %s %s", g.Seq, g.Duration.Seconds(), g.File, g.URL, g.URI, g.Playlist, g.PlaylistURL))
	}
}

func (h *house) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.told, "\n")
	h.told = nil
	return s
}

func open(t *testing.T, dir, hls string) *house {
	t.Helper()
	// Three segments of 2 s, of which the first reaches over the window's beginning.
	text := "listen 1935; http_server { enabled on; dir " + dir + "; } vhost __defaultVhost__ { hls { enabled on; " + hls + " hls_fragment 2; hls_window 5.99; hls_path " + dir + "; } }"
	snap, err := config.Parse(config.Source{File: "test", Text: []byte(text), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	conf := config.NewStore(snap)
	hb := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	h := &house{t: t}
	desk := session.New(hb, session.Rules{Vhost: func(name string) (string, bool) {
		v, ok := conf.Load().Vhost(name)
		if !ok {
			return "", false
		}
		return v.Name, true
	}})
	desk.Observe(h)
	h.env = service.Env{Log: slog.New(slog.DiscardHandler), Conf: conf, Desk: desk, Hub: hb, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}, OnDemand: &service.OnDemand{}}
	h.env.Store = service.NewStore(h.env.Log, hb)
	svc, err := Protocol.New(h.env)
	if err != nil {
		t.Fatal(err)
	}
	h.svc = svc.(*server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		svc.Run(ctx)
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	return h
}

var picture = &media.Track{Kind: media.Video, Codec: media.H264,
	Config: []byte{1, 0x42, 0xc0, 0x0a, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x0a, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80}}

// publish sends n frames at 25 a second, in real time, with a key frame each two
// seconds; leave ends the publication.
func (h *house) publish(stream string, n int) (leave func()) {
	h.t.Helper()
	s, err := h.env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"})
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: stream}, Said: session.Said{App: "live", Stream: stream}})
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range n {
		typ := byte(0x41)
		if i%50 == 0 {
			typ = 0x65
		}
		p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%50 == 0, Payload: []byte{0, 0, 0, 3, typ, 0x88, byte(i)}})
		time.Sleep(40 * time.Millisecond)
	}
	synctest.Wait()
	return func() {
		s.Close(nil)
		synctest.Wait()
	}
}

// stream returns HLS's side of a stream of the default vhost.
func (h *house) stream(name string) *stream {
	st, _ := h.svc.streams.Get(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: name})
	return st
}

func (h *house) get(url string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", url, nil)
	r.RemoteAddr = "10.0.0.7:1234"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.env.Media.ServeHTTP(w, r)
	return w
}

func (h *house) want(w *httptest.ResponseRecorder, status int, body string) {
	h.t.Helper()
	if w.Code != status || body != "" && w.Body.String() != body {
		h.t.Errorf("answer %d\n%s\nwant %d\n%s", w.Code, w.Body, status, body)
	}
}

var ctxRE = regexp.MustCompile(`hls_ctx=([0-9a-z]{8})`)

// bubble runs f where time is free.
func bubble(t *testing.T, hls string, f func(h *house, dir string)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, hls)
		defer h.stop()
		f(h, dir)
	})
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestPlaylistAndViewer(t *testing.T) {
	bubble(t, "", func(h *house, dir string) {
		h.want(h.get("http://x/live/s.m3u8"), 404, "")
		leave := h.publish("s", 260) // 10.4 s
		first := h.get("http://x/live/s.m3u8?token=1")
		m := ctxRE.FindStringSubmatch(first.Body.String())
		if m == nil {
			t.Fatalf("no hls_ctx in\n%s", first.Body)
		}
		ctx := m[1]
		h.want(first, 200, "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH=39104,AVERAGE-BANDWIDTH=39104,CODECS=\"avc1.42c00a\",FRAME-RATE=25.000\n/live/s.m3u8?hls_ctx="+ctx+"&token=1\n")
		if ct := first.Header().Get("Content-Type"); ct != "application/vnd.apple.mpegurl" {
			t.Errorf("playlist is %s", ct)
		}
		h.want(h.get("http://x/live/s.m3u8?hls_ctx="+ctx+"&token=1"), 200, `#EXTM3U
#EXT-X-VERSION:3
#EXT-X-MEDIA-SEQUENCE:2
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-TARGETDURATION:2
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:04.000Z
#EXTINF:2.000, no desc
s-2.ts?hls_ctx=`+ctx+`&token=1
#EXTINF:2.000, no desc
s-3.ts?hls_ctx=`+ctx+`&token=1
#EXTINF:2.000, no desc
s-4.ts?hls_ctx=`+ctx+`&token=1
`)
		seg := h.get("http://x/live/s-2.ts?hls_ctx=" + ctx)
		if seg.Code != 200 || seg.Header().Get("Content-Type") != "video/MP2T" || seg.Body.Len()%188 != 0 {
			t.Errorf("segment: %d %s, %d bytes", seg.Code, seg.Header().Get("Content-Type"), seg.Body.Len())
		}
		// Fetchable for one more window, though not listed.
		h.want(h.get("http://x/live/s-0.ts"), 200, "")
		h.want(h.get("http://x/live/s-99.ts"), 404, "")
		if got := h.get("http://x/live/s.m3u8?hls_ctx="+ctx, "Origin", "http://page").Header().Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("CORS: %q", got)
		}
		if got, want := files(t, dir), "live/s-0.ts live/s-1.ts live/s-2.ts live/s-3.ts live/s-4.ts live/s.m3u8"; got != want {
			t.Errorf("files\n%s\nwant\n%s", got, want)
		}
		disk, err := os.ReadFile(filepath.Join(dir, "live/s.m3u8"))
		if err != nil || strings.Contains(string(disk), "hls_ctx") {
			t.Errorf("playlist on disk: %v\n%s", err, disk)
		}
		said := h.said()
		if !strings.Contains(said, "segment 0 2.00 "+dir+"/live/s-0.ts live/s-0.ts s-0.ts "+dir+"/live/s.m3u8 live/s.m3u8") || !strings.Contains(said, "play s.m3u8?token=1") {
			t.Errorf("told:\n%s", said)
		}
		// Silence for twice the window signs the viewer out.
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if got := h.said(); got != "stop <nil>" {
			t.Errorf("after silence: %q", got)
		}
		leave()
	})
}

// A viewer has a stream begin that is on demand: it signs in before there is one, waits
// for the first segment, and is told if none comes.
func TestOnDemand(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		h.env.OnDemand.Add(func(k hub.Key) (service.Expected, bool) { return service.Expected{}, strings.HasPrefix(k.Stream, "d") })
		h.want(h.get("http://x/live/other.m3u8"), 404, "")
		over := make(chan struct{})
		go func() {
			defer close(over)
			time.Sleep(time.Second)
			if got := h.said(); got != "play d.m3u8?token=1" {
				t.Errorf("told before it begins: %s", got)
			}
			h.publish("d", 260)()
		}()
		began := time.Now()
		first := h.get("http://x/live/d.m3u8?token=1")
		if took := time.Since(began).Round(time.Second); first.Code != 200 || took < 3*time.Second || took > 5*time.Second {
			t.Errorf("after %v: %d %s", took, first.Code, first.Body)
		}
		m := ctxRE.FindStringSubmatch(first.Body.String())
		if m == nil {
			t.Fatalf("no hls_ctx in\n%s", first.Body)
		}
		h.want(h.get("http://x/live/d.m3u8?hls_ctx="+m[1]), 200, "")
		h.want(h.get("http://x/live/d2.m3u8"), 404, "")
		if took := time.Since(began).Round(time.Second); took < 15*time.Second {
			t.Errorf("after %v nobody waits any more", took)
		}
		<-over
	})
}

func TestKickedViewerGetsNothingMore(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		leave := h.publish("s", 120)
		ctx := ctxRE.FindStringSubmatch(h.get("http://x/live/s.m3u8").Body.String())[1]
		h.want(h.get("http://x/live/s.m3u8?hls_ctx="+ctx), 200, "")
		h.env.Desk.Session(ctx).Kick(session.ErrKicked)
		h.want(h.get("http://x/live/s.m3u8?hls_ctx="+ctx), 404, "HLS stream is EOF\n")
		h.want(h.get("http://x/live/s-0.ts?hls_ctx="+ctx), 404, "HLS stream is EOF\n")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n, _ := h.env.Desk.Len(); n != 1 {
			t.Errorf("%d sessions, want the publisher's only", n)
		}
		h.want(h.get("http://x/live/s.m3u8?hls_ctx="+ctx), 404, "HLS stream is EOF\n")
		leave()
	})
}

func TestUnknownCtxIsKept(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		leave := h.publish("s", 120)
		got := h.get("http://x/live/s.m3u8?hls_ctx=00000000")
		if !strings.Contains(got.Body.String(), "s-0.ts?hls_ctx=00000000") {
			t.Errorf("%s", got.Body)
		}
		h.get("http://x/live/s.m3u8?hls_ctx=00000000")
		if n, _ := h.env.Desk.Len(); n != 2 {
			t.Errorf("%d sessions, want publisher and one viewer", n)
		}
		leave()
	})
}

func TestRefusedViewer(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		h.env.Desk.Authorize(deny{})
		leave := h.publish("s", 120)
		h.want(h.get("http://x/live/s.m3u8"), 403, "")
		h.want(h.get("http://x/live/s.m3u8?hls_ctx=00000000"), 403, "")
		if n, _ := h.env.Desk.Len(); n != 1 {
			t.Errorf("%d sessions are left", n)
		}
		leave()
	})
}

type deny struct{}

func (deny) Authorize(_ context.Context, r *session.Request) error {
	if r.Act == session.Play {
		return session.ErrDenied
	}
	return nil
}

// Rules hold without hls_ctx too, and one address is one viewer.
func TestWithoutCtx(t *testing.T) {
	bubble(t, "hls_ctx off;", func(h *house, _ string) {
		leave := h.publish("s", 120)
		for range 3 {
			h.want(h.get("http://x/live/s.m3u8"), 200, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:00.000Z\n#EXTINF:2.000, no desc\ns-0.ts\n#EXTINF:2.000, no desc\ns-1.ts\n")
		}
		if n, _ := h.env.Desk.Len(); n != 2 {
			t.Errorf("%d sessions, want publisher and one viewer", n)
		}
		h.env.Desk.Authorize(deny{})
		h.want(h.get("http://x/live/s.m3u8", "X-Real-IP", "10.9.9.9"), 403, "")
		leave()
	})
}

func TestTSCtxOff(t *testing.T) {
	bubble(t, "hls_ts_ctx off;", func(h *house, _ string) {
		leave := h.publish("s", 70)
		if got := h.get("http://x/live/s.m3u8?hls_ctx=aaaaaaaa").Body.String(); !strings.HasSuffix(got, "\ns-0.ts\n") {
			t.Errorf("%s", got)
		}
		leave()
	})
}

// Players that stay over a restart of the server go on: numbers do not start
// again.
func TestSequenceGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	for round, want := range []string{"s-0.ts", "s-2.ts", "s-4.ts"} {
		synctest.Test(t, func(t *testing.T) {
			h := open(t, dir, "")
			leave := h.publish("s", 80) // two segments, the second at the end
			leave()
			body := h.get("http://x/live/s.m3u8?hls_ctx=aaaaaaaa").Body.String()
			if !strings.Contains(body, want) || !strings.Contains(body, "#EXT-X-DISCONTINUITY\n") {
				t.Errorf("round %d: want %s in\n%s", round, want, body)
			}
			h.stop()
		})
	}
}

func TestRepublishGoesOnWithDiscontinuity(t *testing.T) {
	bubble(t, "hls_window 60;", func(h *house, _ string) {
		h.publish("s", 80)()
		time.Sleep(20 * time.Second)
		h.publish("s", 80)()
		want := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:2\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:00.000Z\n#EXTINF:2.000, no desc\ns-0.ts\n#EXTINF:1.160, no desc\ns-1.ts\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:23.200Z\n#EXTINF:2.000, no desc\ns-2.ts\n#EXTINF:1.160, no desc\ns-3.ts\n"
		h.want(h.get("http://x/live/s.m3u8?hls_ctx=aaaaaaaa"), 200, strings.ReplaceAll(want, ".ts\n", ".ts?hls_ctx=aaaaaaaa\n"))
	})
}

func TestDispose(t *testing.T) {
	bubble(t, "hls_dispose 10;", func(h *house, dir string) {
		h.publish("s", 80)()
		time.Sleep(8 * time.Second)
		h.want(h.get("http://x/live/s-0.ts"), 200, "")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		h.want(h.get("http://x/live/s-0.ts"), 404, "")
		if got := files(t, dir); got != "" {
			t.Errorf("files are left: %s", got)
		}
		if h.env.Hub.Stream(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}) != nil {
			t.Error("the stream is held")
		}
	})
}

func TestNamesAndPrefix(t *testing.T) {
	for _, c := range []struct{ conf, uri, url, file string }{
		{"hls_m3u8_file [app]/m/[stream].m3u8; hls_ts_file [app]/t/[stream]-[duration]-[seq].ts;", "../t/s-2000-0.ts", "live/t/s-2000-0.ts", "live/m/s.m3u8 live/t/s-2000-0.ts"},
		{"hls_entry_prefix http://cdn.example.com;", "http://cdn.example.com/live/s-0.ts", "http://cdn.example.com/live/s-0.ts", "live/s-0.ts live/s.m3u8"},
		{"hls_entry_prefix http://cdn.example.com/;", "http://cdn.example.com/s-0.ts", "http://cdn.example.com/s-0.ts", "live/s-0.ts live/s.m3u8"},
		{"hls_ts_floor on; hls_ts_file [app]/[stream]-[timestamp].ts;", "s-473342400.ts", "live/s-473342400.ts", "live/s-473342400.ts live/s.m3u8"},
		{"hls_files off;", "s-0.ts", "live/s-0.ts", ""},
	} {
		bubble(t, c.conf, func(h *house, dir string) {
			leave := h.publish("s", 70)
			disk := h.stream("s").listed().text
			lines := strings.Split(strings.TrimSpace(string(disk)), "\n")
			if got := lines[len(lines)-1]; got != c.uri {
				t.Errorf("%s: listed as %s, want %s", c.conf, got, c.uri)
			}
			if got := files(t, dir); got != c.file {
				t.Errorf("%s: files %s, want %s", c.conf, got, c.file)
			}
			// SRS tells on_hls of the prefix too, and on_hls_notify of what the playlist says.
			if got := h.said(); !strings.Contains(got, " "+c.url+" "+c.uri+" ") {
				t.Errorf("%s: told %s, want %s and %s", c.conf, got, c.url, c.uri)
			}
			leave()
		})
	}
}

// A disk that cannot be written leaves viewers alone, and is told of.
func TestDiskFailureLeavesViewersAlone(t *testing.T) {
	bubble(t, "", func(h *house, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "live"), nil, 0o644); err != nil { // a file where a folder is needed
			t.Fatal(err)
		}
		leave := h.publish("s", 120)
		h.want(h.get("http://x/live/s-0.ts"), 200, "")
		if n := h.env.Notices.All(); len(n) != 1 {
			t.Errorf("notices: %v", n)
		}
		os.Remove(filepath.Join(dir, "live"))
		leave()
		if n := h.env.Notices.All(); len(n) != 0 {
			t.Errorf("notices after it is well again: %v", n)
		}
	})
}

// SRS decodes no path: a stream whose own name has escapes is asked for by them.
func TestNameWithEscapes(t *testing.T) {
	bubble(t, "hls_ctx off;", func(h *house, _ string) {
		leave := h.publish("a%20b", 70)
		for _, path := range []string{"a%20b.m3u8", "a%2520b.m3u8", "a%20b-0.ts", "a%2520b-0.ts"} {
			h.want(h.get("http://x/live/"+path), 200, "")
		}
		h.want(h.get("http://x/live/a+b.m3u8"), 404, "")
		leave()
	})
}

// SRS lists hls_window and the segment that reaches over its beginning.
func TestWindowIsNoShorter(t *testing.T) {
	bubble(t, "hls_ctx off; hls_window 6;", func(h *house, _ string) {
		leave := h.publish("s", 12*50)
		body := h.get("http://x/live/s.m3u8").Body.String()
		if n := strings.Count(body, "#EXTINF:2.000"); n != 4 || !strings.Contains(body, "#EXT-X-MEDIA-SEQUENCE:7\n") {
			t.Errorf("%d segments are listed, want 4:\n%s", n, body)
		}
		leave()
	})
}

func TestMethods(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		leave := h.publish("s", 70)
		r := httptest.NewRequest("DELETE", "http://x/live/s-0.ts", nil)
		w := httptest.NewRecorder()
		h.env.Media.ServeHTTP(w, r)
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("DELETE: %d", w.Code)
		}
		r = httptest.NewRequest("POST", "http://x/live/s-0.ts", nil)
		w = httptest.NewRecorder()
		h.env.Media.ServeHTTP(w, r)
		if w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("POST: %d, %d bytes", w.Code, w.Body.Len())
		}
		r = httptest.NewRequest("HEAD", "http://x/live/s-0.ts", nil)
		w = httptest.NewRecorder()
		h.env.Media.ServeHTTP(w, r)
		if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
			t.Errorf("HEAD: %d, %d bytes, length %s", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
		}
		leave()
	})
}
