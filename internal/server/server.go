// Package server builds the house: it makes the hub and the desk, hangs the
// rules and the doors on them as the configuration says, runs everything and
// ends it in order.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/cluster/twin"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/control/acme"
	"weir/internal/control/api"
	"weir/internal/control/auth"
	"weir/internal/control/bandcheck"
	"weir/internal/control/golive"
	"weir/internal/control/heartbeat"
	"weir/internal/control/hook"
	"weir/internal/control/metrics"
	"weir/internal/control/trace"
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
)

// Version is weir's own version; Level is the SRS version whose interface it
// speaks.
const (
	Version = "0.1.0"
	Level   = "7.0.18"
)

// Name is what the server calls itself in HTTP and RTMP.
const Name = "weir/" + Version

// Specs are the blocks that the server itself reads, besides those of the
// protocols.
func Specs(protocols []service.Protocol) []config.Spec {
	specs := []config.Spec{blocks.Root, blocks.HTTPAPI, blocks.HTTPServer, blocks.VhostRoot, blocks.Publish, blocks.Play,
		blocks.Refer, blocks.Security, blocks.HTTPHooks, blocks.Heartbeat, blocks.Stats, blocks.Exporter, blocks.Breaker,
		blocks.Pprof, blocks.Bandcheck, blocks.Limits, blocks.SignedURL, blocks.JWT, blocks.MultitrackVideo, blocks.Traces, blocks.ACME}
	have := map[config.Spec]bool{}
	for _, s := range specs {
		have[s] = true
	}
	for _, p := range protocols {
		for _, s := range p.Conf {
			if !have[s] {
				have[s] = true
				specs = append(specs, s)
			}
		}
	}
	return specs
}

// Options are what a server is made of.
type Options struct {
	Conf      *config.Snapshot
	Log       *slog.Logger
	Protocols []service.Protocol
	// PidFile is where the id of the server is kept beside; empty keeps it
	// nowhere.
	PidFile string
	// Load reads the configuration again, or, if it is given, a text in its place.
	// The error refuses it.
	Load func(text []byte) (*config.Snapshot, error)
	// Stamp returns a text that changes when one of some files does.
	Stamp func(files []string) string
	// Container says that the process was found to run in a container.
	Container bool
	// Reloaded is told of each new configuration, once it is in force.
	Reloaded func(*config.Snapshot)
	// Ready is told once, when every door is open.
	Ready func(doors []service.Listen)
	// Pid is the pid file; nil is none.
	Pid *Pid
	// Program is what an upgrade starts, in Dir; empty allows none. Parent is the process
	// that started the first server.
	Program, Dir string
	Parent       int
	// Predecessor is the process whose place this one takes, or nil.
	Predecessor *Predecessor
}

// A Server is one running weir.
type Server struct {
	options Options
	env     service.Env
	group   *service.Group
	units   []service.Unit
	failed  chan error
	state   atomic.Int32
	hooks   *hook.Hooks
	limits  *auth.Limits
	began   *config.Snapshot // what it was started with
	turning sync.Mutex       // held while the configuration changes
	// upgrading is set while a successor is started, and handed closed when it has taken
	// over.
	upgrading atomic.Bool
	handed    chan struct{}
	stopped   atomic.Bool // the elder was told to stop
	// others are the sessions at the processes before this one; see countElders.
	others atomic.Int64
	twin   *twin.Twin
	api    *api.API
	last   atomic.Pointer[LastReload]
	// noReload is the id of a reload that never was.
	noReload string
	hurry    chan struct{} // closed by Hurry
	hurried  sync.Once
}

const (
	starting = iota
	ready
	draining
)

// New makes a server. Nothing is open before Run.
func New(o Options) (*Server, error) {
	s := &Server{options: o, began: o.Conf, noReload: hub.NewID("", 7), failed: make(chan error, 1), hurry: make(chan struct{}), handed: make(chan struct{})}
	if s.options.Pid == nil {
		s.options.Pid = &Pid{}
	}
	conf := config.NewStore(o.Conf)
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	h := hub.New(func(k hub.Key) hub.Settings {
		v, _ := conf.Load().Vhost(k.Vhost)
		p := blocks.Play.Of(v)
		return hub.Settings{Cache: p.GOPCache, CacheFrames: max(0, p.GOPCacheMaxFrames), Queue: p.QueueLength, Mix: p.MixCorrect}
	})
	tracing := &service.Tracing{}
	desk := session.New(h, s.deskRules(conf, tracing))
	s.env = service.Env{
		Log: o.Log, Conf: conf, Desk: desk, Hub: h, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}, Endpoints: &service.Endpoints{}, Handover: &service.Handover{}, OnDemand: &service.OnDemand{}, Trace: tracing, Managed: &service.Managed{}, Metrics: &service.Metrics{}, Busy: &service.LoadGauge{},
		Identity: service.Identity{Server: Name, Version: Version, Level: Level, ID: o.Predecessor.id(blocks.Root.In(o.Conf).ServerID, o.PidFile),
			Service: hub.NewID("", 8), PID: os.Getpid(), Started: time.Now(), Cwd: cwd},
	}
	s.env.Host = host.New(func() host.Stats {
		c := blocks.Stats.In(conf.Load())
		return host.Stats{On: c.Enabled, Disks: c.Disk}
	})
	s.env.Bandcheck = &service.BandGate{Busy: s.env.Busy}
	s.env.Metrics.Add(s.metrics)
	s.group = service.NewGroup(o.Log, func(err error) {
		select {
		case s.failed <- err:
		default:
		}
	})
	if o.Predecessor != nil {
		s.group.Hold = s.hold
		s.group.Doors().Inherit(o.Predecessor.listeners)
		s.env.Handover.Inherit(o.Predecessor.datagrams, o.Predecessor.Secrets)
		s.env.Handover.InheritFloors(o.Predecessor.Floors)
	}
	s.env.Endpoints.Add(s.upgradeEndpoint())
	s.env.Handover.Answer(sessionsPath, func(w http.ResponseWriter, r *http.Request) {
		n, _ := s.env.Desk.Len()
		json.NewEncoder(w).Encode(int64(n) + s.others.Load())
	})
	s.env.Handover.Answer(eldersPath, func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(s.elders()) })
	s.env.Loops, s.env.Store = sender.NewLoops(o.Log), service.NewStore(o.Log, h)
	shift := service.NewTimeShift(s.env)
	s.env.Past = shift.Past
	s.add("time_shift", service.Sinks, shift)
	s.twin = twin.New(s.env)
	s.add("sender", service.Base, s.env.Loops)
	tr, err := trace.New(s.env, s.env.Trace)
	if err != nil {
		return nil, err
	}
	s.add("traces", service.Base, tr)
	ac, err := acme.New(s.env)
	if err != nil {
		return nil, err
	}
	s.add("acme", service.Doors, ac)
	s.rules()
	s.web()
	// Whoever changes a file once we are ready finds it stamped.
	stamp := s.stamp()
	s.add("watch", service.Base, runner(func(ctx context.Context) error { return s.watch(ctx, stamp) }))
	for _, p := range o.Protocols {
		env := s.env
		svc, err := p.New(env)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		if svc != nil {
			s.add(p.Name, p.Phase, svc)
		}
	}
	return s, nil
}

// deskRules is what the desk must know of the configuration in force.
func (s *Server) deskRules(conf *config.Store, tracing *service.Tracing) session.Rules {
	r := service.DeskRules(conf)
	most := r.Max
	r.Max = func() int { return most() - int(s.others.Load()) }
	r.History = func() time.Duration { return blocks.HTTPAPI.In(conf.Load()).History }
	r.Reserve = func(r *session.Request) (func(), error) { return s.limits.Reserve(r) }
	r.Trace = trace.Act(tracing)
	return r
}

func (s *Server) add(name string, phase service.Phase, svc service.Service) {
	s.units = append(s.units, service.Unit{Name: name, Phase: phase, Service: svc})
}

// runner makes a service of a function.
type runner func(ctx context.Context) error

// Run implements service.Service.
func (r runner) Run(ctx context.Context) error { return r(ctx) }

// web makes the shared HTTP servers, which are open as the configuration says.
func (s *Server) web() {
	check := alive(func() error {
		switch s.state.Load() {
		case starting:
			return errors.New("starting")
		case draining:
			return errors.New("stopping")
		}
		return nil
	})
	s.env.Media.Handle(service.OrderAPI, check)
	s.env.API.Handle(service.OrderAPI, check)
	a := api.New(s.env, s.apiSettings())
	s.api = a
	if p := s.options.Predecessor; p != nil {
		a.KeepVhostIDs(p.Vhosts)
	}
	s.env.Media.Handle(service.OrderAPI, bandcheck.New(s.env).Handle)
	s.env.Media.Handle(service.OrderAPI, golive.New(s.env).Handle)
	s.add("host", service.Base, s.env.Host)
	s.add("heartbeat", service.Base, heartbeat.New(s.env))
	s.env.API.Handle(service.OrderAPI, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/console" {
			http.Redirect(w, r, "/console/", http.StatusFound)
			return true
		}
		if !strings.HasPrefix(r.URL.Path, "/console/") {
			return false
		}
		s.env.Media.ServeHTTP(w, r) // the console's pages, which are files
		return true
	})
	s.env.API.Handle(service.OrderFiles, a.Handle)
	s.env.Media.Handle(service.OrderAPI, func(w http.ResponseWriter, r *http.Request) bool {
		switch snap := s.env.Conf.Load(); {
		case !blocks.HTTPAPI.In(snap).Enabled:
			return false
		case blocks.OnePort(snap):
			return a.HandleShared(w, r)
		default:
			return a.HandleMedia(w, r)
		}
	})
	s.add("http_server", service.Doors, newWeb(s.env, "http_server", "HTTP-Server", "HTTPS-Server", s.env.Media, func(snap *config.Snapshot) webConf {
		c := blocks.HTTPServer.In(snap)
		return webConf{c.Enabled, c.Listen, c.HTTPS.Enabled, c.HTTPS.Listen, c.HTTPS.Key, c.HTTPS.Cert}
	}))
	s.add("http_api", service.Doors, newWeb(s.env, "http_api", "HTTP-API", "HTTPS-API", s.env.API, func(snap *config.Snapshot) webConf {
		c := blocks.HTTPAPI.In(snap)
		return webConf{c.Enabled && !blocks.OnePort(snap), c.Listen, c.HTTPS.Enabled, blocks.APITLSListen(snap), c.HTTPS.Key, c.HTTPS.Cert}
	}))
	s.add("pprof", service.Doors, newWeb(s.env, "pprof", "Pprof", "", http.HandlerFunc(profiles), func(snap *config.Snapshot) webConf {
		c := blocks.Pprof.In(snap)
		return webConf{on: c.Enabled, listen: c.Listen}
	}))
	s.add("exporter", service.Doors, newWeb(s.env, "exporter", "Exporter", "", s.env.API, func(snap *config.Snapshot) webConf {
		c := blocks.Exporter.In(snap)
		shared := blocks.HTTPAPI.In(snap).Enabled && slices.Equal(c.Listen, blocks.HTTPAPI.In(snap).Listen)
		return webConf{on: c.Enabled && !shared, listen: c.Listen}
	}))
}

func (s *Server) apiSettings() api.Settings {
	conf := s.env.Conf
	return api.Settings{
		Vhosts: func() (vs []api.Vhost) {
			for _, v := range conf.Load().Vhosts() {
				if v.Enabled {
					hls := blocks.HLS.Of(v)
					vs = append(vs, api.Vhost{Name: v.Name, HLS: hls.Enabled, HLSFragment: hls.Fragment})
				}
			}
			return vs
		},
		Auth: func() api.Auth {
			c := blocks.HTTPAPI.In(conf.Load()).Auth
			return api.Auth{On: c.Enabled, User: c.Username, Password: c.Password, Bearer: c.Type == "bearer", Token: c.Token}
		},
		Ports: func() (int, string) {
			_, rtmp := config.SplitListen(first(blocks.Root.In(conf.Load()).Listen))
			_, api := config.SplitListen(first(blocks.HTTPAPI.In(conf.Load()).Listen))
			return rtmp, strconv.Itoa(api)
		},
		Metrics:     metrics.New(s.env).Handle,
		CrossDomain: func() bool { return blocks.HTTPServer.In(conf.Load()).CrossDomain },
		Raw: func() (r api.Raw) {
			c := blocks.HTTPAPI.In(conf.Load())
			r.Enabled, r.CrossDomain = c.Enabled, c.CrossDomain
			r.Listen = first(c.Listen)
			r.RawAPI.Enabled, r.RawAPI.AllowReload = c.RawAPI.Enabled, c.RawAPI.AllowReload
			return r
		},
		Listening: s.group.Listening,
		Reload:    func(ctx context.Context) api.Reload { return s.ReloadFile(ctx).api() },
		Reloaded:  func() api.Reload { return s.LastReload().api() },
		PlanType:  Plan{},
		Plan: func(text []byte) (any, error) {
			return s.PlanText(text)
		},
	}
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// Run opens the doors and serves until ctx is done or a part fails. The cause of
// ctx says how to end: [ErrGraceful] waits for those who are there.
func (s *Server) Run(ctx context.Context) error {
	if err := s.group.Start(ctx, s.env.Conf.Load(), s.units...); err != nil {
		return err
	}
	s.state.Store(ready)
	doors := s.group.Listening()
	for _, d := range doors {
		s.env.Log.Info(d.Name + " listen at " + d.URL)
	}
	if s.options.Ready != nil {
		s.options.Ready(doors)
	}
	s.succeeded()
	var failure error
	select {
	case <-s.handed:
		s.retire(ctx)
	case <-ctx.Done():
		s.stopElder()
		if errors.Is(context.Cause(ctx), ErrGraceful) {
			s.drain()
		}
	case failure = <-s.failed:
		s.env.Log.Error("a part of the server failed, stopping", "err", failure)
	}
	s.stop()
	s.awaitElder()
	return errors.Join(failure, s.group.Err())
}

// ErrGraceful is the cause that makes Run wait until everybody has left.
var ErrGraceful = errors.New("graceful stop")

// Hurry ends the waiting of a graceful stop. It is safe for concurrent use.
func (s *Server) Hurry() { s.hurried.Do(func() { close(s.hurry) }) }

// wait sleeps, and returns false if there is hurry.
func (s *Server) wait(d time.Duration) bool {
	select {
	case <-s.hurry:
		return false
	case <-time.After(d):
		return true
	}
}

// drain lets nobody new in and waits until the last session has ended, as SRS
// does at SIGQUIT.
func (s *Server) drain() {
	root := blocks.Root.In(s.env.Conf.Load())
	s.state.Store(draining)
	s.env.Log.Info("graceful stop: waiting before the doors close", "wait", root.GraceStartWait)
	patient := s.wait(root.GraceStartWait)
	s.group.CloseDoors()
	s.group.Unbind(service.Sinks)
	n := s.env.Desk.Move(session.Move{TcURL: root.GraceMoveTo, Description: "The server is stopping."}, nil)
	s.env.Log.Info("graceful stop: clients that can were asked to go on elsewhere", "asked", n)
	for pause := time.Duration(0); patient; pause = min(time.Second, pause+100*time.Millisecond) {
		n, _ := s.env.Desk.Len()
		if n == 0 {
			break
		}
		s.env.Log.Info("graceful stop: waiting for sessions", "sessions", n)
		patient = s.wait(pause)
	}
	if patient {
		s.wait(root.GraceFinalWait)
	}
}

const (
	// tailTime is how long publishers have to end, and then viewers to get what
	// is left.
	tailTime = time.Second
	// partTime is how long a phase's parts have to stop.
	partTime = 2 * time.Second
)

// stop ends everything, in the order in which nothing is lost: publishers
// first, then what reads the streams to their end, viewers, notifications.
func (s *Server) stop() {
	s.state.Store(draining)
	s.env.Log.Info("stopping")
	s.group.CloseDoors()
	s.group.Unbind(service.Sinks) // nothing is pulled in any more
	d := s.env.Desk
	d.Shut(session.ErrShutdown)
	publishes := func(x *session.Session) bool { act, _, _ := x.Doing(); return act == session.Publish }
	d.End(session.ErrShutdown, publishes)
	s.settle(func() bool {
		for x := range d.Sessions() {
			if publishes(x) {
				return false
			}
		}
		return true
	})
	s.group.Stop(service.Sinks, partTime)
	d.End(session.ErrShutdown, nil)
	// Viewers of the send loops belong to no door; their last callbacks are told
	// before the callbacks end.
	s.settle(func() bool { n, _ := d.Len(); return n == 0 })
	s.group.Stop(service.Doors, partTime)
	s.group.Stop(service.API, partTime)
	s.group.Stop(service.Base, partTime)
}

// settle waits until it is so, at most for tailTime.
func (s *Server) settle(is func() bool) {
	for deadline := time.Now().Add(tailTime); !is() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
}

// Conf returns the configuration in force.
func (s *Server) Conf() *config.Snapshot { return s.env.Conf.Load() }

// metrics tells how reloads went, and of the doors.
func (s *Server) metrics() []service.Metric {
	last := s.LastReload()
	good := 1.0
	if last.Code != 0 {
		good = 0
	}
	return []service.Metric{
		{Name: "weir_config_last_reload_successful", Help: "1 if the configuration was taken when it was last read, else 0.", Samples: []service.Sample{{Value: good}}},
		{Name: "weir_upgrade_old_sessions", Help: "Sessions that are still at the processes whose place this one took; all else here is of this process.", Samples: []service.Sample{{Value: float64(s.others.Load())}}},
		{Name: "weir_notices", Help: "Standing complaints, which /api/v1/summaries has in words.", Samples: []service.Sample{{Value: float64(len(s.env.Notices.All()))}}},
	}
}
