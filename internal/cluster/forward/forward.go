// Package forward sends copies of streams to other servers over RTMP.
//
// Each publication that is to be sent has one goroutine for each destination, which
// connects, reads the stream as a passive reader and publishes it there, from a key
// frame on; a destination that fails is tried again, later each time, while the
// stream lasts. One that is slow loses whole groups of pictures, as a slow viewer
// does, and costs nobody else anything.
//
// Who passes a stream on names the servers that it came through, and none takes one
// that has come through it: a circle ends where it closes.
package forward

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/cluster/upnode"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "forward",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.Forward, blocks.Cluster},
	New: func(env service.Env) (service.Service, error) {
		s := newServer(env)
		env.Desk.Authorize(s)
		env.Desk.Observe(s)
		env.Endpoints.Add(s.endpoints()...)
		env.Metrics.Add(s.metrics)
		return s, nil
	},
}

type server struct {
	env    service.Env
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // lines
	turns  atomic.Uint32  // of origins

	mu sync.Mutex
	// Guarded by mu.
	asked map[*session.Session][]target // what the backend said, until the stream is published
	sets  map[hub.Key]*set
	lines map[*line]bool // that have not ended
	total totals
}

// A set is all that one publication is sent to.
type set struct {
	session     *session.Session
	ask         session.Ask
	publication *hub.Publication
	lines       []*line
}

func newServer(env service.Env) *server {
	s := &server{env: env, asked: map[*session.Session][]target{}, sets: map[hub.Key]*set{}, lines: map[*line]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// patience is how long a stop waits for what is left to be sent.
const patience = 1500 * time.Millisecond

// Run implements service.Service. When ctx is done the publications have ended.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
	s.cancel()
	<-done
	return nil
}

func (s *server) conf(snap *config.Snapshot, vhost string) *blocks.ForwardConfig {
	v, _ := snap.Vhost(vhost)
	return blocks.Forward.Of(v)
}

// Authorize implements session.Authorizer: it refuses what came from here, and asks
// the backend, so that one that fails refuses the publisher before the name is taken.
func (s *server) Authorize(ctx context.Context, r *session.Request) error {
	if r.Act != session.Publish {
		return nil
	}
	if upnode.Circle(s.env, r.Session) {
		return session.ErrLoop
	}
	c := s.conf(s.env.Conf.Load(), r.Ask.Key.Vhost)
	if !c.Enabled || c.Backend == "" {
		return nil
	}
	urls, err := s.env.AskForward(ctx, c.Backend, r.Session, &r.Ask)
	if err != nil {
		return err
	}
	var to []target
	for _, u := range urls {
		t, err := address(u, u, r.Ask.Key)
		if err != nil { // as in SRS this is no reason to send the publisher away
			s.env.Log.Warn("Forwarder: an address of on_forward cannot be used", "cid", r.Session.ID, "backend", c.Backend, "destination", session.Mask(u), "err", err)
			continue
		}
		to = append(to, t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.Session] = to
	// Also if the stream cannot be had after all.
	context.AfterFunc(r.Session.Context(), func() { s.take(r.Session) })
	return nil
}

// take returns what the backend said of a session, once.
func (s *server) take(by *session.Session) []target {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.asked[by]
	delete(s.asked, by)
	return to
}

// statics returns the targets that the configuration names.
func (s *server) statics(snap *config.Snapshot, ask session.Ask) (all []target) {
	c := s.conf(snap, ask.Key.Vhost)
	if !c.Enabled || c.Backend != "" { // as in SRS, who asks does not look there
		return nil
	}
	for _, word := range c.Destination {
		t, err := static(word, c.RTMPS, ask.Key, ask.Said.Param)
		if err != nil {
			s.env.Log.Warn("Forwarder: destination cannot be used", "destination", session.Mask(word), "err", err)
			continue
		}
		all = append(all, t)
	}
	return all
}

// origins returns where an edge passes on what is published to it: its origins, from
// one on that is another each time.
func (s *server) origins(snap *config.Snapshot, by *session.Session, ask session.Ask) (all []target) {
	v, _ := snap.Vhost(ask.Key.Vhost)
	c := blocks.Cluster.Of(v)
	if c.Mode != "remote" || by.Internal {
		return nil
	}
	key := ask.Key
	key.Vhost = c.Transform(key.Vhost)
	from := int(s.turns.Add(1))
	for i := range c.Origin {
		word := c.Origin[(from+i)%len(c.Origin)]
		t, err := static(word, false, key, ask.Said.Param)
		if err != nil {
			s.env.Log.Warn("edge: origin cannot be used", "origin", word, "err", err)
			continue
		}
		all = append(all, t)
	}
	return all
}

// Observe implements session.Observer. It is told of a publication by the goroutine
// that is to write it, before it does.
func (s *server) Observe(e session.Event) {
	switch e.What {
	case session.Published:
		snap := s.env.Conf.Load()
		to := append(s.take(e.Session), s.statics(snap, e.Ask)...)
		up := s.origins(snap, e.Session, e.Ask)
		st := s.env.Hub.Stream(e.Ask.Key)
		if len(to)+len(up) == 0 || st == nil {
			return
		}
		if p := st.Shown(); p != nil {
			s.start(&set{session: e.Session, ask: e.Ask, publication: p}, to, up)
		}
	case session.Unpublished:
		s.mu.Lock()
		defer s.mu.Unlock()
		if x := s.sets[e.Ask.Key]; x != nil && x.session == e.Session {
			s.end(x)
		}
	}
}

// end lets the lines of a set finish. s.mu is held.
func (s *server) end(x *set) {
	delete(s.sets, x.publication.Stream().Key)
	for _, l := range x.lines {
		l.finish()
	}
}

// start sends a publication to targets.
// up are the origins of an edge, of which one gets it.
func (s *server) start(x *set, to, up []target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := x.publication.Stream().Key
	if old := s.sets[key]; old != nil {
		s.end(old) // who published it was replaced
	}
	s.sets[key] = x
	for _, t := range to {
		s.add(x, []target{t}, nil)
	}
	if len(up) > 0 {
		s.add(x, up, func(err error) { x.session.Kick(fmt.Errorf("%w: the origin: %w", session.ErrDenied, err)) })
	}
}

// add sends a publication to one target more, of several in turn. s.mu is held.
func (s *server) add(x *set, to []target, refused func(error)) {
	if s.ctx.Err() != nil {
		return
	}
	l := s.newLine(to, x.session, x.publication)
	l.refused = refused
	x.lines = append(x.lines, l)
	s.lines[l] = true
	s.wg.Go(func() {
		service.Guard(l.log, func() error { l.run(); return nil })
		l.cancel()
		l.release()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.lines, l)
		s.total.add(l)
	})
}

// Prepare implements service.Preparer: destinations that are new are sent the streams
// that are live, and those that are gone no more. A backend is asked at the next
// publication.
func (s *server) Prepare(context.Context, *config.Snapshot, *config.Snapshot) (service.Turn, error) {
	return service.Turn{Commit: func() {
		snap := s.env.Conf.Load()
		for by := range s.env.Desk.Publishing() {
			act, ask, st := by.Doing()
			if act != session.Publish || st == nil {
				continue
			}
			if p := st.Shown(); p != nil && !p.Lent && s.env.Desk.Publisher(ask.Key) == by {
				s.turn(snap, by, ask, p)
			}
		}
	}}, nil
}

// turn has a publication sent to what a new configuration names.
func (s *server) turn(snap *config.Snapshot, by *session.Session, ask session.Ask, p *hub.Publication) {
	c, want := s.conf(snap, ask.Key.Vhost), s.statics(snap, ask)
	if c.Enabled && c.Backend != "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sets[ask.Key]
	if x == nil || x.publication != p {
		x = &set{session: by, ask: ask, publication: p}
		if len(want) > 0 {
			s.sets[ask.Key] = x
		}
	}
	var kept []*line
	for _, l := range x.lines {
		if l.refused != nil {
			kept = append(kept, l)
		} else if i := index(want, l.all[0]); i >= 0 {
			kept = append(kept, l)
			want = append(want[:i], want[i+1:]...)
		} else {
			l.cancel()
		}
	}
	x.lines = kept
	for _, t := range want {
		s.add(x, []target{t}, nil)
	}
}

func index(all []target, t target) int {
	for i, o := range all {
		if o == t {
			return i
		}
	}
	return -1
}
