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
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/sender"
	"weir/internal/session"
	"weir/internal/store"
	"weir/internal/store/past"
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

// A Door is a Service with listening sockets. The group opens them before the
// part runs, and opens and closes them as the configuration changes; the part
// accepts from its entrances for as long as it runs, whether any is open or not.
type Door interface {
	// Doors tells where the part listens under a configuration.
	Doors(s *config.Snapshot) []link.Want
}

// A Listener is a Service that has sockets of its own beside doors, as those of UDP are.
type Listener interface {
	// Listening lists them once they are bound.
	Listening() []Listen
}

// A Listen is one open door.
type Listen = link.Listening

// A Preparer is a Service that does something about a new configuration, besides
// reading it when it next needs it.
type Preparer interface {
	// Prepare gets ready for next while old is still in force, and changes
	// nothing that runs: it loads certificates, say. An error refuses next as a
	// whole, and tells what to do about it.
	Prepare(ctx context.Context, old, next *config.Snapshot) (Turn, error)
}

// A Turn is a change of a part that is prepared. One of its functions is called,
// once; each may be nil.
type Turn struct {
	// Commit is called when the new configuration is in force. It cannot fail,
	// and returns soon.
	Commit func()
	// Rollback is called if the configuration is refused after all.
	Rollback func()
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
	// Host knows the machine.
	Host *host.Host
	// Loops take viewers over; without any each viewer keeps its goroutine.
	Loops *sender.Loops
	// Store cuts streams for those who list segments.
	Store *store.Store
	// Past keeps what streams were, for viewers who are behind; nil keeps nothing.
	Past *past.Archive
	// Media and API are the shared HTTP servers.
	Media, API *Mux
	// Endpoints are paths of the API that parts answer.
	Endpoints *Endpoints
	// Notices collects what a part wants the operator to be shown while it
	// lasts: "disk full", by subject.
	Notices *Notices
	// Busy is how busy the processor is.
	Busy *LoadGauge
	// Bandcheck admits tests of the bandwidth.
	Bandcheck *BandGate
	// Metrics collects what a part has to tell Prometheus.
	Metrics *Metrics
	// Trace is told what is done for somebody who begins to publish or play.
	Trace *Tracing
	// Managed has the certificates that are got from an authority.
	Managed *Managed
	// OnDemand tells which streams begin when somebody plays them.
	OnDemand *OnDemand
	// Handover is what an upgrade asks of parts.
	Handover *Handover
	// AskForward asks a callback server, as on_forward, where a stream is to be
	// sent that a session wants to publish.
	AskForward func(ctx context.Context, url string, s *session.Session, ask *session.Ask) ([]string, error)
}

// Via is the name under which a weir that passes a stream on tells the next, in the
// arguments of RTMP's connect, which servers it came through (Identity.Service of
// each), so that none takes what it has passed on itself.
const Via = "weir_via"

// Summary returns SRS's summary of the server and its machine.
func (e *Env) Summary() host.Summary {
	n, _ := e.Desk.Len()
	total := e.Desk.Traffic()[""]
	return e.Host.Summary(host.Server{Version: e.Level, Cwd: e.Cwd, In: total.In, Out: total.Out, Sessions: n})
}

// BySlate is what publications are by that keep viewers while nobody publishes: who passes
// a stream on or records it leaves them out.
const BySlate = "slate"

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
	doors  *link.Doors
	// Hold, if set before Start, is called when all that can fail has been done and all
	// but the doors' parts run; nobody is let in before it returns. An error ends the
	// start.
	Hold func(ctx context.Context) error

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
	return &Group{log: log, failed: failed, doors: link.NewDoors(log)}
}

// Start binds the units phase by phase and opens their doors, then runs them. If
// one cannot be bound, those bound before are released and nothing runs.
func (g *Group) Start(ctx context.Context, s *config.Snapshot, units ...Unit) error {
	var bound []Binder
	unbind := func() {
		g.doors.Close()
		for _, b := range bound {
			b.Unbind()
		}
	}
	for phase := Base; phase <= Doors; phase++ {
		for _, u := range units {
			b, ok := u.Service.(Binder)
			if u.Phase != phase || !ok {
				continue
			}
			if err := b.Bind(ctx); err != nil {
				unbind()
				return fmt.Errorf("%s: %w", u.Name, err)
			}
			bound = append(bound, b)
		}
	}
	m, err := g.doors.Prepare(ctx, Wants(s, units))
	if err != nil {
		unbind()
		return err
	}
	if g.Hold != nil {
		return g.hold(ctx, m, units, unbind)
	}
	m.Commit()
	g.runPhases(ctx, units, Base, Doors)
	return nil
}

// hold is the end of a start that waits before it lets anybody in.
func (g *Group) hold(ctx context.Context, m *link.Move, units []Unit, unbind func()) error {
	g.runPhases(ctx, units, Base, API)
	if err := g.Hold(ctx); err != nil {
		m.Rollback()
		for _, phase := range []Phase{Sinks, API, Base} {
			g.Stop(phase, time.Second)
		}
		unbind()
		return err
	}
	m.Commit()
	g.doors.Disinherit()
	g.runPhases(ctx, units, Doors, Doors)
	return nil
}

func (g *Group) runPhases(ctx context.Context, units []Unit, from, to Phase) {
	for phase := from; phase <= to; phase++ {
		for _, u := range units {
			if u.Phase == phase {
				g.run(ctx, u)
			}
		}
	}
}

// Doors returns the listening sockets.
func (g *Group) Doors() *link.Doors { return g.doors }

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

// Wants is where units listen under a configuration.
func Wants(s *config.Snapshot, units []Unit) (all []link.Want) {
	for _, u := range units {
		if d, ok := u.Service.(Door); ok {
			all = append(all, d.Doors(s)...)
		}
	}
	return all
}

func (g *Group) units() []Unit {
	g.mu.Lock()
	defer g.mu.Unlock()
	us := make([]Unit, len(g.all))
	for i, r := range g.all {
		us[i] = r.Unit
	}
	return us
}

// Reload has all units prepare for next, then calls swap, which puts it in force,
// then has them turn to it. An error means that nothing has changed.
func (g *Group) Reload(ctx context.Context, old, next *config.Snapshot, swap func()) error {
	var turns []Turn
	rollback := func() {
		for _, t := range turns {
			if t.Rollback != nil {
				t.Rollback()
			}
		}
	}
	units := g.units()
	for _, u := range units {
		p, ok := u.Service.(Preparer)
		if !ok {
			continue
		}
		t, err := p.Prepare(ctx, old, next)
		if err != nil {
			rollback()
			return fmt.Errorf("%s: %w", u.Name, err)
		}
		turns = append(turns, t)
	}
	m, err := g.doors.Prepare(ctx, Wants(next, units))
	if err != nil {
		rollback()
		return err
	}
	swap()
	for _, t := range turns {
		if t.Commit != nil {
			t.Commit()
		}
	}
	m.Commit()
	return nil
}

// CloseDoors lets nobody new in, for good.
func (g *Group) CloseDoors() { g.doors.Close() }

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

// Listening lists the open doors, and the sockets that parts have besides.
func (g *Group) Listening() []Listen {
	all := g.doors.Listening()
	for _, u := range g.units() {
		if l, ok := u.Service.(Listener); ok {
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
