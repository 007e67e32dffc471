package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/protocol/httplive"
	"weir/internal/protocol/protocoltest"
	"weir/internal/protocol/rtmp"
	"weir/internal/service"
	wire "weir/internal/wire/rtmp"
)

// house is a whole server on free ports.
type house struct {
	t               *testing.T
	srv             *Server
	rtmp, http, api string // addresses
	cancel          context.CancelCauseFunc
	done            chan error
}

var usual = []service.Protocol{httplive.Protocol, rtmp.Protocol}

// open starts a server. root and vhost are directives besides those that open
// the doors.
func open(t *testing.T, root, vhost string, protocols ...service.Protocol) *house {
	t.Helper()
	h := &house{t: t, rtmp: protocoltest.FreeAddr(t), http: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t), done: make(chan error, 1)}
	text := fmt.Sprintf("listen %s;\nhttp_server { enabled on; listen %s; dir %s; }\nhttp_api { enabled on; listen %s; }\n%s\nvhost __defaultVhost__ {\nhttp_remux { enabled on; }\n%s\n}\n",
		h.rtmp, h.http, t.TempDir(), h.api, root, vhost)
	h.start(text, append(usual[:len(usual):len(usual)], protocols...))
	t.Cleanup(func() { h.stop(nil) })
	return h
}

func (h *house) start(text string, protocols []service.Protocol) {
	h.t.Helper()
	conf, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, Specs(protocols))
	if err != nil {
		h.t.Fatal(err)
	}
	ready := make(chan struct{})
	h.srv, err = New(Options{Conf: conf, Log: slog.New(slog.DiscardHandler), Protocols: protocols, Ready: func([]service.Listen) { close(ready) }})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel = cancel
	go func() { h.done <- h.srv.Run(ctx) }()
	select {
	case <-ready:
	case err := <-h.done:
		h.t.Fatal(err)
	}
}

// stop ends the server and waits for it.
func (h *house) stop(cause error) {
	h.t.Helper()
	h.cancel(cause)
	select {
	case err := <-h.done:
		h.done <- err
		if err != nil {
			h.t.Errorf("the server ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		h.t.Error("the server does not stop")
	}
}

// publish publishes n frames.
func (h *house) publish(name string, n int) *link.Client {
	h.t.Helper()
	c, err := link.Dial(h.t.Context(), "rtmp://"+h.rtmp+"/live/"+name, link.DialOptions{FMLE: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.Publish(); err != nil {
		h.t.Fatal(err)
	}
	body, _ := flv.AppendConfigBody(nil, protocoltest.Picture)
	if err := c.WriteMessage(wire.TypeVideo, 0, body); err != nil {
		h.t.Fatal(err)
	}
	for i := range n {
		f := protocoltest.Video(protocoltest.Picture, i, 25, 500)
		if err := c.WriteMessage(wire.TypeVideo, flv.Timestamp(f.Source), flv.AppendBody(nil, f)); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// plays checks that a stream can be had, and returns its player.
func (h *house) plays(name string) *link.Client {
	h.t.Helper()
	c, err := link.Dial(h.t.Context(), "rtmp://"+h.rtmp+"/live/"+name, link.DialOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.Play(); err != nil {
		h.t.Fatal(err)
	}
	for {
		m, err := c.ReadMessage(20 * time.Second)
		if err != nil {
			h.t.Fatal(err)
		}
		if m.Type == wire.TypeVideo {
			return c
		}
	}
}

func (h *house) get(url string) (status int, body string) {
	h.t.Helper()
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// soon reports whether what comes true within 5 s.
func soon(what func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func TestReadyAndHealthy(t *testing.T) {
	h := open(t, "grace_start_wait 300; grace_final_wait 0;", "")
	for _, door := range []string{h.http, h.api} {
		if status, body := h.get(door + "/healthz"); status != 200 || body != "ok\n" {
			t.Errorf("healthz: %d %s", status, body)
		}
		if status, body := h.get(door + "/readyz"); status != 200 || body != "ready\n" {
			t.Errorf("readyz: %d %s", status, body)
		}
	}
	h.cancel(ErrGraceful)
	if !soon(func() bool { status, _ := h.get(h.api + "/readyz"); return status == 503 }) {
		t.Error("ready while it drains")
	}
	if status, _ := h.get(h.api + "/healthz"); status != 200 {
		t.Errorf("healthz while it drains: %d", status)
	}
	h.stop(nil)
	if status, _ := h.get(h.api + "/healthz"); status != 0 {
		t.Errorf("alive after the end: %d", status)
	}
}

// One port for API and streams, if both name the same.
func TestOnePort(t *testing.T) {
	h := &house{t: t, rtmp: protocoltest.FreeAddr(t), http: protocoltest.FreeAddr(t), done: make(chan error, 1)}
	h.start(fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; } http_api { enabled on; listen %[2]s; } vhost __defaultVhost__ { http_remux { enabled on; } }",
		h.rtmp, h.http, t.TempDir()), usual)
	defer h.stop(nil)
	h.publish("s", 3)
	for path, want := range map[string]int{"/api/v1/versions": 200, "/api/v1/streams/": 200, "/api/": 200, "/healthz": 200, "/readyz": 200, "/nosuch": 404} {
		if status, _ := h.get(h.http + path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	res, err := http.Get("http://" + h.http + "/live/s.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Server") != Name {
		t.Errorf("the stream: %d, %v", res.StatusCode, res.Header)
	}
}

// sink is a part that reads every stream to its end, as a recording does.
type sink struct {
	env service.Env
	wg  sync.WaitGroup

	frames atomic.Int64
	ends   atomic.Int64
}

func (k *sink) Run(ctx context.Context) error {
	<-ctx.Done()
	k.wg.Wait()
	return nil
}

func (k *sink) published(p *hub.Publication) {
	sub := k.env.Hub.Subscribe(p.Stream().Key, hub.Options{Passive: true})
	k.wg.Go(func() {
		defer sub.Close()
		dst := make([]*media.Frame, 16)
		for {
			n, err := sub.Read(context.Background(), dst)
			k.frames.Add(int64(n))
			if err != nil {
				k.ends.Add(1)
				return
			}
			// A disk that is not the fastest.
			time.Sleep(time.Millisecond)
		}
	})
}

// At a stop whatever was published reaches those who keep it, and those who are
// to be told are told.
func TestStopLosesNothing(t *testing.T) {
	var told struct {
		sync.Mutex
		actions []string
	}
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o struct{ Action string }
		if json.NewDecoder(r.Body).Decode(&o) == nil {
			told.Lock()
			told.actions = append(told.actions, o.Action)
			told.Unlock()
		}
		io.WriteString(w, "0")
	}))
	defer hooks.Close()
	k := &sink{}
	recording := service.Protocol{Name: "recording", Phase: service.Sinks, New: func(env service.Env) (service.Service, error) {
		k.env = env
		env.Hub.OnPublish(k.published)
		return k, nil
	}}
	h := open(t, "", strings.ReplaceAll("http_hooks { enabled on; on_connect URL; on_close URL; on_publish URL; on_unpublish URL; on_play URL; on_stop URL; }", "URL", hooks.URL), recording)
	const frames = 500
	h.publish("s", frames)
	h.plays("s")
	res, err := http.Get("http://" + h.http + "/live/s.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
	st := h.srv.env.Hub.Stream(key)
	if !soon(func() bool { return st.Counters().Frames == frames }) {
		t.Fatalf("%d frames came in", st.Counters().Frames)
	}
	began := time.Now()
	h.stop(errors.New("SIGTERM"))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if got := k.frames.Load(); got != frames || k.ends.Load() != 1 {
		t.Errorf("the recording has %d frames of %d, and %d ends", got, frames, k.ends.Load())
	}
	told.Lock()
	defer told.Unlock()
	count := map[string]int{}
	for _, a := range told.actions {
		count[a]++
	}
	// HTTP has no connect step.
	if got := fmt.Sprint(count); got != "map[on_close:2 on_connect:2 on_play:2 on_publish:1 on_stop:2 on_unpublish:1]" {
		t.Errorf("told: %v", got)
	}
}

func TestPartsThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	rtmpAt, apiAt := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	for _, c := range []struct{ name, text, want string }{
		{"port in use", fmt.Sprintf("listen %s; http_api { enabled on; listen %s; }", rtmpAt, taken.Addr()), "the port is in use by another program"},
		{"no certificate", fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; https { enabled on; listen %s; key no.key; cert no.crt; } }",
			rtmpAt, apiAt, t.TempDir(), protocoltest.FreeAddr(t)), "no.crt"},
	} {
		conf, err := config.Parse(config.Source{File: "test.conf", Text: []byte(c.text + " vhost __defaultVhost__ { }"), Getenv: func(string) string { return "" }}, Specs(usual))
		if err != nil {
			t.Fatal(err)
		}
		srv, err := New(Options{Conf: conf, Log: slog.New(slog.DiscardHandler), Protocols: usual, Ready: func([]service.Listen) { t.Errorf("%s: ready", c.name) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		// What was bound has been given back.
		l, err := net.Listen("tcp4", rtmpAt)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		l.Close()
	}
}

// One that takes its pid file is known to the next by its number.
func TestPidLock(t *testing.T) {
	path := t.TempDir() + "/run/weir.pid"
	pid := &Pid{File: path}
	if err := pid.Take(); err != nil {
		t.Fatal(err)
	}
	out, err := self(t, "lock", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("1035 already running as pid %d, which holds %s", os.Getpid(), path)
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("the second one says %q, want %q", out, want)
	}
	pid.Release()
	if out, err := self(t, "lock", path).Output(); err != nil || string(out) != "taken" {
		t.Errorf("after the first one: %q, %v", out, err)
	}
	if err := (&Pid{File: "/proc/nowhere/weir.pid"}).Take(); err == nil {
		t.Error("a pid file where none can be")
	}
}

// self returns a command that runs this test binary in a role.
func self(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "WEIR_TEST_CHILD=1")
	cmd.Stderr = os.Stderr
	return cmd
}

func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "lock":
		pid := &Pid{File: os.Args[2]}
		err := pid.Take()
		if e, ok := errors.AsType[*ExitError](err); ok {
			fmt.Print(e.Code, " ", err)
		} else {
			fmt.Print("taken")
		}
	case "serve":
		serveFew(os.Args[2], os.Args[3])
	}
}

// serveFew is a server with hardly any descriptors. It ends with its input.
func serveFew(rtmpAt, apiAt string) {
	limit := syscall.Rlimit{Cur: 40, Max: 40}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Println(err)
		return
	}
	text := fmt.Sprintf("listen %s; http_api { enabled on; listen %s; } vhost __defaultVhost__ { }", rtmpAt, apiAt)
	conf, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, Specs(usual))
	if err != nil {
		fmt.Println(err)
		return
	}
	log, err := OpenLog(LogOptions{Console: os.Stdout, Level: slog.LevelWarn})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := New(Options{Conf: conf, Log: slog.New(log), Protocols: usual, Ready: func([]service.Listen) { fmt.Println("ready") }})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("ended:", srv.Run(ctx))
}

// With all descriptors used up accepting pauses, says so without flooding the
// log, and goes on when there are some again.
func TestDescriptorsRunOut(t *testing.T) {
	h := &house{t: t, rtmp: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
	cmd := self(t, "serve", h.rtmp, h.api)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &lines{}
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
		if !strings.Contains(out.String(), "ended: <nil>") {
			t.Errorf("the server did not end well:\n%s", out)
		}
	}()
	if !soon(func() bool { return strings.Contains(out.String(), "ready") }) {
		t.Fatalf("not ready:\n%s", out)
	}
	var all []net.Conn
	for range 60 {
		nc, err := net.Dial("tcp", h.rtmp)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, nc)
	}
	if !soon(func() bool { return strings.Contains(out.String(), "cannot accept") }) {
		t.Errorf("nothing is said of it:\n%s", out)
	}
	time.Sleep(500 * time.Millisecond)
	if n := len(out.String()); n > 50<<10 {
		t.Errorf("%d bytes of log in half a second", n)
	}
	for _, nc := range all {
		nc.Close()
	}
	began := time.Now()
	c := h.publish("s", 1)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a publisher was let in %v after there were descriptors again", took)
	}
	c.Close()
	if !soon(func() bool { status, _ := h.get(h.api + "/api/v1/versions"); return status == 200 }) {
		t.Error("the API does not answer")
	}
}

// lines gathers what a child says.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// Every block that a part reads is among the server's.
func TestSpecs(t *testing.T) {
	specs := Specs(usual)
	for _, want := range []config.Spec{blocks.Root, blocks.HTTPAPI, blocks.HTTPServer, blocks.HTTPRemux, blocks.Publish, blocks.Play} {
		if n := len(slices.Collect(func(yield func(config.Spec) bool) {
			for _, s := range specs {
				if s == want && !yield(s) {
					return
				}
			}
		})); n != 1 {
			t.Errorf("a block is %d times among the specs, want once", n)
		}
	}
}
