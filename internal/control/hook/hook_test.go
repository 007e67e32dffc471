package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// operator is a callback server that writes down what it is sent.
type operator struct {
	*httptest.Server
	mu     sync.Mutex
	lines  []string
	answer func(path string, w http.ResponseWriter)
}

func newOperator(t *testing.T) *operator {
	o := &operator{answer: func(_ string, w http.ResponseWriter) { io.WriteString(w, "0") }}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		o.lines = append(o.lines, r.Method+" "+r.URL.RequestURI()+" "+string(b))
		answer := o.answer
		o.mu.Unlock()
		answer(r.URL.Path, w)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *operator) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

func (o *operator) wait(t *testing.T, n int) string {
	t.Helper()
	for range 500 {
		o.mu.Lock()
		got := len(o.lines)
		o.mu.Unlock()
		if got >= n {
			return o.said()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("callbacks missing: want %d, got\n%s", n, o.said())
	return ""
}

func newHouse(t *testing.T, o *operator) (*session.Desk, *Hooks) {
	d := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
	one := func(p string) []string { return []string{o.URL + p} }
	h := New(service.Env{Log: slog.New(slog.DiscardHandler), Identity: service.Identity{ID: "vid-server", Service: "service", Server: "weir/1", Cwd: "/cwd"}},
		func(string) URLs {
			return URLs{OnConnect: one("/on_connect"), OnClose: one("/on_close"), OnPublish: one("/on_publish"), OnUnpublish: one("/on_unpublish"),
				OnPlay: one("/on_play"), OnStop: one("/on_stop"), OnDVR: one("/on_dvr"), OnHLS: one("/on_hls"),
				OnHLSNotify: o.URL + "/notify/[server_id]/[app]/[stream]/[ts_url][param]", NotifyBytes: 64}
		})
	d.Authorize(h)
	d.Observe(h)
	return d, h
}

// The fields and their order are those that SRS 7.0.18 was seen to send, and then clients.
func TestBodies(t *testing.T) {
	o := newOperator(t)
	d, _ := newHouse(t, o)
	ask := session.Ask{Key: hub.Key{Vhost: "127.0.0.1", App: "live", Stream: "s1"}, Said: session.Said{Stream: "s1", Param: "?token=1&a=<b>"}}
	p, err := d.Connect(t.Context(), session.Visitor{IP: "127.0.0.1", TcURL: "rtmp://127.0.0.1:1935/live", PageURL: "http://page/", Connects: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	_, _, stream := p.Doing()
	_, resolved, _ := p.Doing()
	d.Tell(session.Event{What: session.Segmented, Session: p, Ask: resolved, StreamID: stream.ID, Segment: &session.Segment{
		Duration: 2020 * time.Millisecond, File: "./html/live/s1-0.ts", URL: "live/s1-0.ts", URI: "s1-0.ts", Playlist: "./html/live/s1.m3u8", PlaylistURL: "live/s1.m3u8", Seq: 3}})
	o.wait(t, 4)
	d.Tell(session.Event{What: session.Recorded, Session: p, Ask: resolved, StreamID: stream.ID, Recording: &session.Recording{File: "./html/live/s1.1.flv"}})
	o.wait(t, 5)
	v, err := d.Connect(t.Context(), session.Visitor{IP: "10.0.0.1", TcURL: "http://127.0.0.1/live", PageURL: "http://page/"})
	if err != nil {
		t.Fatal(err)
	}
	ask.Said.TcURL = "rtmp://__defaultVhost__/live"
	if err := v.Watch(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	v.Close(nil)
	o.wait(t, 7)
	p.Count(3506, 4685)
	p.Close(nil)
	got := o.wait(t, 9)
	got = strings.NewReplacer(p.ID, "PUB", v.ID, "VIEW", stream.ID, "STREAM").Replace(got)
	lines := strings.Split(got, "\n")
	// The segment's two calls run side by side.
	if strings.HasPrefix(lines[2], "GET") {
		lines[2], lines[3] = lines[3], lines[2]
	}
	base := func(action, client, ip string) string {
		return fmt.Sprintf(`{"server_id":"vid-server","service_id":"service","action":"%s","client_id":"%s","ip":"%s","vhost":"__defaultVhost__","app":"live"`, action, client, ip)
	}
	tail := `,"stream_url":"/live/s1","stream_id":"STREAM"}`
	clients := strings.TrimSuffix(tail, "}") + `,"clients":2}`
	want := []string{
		"POST /on_connect " + base("on_connect", "PUB", "127.0.0.1") + `,"stream":"s1","param":"?token=1&a=<b>","tcUrl":"rtmp://127.0.0.1:1935/live","pageUrl":"http://page/"}`,
		"POST /on_publish " + base("on_publish", "PUB", "127.0.0.1") + `,"tcUrl":"rtmp://127.0.0.1:1935/live","stream":"s1","param":"?token=1&a=<b>"` + tail,
		"POST /on_hls " + base("on_hls", "PUB", "127.0.0.1") + `,"tcUrl":"rtmp://127.0.0.1:1935/live","stream":"s1","param":"?token=1&a=<b>","duration":2.02,"cwd":"/cwd","file":"./html/live/s1-0.ts","url":"live/s1-0.ts","m3u8":"./html/live/s1.m3u8","m3u8_url":"live/s1.m3u8","seq_no":3` + tail,
		"GET /notify/vid-server/live/s1/s1-0.ts?token=1&a=<b> ",
		"POST /on_dvr " + base("on_dvr", "PUB", "127.0.0.1") + `,"tcUrl":"rtmp://127.0.0.1:1935/live","stream":"s1","param":"?token=1&a=<b>","cwd":"/cwd","file":"./html/live/s1.1.flv"` + tail,
		"POST /on_play " + base("on_play", "VIEW", "10.0.0.1") + `,"stream":"s1","tcUrl":"rtmp://__defaultVhost__/live","param":"?token=1&a=<b>","pageUrl":"http://page/"` + clients,
		"POST /on_stop " + base("on_stop", "VIEW", "10.0.0.1") + `,"tcUrl":"rtmp://__defaultVhost__/live","stream":"s1","param":"?token=1&a=<b>"` + clients,
		"POST /on_unpublish " + base("on_unpublish", "PUB", "127.0.0.1") + `,"tcUrl":"rtmp://127.0.0.1:1935/live","stream":"s1","param":"?token=1&a=<b>"` + tail,
		"POST /on_close " + base("on_close", "PUB", "127.0.0.1") + `,"send_bytes":4685,"recv_bytes":3506}`,
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("callback %d:\n%s\nwant\n%s", i, lines[i], want[i])
		}
	}
}

// Of several who come at once each has a number of its own.
func TestClients(t *testing.T) {
	o := newOperator(t)
	var asked sync.WaitGroup
	asked.Add(3)
	o.answer = func(path string, w http.ResponseWriter) {
		if path == "/on_play" {
			asked.Done()
			asked.Wait()
		}
		io.WriteString(w, "0")
	}
	d, _ := newHouse(t, o)
	var viewers sync.WaitGroup
	for range 3 {
		viewers.Go(func() {
			s, err := d.Connect(t.Context(), session.Visitor{})
			if err == nil {
				err = s.Watch(t.Context(), session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}})
			}
			if err != nil {
				t.Error(err)
				return
			}
			s.Close(nil)
		})
	}
	viewers.Wait()
	var coming []string
	for line := range strings.Lines(o.wait(t, 6)) {
		if strings.Contains(line, "on_play") {
			coming = append(coming, regexp.MustCompile(`"clients":\d`).FindString(line))
		}
	}
	slices.Sort(coming)
	if got, want := strings.Join(coming, " "), `"clients":1 "clients":2 "clients":3`; got != want {
		t.Errorf("who comes is told by %s, want %s", got, want)
	}
}

// Whoever was told that somebody comes hears that it came to nothing, where one that is
// asked later refuses: the origin of an edge, or another server that has the stream.
func TestRefusedLater(t *testing.T) {
	o := newOperator(t)
	d, _ := newHouse(t, o)
	d.Authorize(later(func(r *session.Request) error {
		if r.Act == session.Connect {
			return nil
		}
		return &session.Moved{Host: "127.0.0.1", Port: 1935}
	}))
	s, err := d.Connect(t.Context(), session.Visitor{Connects: true})
	if err != nil {
		t.Fatal(err)
	}
	ask := session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}}
	for n, act := range []func() error{func() error { return s.Watch(t.Context(), ask) }, func() error { _, err := s.Publish(t.Context(), ask); return err }} {
		if err := act(); err == nil {
			t.Error("it was admitted")
		}
		o.wait(t, 3+3*n) // each asks to connect first
	}
	s.Close(nil)
	var got []string
	for line := range strings.Lines(o.wait(t, 7)) {
		got = append(got, strings.Fields(line)[1])
	}
	if want := "[/on_connect /on_play /on_stop /on_connect /on_publish /on_unpublish /on_close]"; fmt.Sprint(got) != want {
		t.Errorf("the callback server heard %v, want %s", got, want)
	}
}

// later is an authorizer that is asked after the callbacks.
type later func(r *session.Request) error

func (f later) Authorize(_ context.Context, r *session.Request) error { return f(r) }

func TestAcceptRule(t *testing.T) {
	for _, c := range []struct {
		body string
		code int
	}{
		{"0", 0}, {`{"code":0}`, 0}, {`{"code":0,"msg":"fine"}`, 0}, {"\xef\xbb\xbf{\"code\":0}", 0}, {"{\"code\":0,\n}", 0}, {`{"data":[1,],"code":0,}`, 0},
		{"0\n", 0}, {" 0\r\n", 0}, {`"0"`, 0}, {`{"code":"0"}`, 0}, {`{"code":0}` + "\n", 0},
		{"1", 3008}, {`"1"`, 3008}, {"00", 3008}, {"0 0", 3008}, {"", 3008}, {"\n", 3008}, {"ok", 3008}, {"[0]", 3008}, {"null", 3008}, {strings.Repeat("a", 70000), 3008},
		{`{"code":"1"}`, 3064}, {`{"code":"00"}`, 3064}, {`{"code":1}`, 3064}, {`{}`, 3064}, {`{"code":null}`, 3064}, {`{"code":0.5}`, 3064},
	} {
		if got := session.Code(judge([]byte(c.body))); got != c.code {
			t.Errorf("%.40q: code %d, want %d", c.body, got, c.code)
		}
	}
}

func TestRefusalByStatus(t *testing.T) {
	o := newOperator(t)
	o.answer = func(path string, w http.ResponseWriter) {
		if path == "/on_publish" {
			w.WriteHeader(http.StatusForbidden)
		}
		io.WriteString(w, "0")
	}
	d, _ := newHouse(t, o)
	s, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}})
	if session.Code(err) != 4005 {
		t.Errorf("got %v, code %d", err, session.Code(err))
	}
	s.Close(err)
}

func TestServerDown(t *testing.T) {
	o := newOperator(t)
	d, _ := newHouse(t, o)
	o.Close()
	s, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Watch(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}}); session.Code(err) != 1018 {
		t.Errorf("got %v, code %d", err, session.Code(err))
	}
	s.Close(nil)
}

// A server that hangs keeps the client that asks, and its own, from nobody
// else; a kick ends the wait at once.
func TestHangDelaysOnlyItsClient(t *testing.T) {
	o := newOperator(t)
	hang := make(chan struct{})
	defer close(hang)
	o.answer = func(path string, w http.ResponseWriter) {
		if path == "/on_publish" {
			<-hang
		}
		io.WriteString(w, "0")
	}
	d, _ := newHouse(t, o)
	slow, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := slow.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}})
		done <- err
	}()
	o.wait(t, 1)
	quick, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := quick.Watch(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}}); err != nil {
		t.Error(err)
	}
	slow.Kick(session.ErrKicked)
	if err := <-done; session.Code(err) != 9001 {
		t.Errorf("kicked while it waited: %v", err)
	}
	slow.Close(nil)
	quick.Close(nil)
}

func TestQueueKeepsOrderByName(t *testing.T) {
	o := newOperator(t)
	_, h := newHouse(t, o)
	for i := range 200 {
		name := fmt.Sprint(i % 7)
		h.queue.put(name, 0, func(ctx context.Context) time.Duration {
			h.post(ctx, &URLs{}, o.URL+"/q", "q", &session.Session{ID: name}, map[string]int{"n": i})
			return 0
		})
	}
	last := map[int]int{}
	for _, line := range strings.Split(o.wait(t, 200), "\n") {
		var v struct{ N int }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "POST /q ")), &v); err != nil {
			t.Fatal(err)
		}
		if l, ok := last[v.N%7]; ok && v.N < l {
			t.Errorf("name %d: job %d after %d", v.N%7, v.N, l)
		}
		last[v.N%7] = v.N
	}
}

// Of several callbacks each is asked in order until one refuses; of those that
// are only told, each is told.
func TestSeveralURLs(t *testing.T) {
	o := newOperator(t)
	o.answer = func(path string, w http.ResponseWriter) {
		if path == "/no" {
			io.WriteString(w, "1")
			return
		}
		io.WriteString(w, "0")
	}
	of := func(paths ...string) (all []string) {
		for _, p := range paths {
			all = append(all, o.URL+p)
		}
		return all
	}
	d := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
	h := New(service.Env{Log: slog.New(slog.DiscardHandler)}, func(string) URLs {
		return URLs{OnPublish: of("/a", "/b"), OnPlay: of("/c", "/no", "/never"), OnUnpublish: of("/d", "/e")}
	})
	d.Authorize(h)
	d.Observe(h)
	key := hub.Key{App: "live", Stream: "a"}
	p, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), session.Ask{Key: key}); err != nil {
		t.Fatalf("all accept: %v", err)
	}
	v, err := d.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	err = v.Watch(t.Context(), session.Ask{Key: key})
	if session.Code(err) != 3008 || !strings.Contains(fmt.Sprint(err), "/no") {
		t.Errorf("the second refuses: %v", err)
	}
	v.Close(err)
	p.Close(nil)
	var paths []string
	for l := range strings.SplitSeq(o.wait(t, 6), "\n") {
		paths = append(paths, strings.Fields(l)[1])
	}
	if got := strings.Join(paths, " "); got != "/a /b /c /no /d /e" {
		t.Errorf("called %s", got)
	}
}

// Names stand in the URL of on_hls_notify as SRS writes them, as long as that is a URL.
func TestInPath(t *testing.T) {
	for name, want := range map[string]string{"live": "live", "a/b": "a/b", "odd%20name-_.~+x": "odd%20name-_.~+x", "50%": "50%25", "a b?c#d": "a%20b%3Fc%23d", "你": "%E4%BD%A0"} {
		if got := inPath(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// Of what on_hls_notify fetches only so much is read as hls_nb_notify says.
func TestNotifyReadsSoMuch(t *testing.T) {
	const size = 32 << 20
	for bytes, whole := range map[int]bool{64: false, 0: false, -1: true} {
		wrote := make(chan int, 1)
		cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := 0
			for n < size {
				k, err := w.Write(make([]byte, 64<<10))
				n += k
				if err != nil {
					break
				}
			}
			wrote <- n
		}))
		o := newOperator(t)
		_, h := newHouse(t, o)
		s := &session.Session{ID: "x"}
		h.notify(t.Context(), URLs{OnHLSNotify: cdn.URL + "/[ts_url]", NotifyBytes: bytes}, s, &session.Ask{}, "s-0.ts")
		if n := <-wrote; (n == size) != whole {
			t.Errorf("hls_nb_notify %d: %d of %d bytes were taken", bytes, n, size)
		}
		cdn.Close()
	}
}
