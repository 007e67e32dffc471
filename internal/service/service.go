// Package service defines what the server runs, and in which order its parts
// start and stop.
//
// A part is a [Service]; what must be had before the server says that it is
// ready, such as a listening socket, is taken in [Binder.Bind]. Parts have a
// [Phase]. They start phase by phase, so that nobody is let in before the
// parts that serve him run, and stop in the order that [Group.Stop] is told,
// each waited for.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/hub"
	"weir/internal/sender"
	"weir/internal/session"
)

// A Service runs until its context is done.
//
// Run returns only after everything it started has stopped. It returns nil if
// it stopped because ctx was done.
type Service interface {
	Run(ctx context.Context) error
}

// A Binder acquires what must be had before the server is ready. Bind is
// called once, before Run; Unbind gives it back, also after Run has begun:
// then it means "let nobody new in". Unbind may be called more than once.
type Binder interface {
	Bind(ctx context.Context) error
	Unbind()
}

// A Listener is a Binder that can tell where it listens, for the ready line
// and the API: "RTMP listen at tcp://0.0.0.0:1935".
type Listener interface {
	Listening() []Listen
}

// A Listen is one open door.
type Listen struct {
	Name string // "RTMP", "HTTP-API", "HTTP-Server"
	URL  string // "tcp://0.0.0.0:1935"
}

// Phase says when a part starts.
type Phase uint8

// The phases, in the order of starting.
const (
	Base  Phase = iota // hooks, metrics, samples
	Sinks              // what reads every stream: hls, dvr
	API
	Doors
)

// Identity is who the server says it is.
type Identity struct {
	// Server is the text of HTTP's Server header and of RTMP's srs_server.
	Server string
	// Version is weir's own; Level is the SRS version whose interface it
	// speaks, which SRS's clients read as "version".
	Version, Level string
	// ID survives restarts ("vid-" and 7 characters); Service is new at each
	// start; PID is the process.
	ID, Service string
	PID         int
	Started     time.Time
	Cwd         string
}

// Env is what the house lends to a part.
type Env struct {
	Log  *slog.Logger
	Conf *config.Store
	Desk *session.Desk
	Hub  *hub.Hub
	Identity
	// Loops take viewers over; without any each viewer keeps its goroutine.
	Loops *sender.Loops
	// Media and API are the shared HTTP servers.
	Media, API *Mux
	// Notices collects what a part wants the operator to be shown while it
	// lasts: "disk full", by subject.
	Notices *Notices
}

// A Protocol is one way in or out of the server.
type Protocol struct {
	Name  string
	Phase Phase
	// Conf lists the blocks of configuration that the part reads.
	Conf []config.Spec
	// New returns the part, or nil if the configuration does not ask for it.
	New func(Env) (Service, error)
}

// A Unit is a named service.
type Unit struct {
	Name  string
	Phase Phase
	Service
}

// A Group runs units.
type Group struct {
	log *slog.Logger
	// failed is told, once, when a unit ended of itself.
	failed func(error)

	mu   sync.Mutex
	all  []*running // guarded by mu
	errs []error    // guarded by mu
}

type running struct {
	Unit
	cancel context.CancelFunc
	done   chan struct{}
}

// NewGroup returns an empty group. failed is called when a unit ends before it
// was asked to.
func NewGroup(log *slog.Logger, failed func(error)) *Group {
	return &Group{log: log, failed: failed}
}

// Start binds the units phase by phase, then runs them. If one cannot be
// bound, those bound before are released and nothing runs.
func (g *Group) Start(ctx context.Context, units ...Unit) error {
	var bound []Binder
	for phase := Base; phase <= Doors; phase++ {
		for _, u := range units {
			b, ok := u.Service.(Binder)
			if u.Phase != phase || !ok {
				continue
			}
			if err := b.Bind(ctx); err != nil {
				for _, b := range bound {
					b.Unbind()
				}
				return fmt.Errorf("%s: %w", u.Name, err)
			}
			bound = append(bound, b)
		}
	}
	for phase := Base; phase <= Doors; phase++ {
		for _, u := range units {
			if u.Phase == phase {
				g.run(ctx, u)
			}
		}
	}
	return nil
}

func (g *Group) run(ctx context.Context, u Unit) {
	// Detached on purpose: units are stopped phase by phase.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{Unit: u, cancel: cancel, done: make(chan struct{})}
	g.mu.Lock()
	g.all = append(g.all, r)
	g.mu.Unlock()
	go func() {
		defer close(r.done)
		err := u.Run(ctx)
		if err != nil {
			err = fmt.Errorf("%s: %w", u.Name, err)
			g.mu.Lock()
			g.errs = append(g.errs, err)
			g.mu.Unlock()
		}
		if ctx.Err() == nil {
			g.failed(errors.Join(fmt.Errorf("%s ended", u.Name), err))
		}
	}()
}

// Unbind has the units of a phase let nobody new in.
func (g *Group) Unbind(phase Phase) {
	for _, r := range g.phase(phase) {
		if b, ok := r.Service.(Binder); ok {
			b.Unbind()
		}
	}
}

// Stop ends the units of a phase and waits for them, at most for patience.
func (g *Group) Stop(phase Phase, patience time.Duration) {
	rs := g.phase(phase)
	for _, r := range rs {
		r.cancel()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for _, r := range rs {
		select {
		case <-r.done:
		case <-late.C:
			g.log.Warn("part does not stop in time", "part", r.Name, "patience", patience)
			return
		}
	}
}

// Err returns what the units that failed said.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// Listening lists the open doors.
func (g *Group) Listening() (all []Listen) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.all {
		if l, ok := r.Service.(Listener); ok {
			all = append(all, l.Listening()...)
		}
	}
	return all
}

func (g *Group) phase(p Phase) (rs []*running) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.all {
		if r.Phase == p {
			rs = append(rs, r)
		}
	}
	return rs
}
