package protocoltest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
)

// A House is a server with one door.
type House struct {
	Env service.Env
	// Diary holds what the desk was asked and what it told.
	Diary *Diary

	t       testing.TB
	svc     service.Service
	shift   *service.TimeShift // nil for doors that do not know of it
	doors   *link.Doors
	addr    string
	web     *http.Server
	serving sync.WaitGroup
	sending sync.WaitGroup // the send loops
	cancel  context.CancelFunc

	stopLoops context.CancelFunc
	stopped   bool
	before    int // goroutines
	fds       int

	mu        sync.Mutex
	published int // publications that the hub saw
	broken    []error
	ended     bool // no request is served any more
}

// Options of a house.
type Options struct {
	Protocol service.Protocol
	// Root and Vhost are directives, Vhosts whole further vhosts.
	Root, Vhost, Vhosts string
	Web                 bool
	// TLS has the web served over TLS, with HTTP/2 for those who ask.
	TLS bool
	// Authorize, if not nil, makes one that is asked after the diary.
	Authorize func(conf *config.Store) session.Authorizer
}

// Open builds a house and opens its door. It is torn down with the test, and
// then nothing may be left of it.
func Open(t testing.TB, o Options) *House {
	t.Helper()
	addr := FreeAddr(t) // before it is counted: with its first socket Go opens what it polls by
	h := &House{t: t, Diary: &Diary{}, before: runtime.NumGoroutine(), fds: descriptors()}
	specs := []config.Spec{blocks.Root, blocks.HTTPServer, blocks.VhostRoot, blocks.Publish, blocks.Play}
	for _, s := range o.Protocol.Conf {
		if !slices.Contains(specs, s) {
			specs = append(specs, s)
		}
	}
	text := "listen " + addr + ";\n" + o.Root + "\nvhost __defaultVhost__ {\n" + o.Vhost + "\n}\nvhost off.test {\nenabled off;\n}\n" + o.Vhosts
	snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, specs)
	if err != nil {
		t.Fatal(err)
	}
	conf := config.NewStore(snap)
	hb := hub.New(func(k hub.Key) hub.Settings {
		v, _ := conf.Load().Vhost(k.Vhost)
		p := blocks.Play.Of(v)
		return hub.Settings{Cache: p.GOPCache, CacheFrames: max(0, p.GOPCacheMaxFrames), Queue: p.QueueLength}
	})
	desk := session.New(hb, service.DeskRules(conf))
	desk.Authorize(h.Diary)
	desk.Observe(h.Diary)
	if o.Authorize != nil {
		desk.Authorize(o.Authorize(conf))
	}
	hb.OnPublish(func(*hub.Publication) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.published++
	})
	h.Env = service.Env{
		Log: slog.New(slog.DiscardHandler), Conf: conf, Desk: desk, Hub: hb, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}, Endpoints: &service.Endpoints{}, OnDemand: &service.OnDemand{}, Handover: &service.Handover{},
		Identity: service.Identity{Server: "weir/test", Version: "0", Level: "7.0.18", ID: "vid-0000000", Service: "service0", PID: os.Getpid(), Started: time.Now()},
	}
	h.Env.Loops, h.Env.Store = sender.NewLoops(h.Env.Log), service.NewStore(h.Env.Log, h.Env.Hub)
	if slices.Contains(specs, config.Spec(blocks.TimeShift)) {
		h.shift = service.NewTimeShift(h.Env)
		h.Env.Past = h.shift.Past
	}
	if h.svc, err = o.Protocol.New(h.Env); err != nil {
		t.Fatal(err)
	}
	h.open(o)
	t.Cleanup(h.tearDown)
	return h
}

func (h *House) open(o Options) {
	h.t.Helper()
	if b, ok := h.svc.(service.Binder); ok {
		if err := b.Bind(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
	h.doors = link.NewDoors(h.Env.Log)
	if d, ok := h.svc.(service.Door); ok {
		m, err := h.doors.Prepare(h.t.Context(), d.Doors(h.Env.Conf.Load()))
		if err != nil {
			h.t.Fatal(err)
		}
		m.Commit()
		h.addr = strings.TrimPrefix(h.doors.Listening()[0].URL, "tcp://")
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	loops, stopLoops := context.WithCancel(context.Background())
	h.stopLoops = stopLoops
	h.sending.Go(func() { h.Env.Loops.Run(loops) })
	if h.shift != nil {
		h.serving.Go(func() { h.shift.Run(ctx) })
	}
	h.serving.Go(func() {
		if err := h.svc.Run(ctx); err != nil {
			h.fail(fmt.Errorf("the part ended: %w", err))
		}
	})
	if !o.Web {
		return
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.addr = l.Addr().String()
	if o.TLS {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2", "http/1.1"}})
	}
	h.web = &http.Server{BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h.begin() {
				defer h.serving.Done()
				h.Env.Media.ServeHTTP(w, r)
			}
		})}
	h.serving.Go(func() { h.web.Serve(l) })
}

// begin counts a request, which Stop waits for, unless it waits already.
func (h *House) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.serving.Add(1)
	}
	return !h.ended
}

// certificate returns one that nobody trusts.
var certificate = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0]
})

// Addr is where the door is: host and port.
func (h *House) Addr() string { return h.addr }

// Stop ends the house in the order in which a server ends: no newcomers,
// publishers, what reads to the end, everybody.
func (h *House) Stop() {
	if h.stopped {
		return
	}
	h.stopped = true
	h.doors.Close()
	if b, ok := h.svc.(service.Binder); ok {
		b.Unbind()
	}
	d := h.Env.Desk
	d.Shut(session.ErrShutdown)
	publishes := func(s *session.Session) bool { act, _, _ := s.Doing(); return act == session.Publish }
	d.End(session.ErrShutdown, publishes)
	soon(func() bool { return !slices.ContainsFunc(slices.Collect(d.Sessions()), publishes) })
	d.End(session.ErrShutdown, nil)
	soon(func() bool { n, _ := d.Len(); return n == 0 })
	h.cancel()
	if h.web != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if h.web.Shutdown(ctx) != nil {
			h.web.Close()
		}
	}
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.serving.Wait()
	// The loops last, which are the tail of what the doors let in.
	h.stopLoops()
	h.sending.Wait()
}

// tearDown stops the house and looks for what is left of it.
func (h *House) tearDown() {
	h.t.Helper()
	h.Stop()
	if err := h.Account(); err != nil {
		h.t.Error(err)
	}
	h.mu.Lock()
	for _, err := range h.broken {
		h.t.Error(err)
	}
	h.mu.Unlock()
	if !soon(func() bool { n, _ := h.Env.Desk.Len(); return n == 0 }) {
		n, _ := h.Env.Desk.Len()
		h.t.Errorf("%d sessions are left", n)
	}
	for key := range h.Env.Hub.All() {
		h.t.Errorf("stream %v is left", key)
	}
	if !soon(func() bool { return runtime.NumGoroutine() <= h.before }) {
		h.t.Errorf("%d goroutines are left of %d before:\n%s", runtime.NumGoroutine(), h.before, stacks())
	}
	if !soon(func() bool { return descriptors() <= h.fds }) {
		h.t.Errorf("%d descriptors are open, %d were before", descriptors(), h.fds)
	}
}

// Account compares what the hub saw with what the desk told: nobody publishes
// without the desk, and nobody plays.
func (h *House) Account() error {
	h.mu.Lock()
	published := h.published
	h.mu.Unlock()
	if told := h.Diary.count(session.Published); told != published {
		return fmt.Errorf("the hub saw %d publications, the desk told of %d: somebody publishes without the desk", published, told)
	}
	plays := map[hub.Key]int{}
	for s := range h.Env.Desk.Sessions() {
		if act, ask, _ := s.Doing(); act == session.Play {
			plays[ask.Key]++
		}
	}
	for key, s := range h.Env.Hub.All() {
		if n := s.Viewers(); n > plays[key] {
			return fmt.Errorf("stream %v has %d viewers, the desk knows %d: somebody plays without the desk", key, n, plays[key])
		}
	}
	return nil
}

func (h *House) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = append(h.broken, err)
}

// Wait waits until what holds, and fails the test if that takes 20 s.
func (h *House) Wait(why string, what func() bool) {
	h.t.Helper()
	if !soon(what) {
		h.t.Fatalf("in vain waited until %s; the diary:\n%s", why, h.Diary)
	}
}

// Viewers waits until the stream has n viewers.
func (h *House) Viewers(n Name, want int) {
	h.t.Helper()
	h.Wait(fmt.Sprintf("%v has %d viewers", n.Key(), want), func() bool {
		s := h.Env.Hub.Stream(n.Key())
		return s != nil && s.Viewers() == want || s == nil && want == 0
	})
}

// Doing returns a session that does an act on a stream, nil if there is none.
func (h *House) Doing(act session.Act, n Name) *session.Session {
	for s := range h.Env.Desk.Sessions() {
		if a, ask, _ := s.Doing(); a == act && ask.Key == n.Key() {
			return s
		}
	}
	return nil
}

// soon reports whether what comes true within 20 s.
func soon(what func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// descriptors returns how many sockets and files are open, 0 where that cannot
// be told.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

// A Diary is an authorizer and an observer that writes down what it is asked and
// told, in order.
type Diary struct {
	mu    sync.Mutex
	deny  func(r *session.Request) error // guarded by mu
	lines []string                       // guarded by mu
	whats []session.What                 // guarded by mu
}

// Deny sets who is refused, and with what.
func (d *Diary) Deny(f func(r *session.Request) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deny = f
}

// Authorize implements session.Authorizer.
func (d *Diary) Authorize(_ context.Context, r *session.Request) error {
	d.mu.Lock()
	deny := d.deny
	d.lines = append(d.lines, fmt.Sprintf("may %v %s %s?", r.Act, r.Ask.Key.Stream, r.Ask.Type))
	d.mu.Unlock()
	if deny == nil {
		return nil
	}
	return deny(r)
}

var whats = map[session.What]string{session.Connected: "connected", session.Published: "published", session.Unpublished: "unpublished",
	session.Played: "played", session.Stopped: "stopped", session.Closed: "closed"}

// Observe implements session.Observer.
func (d *Diary) Observe(e session.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if whats[e.What] == "" {
		return
	}
	line := whats[e.What] + " " + e.Ask.Key.Stream
	for _, known := range []error{session.ErrKicked, session.ErrShutdown, hub.ErrTaken, hub.ErrBusy} {
		if errors.Is(e.Err, known) {
			line += ": " + known.Error()
		}
	}
	d.lines, d.whats = append(d.lines, line), append(d.whats, e.What)
}

// Lines returns what was written since the last call.
func (d *Diary) Lines() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lines
	d.lines = nil
	return l
}

// String returns what was written since the last call of Lines.
func (d *Diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "\n")
}

func (d *Diary) count(w session.What) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.whats {
		if x == w {
			n++
		}
	}
	return n
}
