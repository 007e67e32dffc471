// Package edge has streams from origins, for vhosts that are an edge of them.
//
// The first player of a stream starts a puller, which stays while somebody plays and a
// few seconds longer. It takes the origins in turn, goes to the next one when one
// fails or sends nothing, and waits, longer each time, when all have. What it gets it
// publishes as a session of the server's own, so players stay and go on when an origin
// was lost and another found.
//
// What is published to an edge is passed on by package forward; here it is refused
// if no origin can be reached, or if the origin is asked and refuses.
package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/cluster/upnode"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "edge",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.Cluster},
	New: func(env service.Env) (service.Service, error) {
		s := newServer(env)
		env.Desk.Authorize(s)
		env.Desk.Observe(s)
		return s, nil
	},
}

const (
	// askTime is how long an origin may take to say whether a client may come (SRS:
	// 3 s).
	askTime = 3 * time.Second
	// linger is how long a stream is kept after its last player.
	linger = 3 * time.Second
	// firstWait and mostWait are between two rounds of the origins.
	firstWait, mostWait = time.Second, 10 * time.Second
	// lentWait is how often it is looked whether another process of an upgrade still has
	// the stream.
	lentWait = 50 * time.Millisecond
	// goodAfter is how long a connection lasts that went well.
	goodAfter = 10 * time.Second
)

var (
	errNoOrigin = &session.Error{Code: 3067, Text: "no origin can be reached"}
	errUnused   = errors.New("nobody plays it any more")
)

type server struct {
	env    service.Env
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // pullers
	turns  atomic.Uint32

	mu    sync.Mutex
	pulls map[hub.Key]*puller // guarded by mu
}

func newServer(env service.Env) *server {
	s := &server{env: env, pulls: map[hub.Key]*puller{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.cancel()
	s.wg.Wait()
	return nil
}

// conf returns the cluster block of a vhost that is an edge, or nil.
func (s *server) conf(vhost string) *blocks.ClusterConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	if c := blocks.Cluster.Of(v); c.Mode == "remote" {
		return c
	}
	return nil
}

// Authorize implements session.Authorizer. A player is refused whose stream would be
// had from here again, and with token_traverse whom the origin refuses; a publisher
// also if no origin can be reached.
func (s *server) Authorize(ctx context.Context, r *session.Request) error {
	c := s.conf(r.Ask.Key.Vhost)
	if c == nil || r.Act == session.Connect {
		return nil
	}
	if upnode.Circle(s.env, r.Session) {
		return session.ErrLoop
	}
	if r.Act == session.Play && !c.TokenTraverse {
		return nil
	}
	return s.ask(ctx, c, r)
}

// ask connects to the first origin that can be reached: with token_traverse as the
// client did.
func (s *server) ask(ctx context.Context, c *blocks.ClusterConfig, r *session.Request) error {
	from, failure := int(s.turns.Add(1)), error(errNoOrigin)
	for i := range c.Origin {
		at, err := origin(c.Origin[(from+i)%len(c.Origin)])
		if err != nil {
			continue
		}
		at.App = r.Ask.Key.App
		o := link.DialOptions{App: at.App, Stream: "x", TcURL: upnode.Host(at, c.Transform(r.Ask.Key.Vhost)).TcURL(), Timeout: askTime,
			Args: upnode.Args(s.env, r.Session, c.DebugSRSUpnode)}
		if c.TokenTraverse {
			if strings.HasPrefix(r.Session.TcURL, "rtmp") {
				o.TcURL = r.Session.TcURL
			}
			o.PageURL, o.SwfURL = r.Session.PageURL, r.Session.SwfURL
		}
		client, err := link.Dial(ctx, "rtmp://"+at.Addr()+"/app/stream", o)
		if err == nil {
			client.Close()
			return nil
		}
		if _, ok := errors.AsType[*link.StatusError](err); ok {
			return fmt.Errorf("%w: the origin: %w", session.ErrDenied, err)
		}
		failure = fmt.Errorf("%w: %w", errNoOrigin, err)
	}
	return failure
}

// origin takes a word of the configuration apart: host or host:port.
func origin(word string) (rtmp.Target, error) {
	return rtmp.ParseURL("rtmp://" + word + "/app/stream")
}

// Observe implements session.Observer: it counts who plays.
func (s *server) Observe(e session.Event) {
	switch e.What {
	case session.Played, session.Wanted:
		if c := s.conf(e.Ask.Key.Vhost); c == nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.pulls[e.Ask.Key]
		if p == nil && (s.ctx.Err() != nil || e.What == session.Wanted) {
			return
		}
		if p == nil {
			p = s.newPuller(e.Session, e.Ask)
			s.pulls[e.Ask.Key] = p
			s.wg.Go(func() {
				service.Guard(p.log, func() error { p.run(); return nil })
				p.cancel(nil)
				s.forget(p)
			})
		}
		p.players[e.Session] = true
		p.idle.Stop()
	case session.Stopped, session.Unwanted:
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.pulls[e.Ask.Key]
		if p == nil || !p.players[e.Session] {
			return
		}
		delete(p.players, e.Session)
		if len(p.players) == 0 {
			p.idle.Reset(linger)
		}
	}
}

// unused ends a puller that nobody plays from, at once for whoever comes next.
func (s *server) unused(p *puller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p.players) > 0 {
		return
	}
	if s.pulls[p.ask.Key] == p {
		delete(s.pulls, p.ask.Key)
	}
	p.cancel(errUnused)
}

func (s *server) forget(p *puller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulls[p.ask.Key] == p {
		delete(s.pulls, p.ask.Key)
	}
}
