package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/service"
	"weir/internal/service/shelf"
)

// hotHouse is an HTTP server whose handler answers /hot/... from memory, and all
// else as net/http does it.
type hotHouse struct {
	t    *testing.T
	addr string
	web  *web
	big  []byte
}

func openHot(t *testing.T) *hotHouse {
	t.Helper()
	h := &hotHouse{t: t, big: bytes.Repeat([]byte("0123456789abcdef"), 500_000)} // 8 MB
	var mux service.Mux
	hot := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/hot/") }
	mux.HandleReady(hot)
	mux.Handle(service.OrderLive, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/hot/big":
			service.Share(w, h.big)
		case r.URL.Path == "/hot/fault":
			panic("a fault of ours")
		case hot(r):
			// How it was answered shows in the type of the writer.
			_, memory := w.(*hotAnswer)
			w.Header().Set("X-Test", "a\r\nb")
			fmt.Fprintf(w, "%s %s %v", r.URL.RequestURI(), r.Header.Get("X-Said"), memory)
		case r.URL.Path == "/cold":
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "cold %s", b)
		default:
			return false
		}
		return true
	})
	env := service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(nil), Identity: service.Identity{Server: Name}}
	h.web = newWeb(env, "test", "T", "TS", &mux, func(*config.Snapshot) webConf { return webConf{on: true} })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	runWeb(t, h.web, l)
	return h
}

// runWeb runs w with what l accepts, until the test ends.
func runWeb(t *testing.T, w *web, l net.Listener) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			w.back.Return(nc)
		}
	})
	t.Cleanup(func() {
		l.Close()
		stop()
		wg.Wait()
	})
}

// talk sends requests on one connection and returns the bodies, with the status
// where it is not 200.
func (h *hotHouse) talk(requests ...string) (answers []string) {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(nc, strings.Join(requests, ""))
	in := bufio.NewReader(nc)
	for _, req := range requests {
		method, _, _ := strings.Cut(req, " ")
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return append(answers, err.Error())
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return append(answers, err.Error())
		}
		if res.StatusCode == 200 && res.Header.Get("Server") != Name {
			h.t.Errorf("%q: Server is %q", req, res.Header.Get("Server"))
		}
		s := string(b)
		if len(b) > 1000 {
			s = fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
		}
		if method == "HEAD" {
			s = fmt.Sprint("length ", res.ContentLength)
		}
		if res.StatusCode != 200 {
			s = fmt.Sprint(res.StatusCode)
		}
		answers = append(answers, s)
	}
	return answers
}

func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// One connection goes from net/http to memory and back as its requests want it,
// also when they all come at once.
func TestHotAndColdOnOneConnection(t *testing.T) {
	h := openHot(t)
	big := fmt.Sprintf("%d bytes %x", len(h.big), sha256.Sum256(h.big))
	got := h.talk(
		get("/hot/1", "X-Said: a"), get("/hot/2?x=y", "X-Said: a"), get("/cold"), get("/hot/3", "X-Said: b"), get("/hot/big"), get("/hot/big"),
		"POST /cold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", "HEAD /hot/4 HTTP/1.1\r\nHost: x\r\n\r\n", get("/hot/5", "Connection: keep-alive"),
		get("/none"), "GET /hot/6 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", get("/hot/7"), get("/hot/8", "Connection: close"))
	want := []string{"/hot/1 a true", "/hot/2?x=y a true", "cold ", "/hot/3 b true", big, big, "cold body", "length 12", "/hot/5  true", "404", "/hot/6  false", "/hot/7  true", "/hot/8  false"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What a stranger sends after a request of the plain kind is net/http's to judge.
func TestHotGarbage(t *testing.T) {
	h := openHot(t)
	for _, bad := range []string{
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /hot/1 HTTP/1.1\r\n\r\n", "GET  /hot/1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost : x\r\n\r\n", "GET /hot/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET /hot/\x01 HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n\r\n\r\n", "GET /hot/1 HTTP/3.0\r\nHost: x\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 80<<10) + "\r\n\r\n",
	} {
		got := h.talk(get("/hot/1"), bad)
		if len(got) != 2 || !regexp.MustCompile(`^(4\d\d|505|EOF|unexpected EOF|.*reset.*)$`).MatchString(got[1]) {
			t.Errorf("%.60q: %q", bad, got)
		}
	}
	if got := h.talk(get("/hot/fault")); len(got) != 1 || !strings.Contains(got[0], "EOF") {
		t.Errorf("a fault: %q", got)
	}
	if got := h.talk(get("/hot/1"), get("/hot/fault")); len(got) != 2 || !strings.Contains(got[1], "EOF") {
		t.Errorf("a fault in memory: %q", got)
	}
	if got := h.talk(get("/hot/1"), get("/hot/2")); !slices.Equal(got, []string{"/hot/1  true", "/hot/2  true"}) {
		t.Errorf("afterwards: %q", got)
	}
}

// Viewers that come and go, read slowly or not at all, leave nothing behind.
func TestHotLeavesNothing(t *testing.T) {
	h := openHot(t)
	h.talk(get("/hot/1"))
	fds := descriptors(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			nc, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			io.WriteString(nc, get("/hot/1")+get("/hot/big")+get("/hot/big"))
			io.CopyN(io.Discard, nc, int64(i)*100_000)
			if i%3 == 0 {
				nc.(*net.TCPConn).SetLinger(0)
			}
		})
	}
	wg.Wait()
	if !soon(func() bool { return descriptors(t) <= fds+2 }) {
		t.Errorf("%d descriptors, %d before", descriptors(t), fds)
	}
}

// waiters are requests that wait to be answered from memory: those of /wait/, until
// open is set.
type waiters struct {
	mu     sync.Mutex
	open   bool                 // guarded by mu
	waits  map[*func()]struct{} // guarded by mu
	before bool                 // what waits is called at once; guarded by mu
}

func (w *waiters) ready(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open && strings.HasPrefix(r.URL.Path, "/wait/")
}

func (w *waiters) later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool) {
	if !strings.HasPrefix(r.URL.Path, "/wait/") {
		return nil, until, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.before {
		w.open = true
		wake()
		return func() {}, time.Now().Add(time.Minute), true
	}
	w.waits[&wake] = struct{}{}
	until = time.Now().Add(time.Minute)
	if r.URL.Path == "/wait/short" {
		until = time.Now()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.waits, &wake)
	}, until, true
}

// count returns how many wait.
func (w *waiters) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waits)
}

// let has those who wait asked again.
func (w *waiters) let(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = open
	for wake := range w.waits {
		(*wake)()
	}
}

// Requests whose answer has to come are kept without a goroutine each, and answered when
// it has, in their order; peers that go, and time that runs out, end that.
func TestHotWaits(t *testing.T) {
	h := openHot(t)
	w := &waiters{waits: map[*func()]struct{}{}}
	mux := h.web.handler.(*service.Mux)
	mux.HandleReady(w.ready)
	mux.HandleLater(w.later)
	mux.Handle(service.OrderLive, func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/wait/") {
			return false
		}
		_, memory := rw.(*hotAnswer)
		fmt.Fprintf(rw, "%s %v", r.URL.Path, memory)
		return true
	})
	before := runtime.NumGoroutine()
	const n = 50
	var conns []net.Conn
	for i := range 2 * n {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, get("/hot/1")+get(fmt.Sprintf("/wait/%d", i))+get("/hot/2"))
		conns = append(conns, nc)
	}
	if !soon(func() bool { return w.count() == 2*n }) {
		t.Fatalf("%d of %d wait", w.count(), 2*n)
	}
	if !soon(func() bool { return runtime.NumGoroutine() < before+n/2 }) {
		t.Errorf("%d goroutines for %d that wait, %d before", runtime.NumGoroutine(), 2*n, before)
	}
	w.let(false) // for nothing
	for _, nc := range conns[n:] {
		nc.Close()
	}
	if !soon(func() bool { return w.count() == n }) {
		t.Errorf("%d wait, %d peers are there", w.count(), n)
	}
	w.let(true)
	for i, nc := range conns[:n] {
		in, got := bufio.NewReader(nc), ""
		for range 3 {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			got += string(b) + "; "
		}
		if want := fmt.Sprintf("/hot/1  true; /wait/%d true; /hot/2  true; ", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// One whose time is over is net/http's, and one that is woken before it waits is not lost.
	w.let(false)
	if got := h.talk(get("/hot/1"), get("/wait/short")); !slices.Equal(got, []string{"/hot/1  true", "/wait/short false"}) {
		t.Errorf("%q", got)
	}
	w.mu.Lock()
	w.before = true
	w.mu.Unlock()
	if got := h.talk(get("/hot/1"), get("/wait/now")); !slices.Equal(got, []string{"/hot/1  true", "/wait/now true"}) {
		t.Errorf("%q", got)
	}
	if !soon(func() bool { return w.count() == 0 }) {
		t.Errorf("%d wait", w.count())
	}
}

// An answer that is made while it is sent comes as it is made, without a goroutine for each
// who reads it, and the connection goes on after it; net/http does the same.
func TestHotGrows(t *testing.T) {
	h := openHot(t)
	g := &shelf.Growing{}
	g.Add([]byte("one "))
	mux := h.web.handler.(*service.Mux)
	grows := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/grow/") }
	mux.HandleReady(func(r *http.Request) bool { return grows(r) && r.URL.Path != "/grow/cold" })
	mux.Handle(service.OrderLive, func(w http.ResponseWriter, r *http.Request) bool {
		if grows(r) {
			shelf.Open("text/x", g).Serve(w, r)
		}
		return grows(r)
	})
	before := runtime.NumGoroutine()
	const n = 20
	var conns []*bufio.Reader
	for i := range 2 * n {
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		path := "/grow/hot"
		if i == 0 {
			path = "/grow/cold"
		}
		io.WriteString(nc, get("/hot/1")+get(path)+get("/hot/2"))
		in := bufio.NewReader(nc)
		if res, err := http.ReadResponse(in, nil); err != nil || res.ContentLength < 0 {
			t.Fatalf("%v, %v", res, err)
		} else {
			io.Copy(io.Discard, res.Body)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil || !slices.Equal(res.TransferEncoding, []string{"chunked"}) || res.Header.Get("Content-Type") != "text/x" {
			t.Fatalf("%v, %v", res, err)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "one " {
			t.Fatalf("%q, %v", b, err)
		}
		if i >= n {
			nc.Close() // does not read on
			continue
		}
		conns = append(conns, bufio.NewReader(io.MultiReader(res.Body, strings.NewReader("|"), in)))
	}
	if !soon(func() bool { return runtime.NumGoroutine() < before+n/2 }) {
		t.Errorf("%d goroutines for %d that wait, %d before", runtime.NumGoroutine(), n, before)
	}
	if !soon(func() bool { return g.Waiting() == n }) {
		t.Errorf("%d wait, %d peers are there", g.Waiting(), n)
	}
	g.Add([]byte("two "), []byte("three"))
	g.End()
	for i, in := range conns {
		if got, err := in.ReadString('|'); err != nil || got != "two three|" {
			t.Errorf("%d has %q, %v", i, got, err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "/hot/2  true" {
			t.Errorf("%d then has %q", i, b)
		}
	}
	if got := h.talk(get("/hot/1"), "HEAD"+get("/grow/hot")[3:], get("/grow/hot")); !slices.Equal(got, []string{"/hot/1  true", "length -1", "one two three"}) {
		t.Errorf("whole: %q", got)
	}
}

// FuzzHotHead: whatever we answer from memory net/http would have understood in
// the same way.
func FuzzHotHead(f *testing.F) {
	for _, s := range []string{get("/hot/1"), get("/a%2fb?c=d&e", "Accept: */*", "Connection: keep-alive"), "HEAD / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nA:b\r\n c\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		i := bytes.Index(head, []byte(emptyLine))
		if i < 0 {
			return
		}
		head = head[:i+len(emptyLine)]
		h := &hotConn{remote: "1.2.3.4:5", local: &net.TCPAddr{}}
		r := h.parse(head)
		if r == nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			t.Fatalf("we take what net/http refuses: %v", err)
		}
		if r.Method != want.Method || r.Host != want.Host || r.URL.String() != want.URL.String() || r.RequestURI != want.RequestURI || want.ContentLength != 0 || want.Close {
			t.Fatalf("we read %+v, net/http %+v", r, want)
		}
		want.Header.Del("Connection")
		if fmt.Sprint(r.Header) != fmt.Sprint(want.Header) {
			t.Fatalf("headers %v, net/http's %v", r.Header, want.Header)
		}
		again := h.parse(head)
		if again == nil || again.Host != r.Host || fmt.Sprint(again.Header) != fmt.Sprint(r.Header) {
			t.Fatal("the second time it reads otherwise")
		}
	})
}
