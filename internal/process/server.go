// Package process runs the hired hands: ffmpeg for ingest and transcode, the programs
// of exec, and ingests that need no program.
//
// The idea: what should run follows from the configuration and from who publishes;
// one goroutine compares that with what does run, whenever either changes, and starts
// and stops what differs. So a reload touches only what it changed, and a hand whose
// predecessor has not ended waits for it. How programs are started, watched and ended
// is package child's.
//
// The promise: programs come from the configuration, never through a shell. What a
// client said becomes part of an argument only where it can be neither an option nor
// a path or address of its own.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"weir/internal/child"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "process",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.Root, blocks.HTTPAPI, blocks.Ingest, blocks.Transcode, blocks.Exec},
	New: func(env service.Env) (service.Service, error) {
		s := newServer(env)
		env.Desk.Observe(s)
		env.OnDemand.Add(s.onDemand)
		env.Handover.AddOurs(s.ours)
		s.answerHeir()
		env.Endpoints.Add(append(s.endpoints(), s.orderEndpoints()...)...)
		return s, nil
	},
}

func newServer(env service.Env) *server {
	s := &server{env: env, ingests: env.Handover.Floor("ingests"), orders: env.Handover.Floor("ingests of the API"), wake: make(chan struct{}, 1), live: map[*session.Session]session.Ask{}, hands: map[string]*hand{}, asked: map[hub.Key]order{}, tools: &tools{log: env.Log}}
	s.demand = newDemand(s.nudge)
	return s
}

type server struct {
	env   service.Env
	wake  chan struct{}
	tools *tools
	// demand is who plays what.
	demand *demand
	// ingests is the right to run those of the configuration, and orders is given with
	// those that the API asked for.
	ingests, orders *service.Floor

	mu      sync.Mutex
	live    map[*session.Session]session.Ask // who publishes; guarded by mu
	hands   map[string]*hand                 // by id; guarded by mu
	asked   map[hub.Key]order                // by the API; guarded by mu
	closing bool                             // guarded by mu
	began   bool                             // ingests were begun here; guarded by mu
}

const (
	// most is how many programs are kept at once.
	most = 500
	// hurry is how long they may take to end when the server does.
	hurry = 1200 * time.Millisecond
)

// A want is a program that should run.
type want struct {
	id   string // unique, and the same after a reload
	kind string // "ingest", "transcode" or "exec"
	key  hub.Key
	name string // of the ingest or the engine
	made any    // all that it is made of: if it differs the program is another
	spec func() (child.Spec, error)

	// Without a spec it is no program: url is had by ourselves, for target.
	url    string
	target rtmp.Target
	// allow, if set, says which addresses may be connected to.
	allow func(url string) error
}

// A hand is a program that runs, or did a moment ago.
type hand struct {
	want
	program hired
	leaving bool
}

// Bind implements service.Binder.
func (s *server) Bind(context.Context) error { return nil }

// Unbind implements service.Binder: the server stops, and nothing is pulled in from
// now on.
func (s *server) Unbind() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.nudge()
}

// Observe implements session.Observer.
func (s *server) Observe(e session.Event) {
	switch e.What {
	case session.Published:
		s.mu.Lock()
		for x, ask := range s.live {
			if ask.Key == e.Ask.Key { // it was taken over
				delete(s.live, x)
			}
		}
		if !e.Ask.Private { // programs are others, who would wait in vain
			s.live[e.Session] = e.Ask
		}
		s.mu.Unlock()
	case session.Unpublished:
		s.mu.Lock()
		delete(s.live, e.Session)
		s.mu.Unlock()
	default:
		s.demand.observe(e)
		return
	}
	s.nudge()
}

// Prepare implements service.Preparer.
func (s *server) Prepare(context.Context, *config.Snapshot, *config.Snapshot) (service.Turn, error) {
	return service.Turn{Commit: s.nudge}, nil
}

func (s *server) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	if os.Getpid() == 1 {
		go child.Adopt(ctx.Done())
	}
	go s.inherit(ctx)
	for {
		s.reconcile()
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.end()
			s.leave()
			return nil
		}
	}
}

// end stops all programs and waits for them.
func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hands {
		h.program.Stop(hurry)
		s.hangUp(h)
	}
	for _, h := range s.hands {
		<-h.program.Done()
	}
}

// hangUp ends what a program plays from this server. An ffmpeg that waits for more of a
// stream heeds no signal, and when a second one interrupts it, it can write nothing any
// more either; at the end of its input it writes what it has and ends.
func (s *server) hangUp(h *hand) {
	sockets := h.sockets()
	if len(sockets) == 0 {
		return
	}
	s.env.Desk.End(errStopped, func(x *session.Session) bool {
		act, _, _ := x.Doing()
		return act == session.Play && at(sockets, x)
	})
}

// sockets returns where a program's connections come from.
func (h *hand) sockets() []netip.AddrPort {
	if p, ok := h.program.(*child.Program); ok {
		return p.Sockets()
	}
	return nil
}

// at reports whether a session's connection comes from one of some sockets.
func at(sockets []netip.AddrPort, x *session.Session) bool {
	return slices.Contains(sockets, netip.AddrPortFrom(x.Remote.Addr().Unmap(), x.Remote.Port()))
}

// ours returns what tells the sessions of programs of ours.
func (s *server) ours() func(*session.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sockets []netip.AddrPort
	for _, h := range s.hands {
		sockets = append(sockets, h.sockets()...)
	}
	return func(x *session.Session) bool { return at(sockets, x) }
}

// reconcile stops what should not run and starts what should.
func (s *server) reconcile() {
	wanted := s.wanted()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, h := range s.hands {
		select {
		case <-h.program.Done():
			delete(s.hands, id)
			continue
		default:
		}
		if w, ok := wanted[id]; !h.leaving && (!ok || !reflect.DeepEqual(w.made, h.made)) {
			h.leaving = true
			s.env.Log.Info("program is stopped", "kind", h.kind, "id", id)
			h.program.Stop(0)
			s.hangUp(h)
		}
	}
	for id, w := range wanted {
		if s.hands[id] != nil {
			continue
		}
		if len(s.hands) >= most {
			if s.env.Notices.Set("programs", fmt.Sprintf("%d programs run, more are not started", most)) {
				s.env.Log.Warn("too many programs, more are not started", "most", most)
			}
			return
		}
		s.hire(w)
	}
	if len(s.hands) < most {
		s.env.Notices.Set("programs", "")
	}
}

// hire starts a program. s.mu is held.
func (s *server) hire(w want) {
	log := s.env.Log.With("kind", w.kind, "id", w.id)
	var p hired
	if w.spec == nil {
		p = newNative(s.env, log, &w)
	} else {
		p = keep(w, log)
	}
	s.hands[w.id] = &hand{want: w, program: p}
	go func() {
		<-p.Done()
		s.nudge()
	}()
}

// keep keeps a program running.
func keep(w want, log *slog.Logger) *child.Program {
	return child.Keep(child.Options{Spec: w.spec, Told: func(pid int, err error) {
		switch {
		case pid > 0:
			log.Info("program started", "child", pid)
		case err != nil:
			log.Warn("program ended badly, it is started again", "err", err)
		default:
			log.Info("program ended, it is started again")
		}
	}})
}

// wanted returns all that should run.
func (s *server) wanted() map[string]want {
	s.mu.Lock()
	closing := s.closing
	live := make(map[*session.Session]session.Ask, len(s.live))
	for x, ask := range s.live {
		live[x] = ask
	}
	asked := maps.Clone(s.asked)
	s.mu.Unlock()
	p := &planner{tools: s.tools, snap: s.env.Conf.Load(), out: map[string]want{}, log: s.env.Log, demanded: s.demand.has, elsewhere: s.elsewhere}
	p.local()
	if !closing {
		p.ingests(s.runsHere())
		p.orders(asked)
	}
	p.outputs(live)
	for x, ask := range live {
		v, ok := p.snap.Vhost(ask.Key.Vhost)
		if !ok || v.Name != ask.Key.Vhost {
			continue
		}
		p.transcodes(v, x, ask)
		p.execs(v, x, ask)
	}
	return p.out
}
