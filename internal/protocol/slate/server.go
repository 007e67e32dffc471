// Package slate keeps viewers when a publisher drops: it goes on publishing the stream,
// with the last key frame and silence or with a file, until the publisher is back, another
// has come, or the time for that is over.
//
// It looks at each publication by a tap, which remembers the newest key frame. Its own
// publication yields to any other, and is no client: hooks, lists and recordings know
// nothing of it.
package slate

import (
	"context"
	"errors"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "slate",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.Slate},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		env.Hub.OnPublish(s.published)
		return s, nil
	},
}

type server struct {
	env    service.Env
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	over  bool             // nothing begins any more; guarded by mu
	files map[string]*loop // by path; guarded by mu
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.cancel()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

func (s *server) conf(vhost string) *blocks.SlateConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.Slate.Of(v)
}

// published looks at a publication from its first frame on.
func (s *server) published(p *hub.Publication) {
	if p.By == service.BySlate || p.Lent || !s.conf(p.Stream().Key.Vhost).Enabled {
		return
	}
	w := &watch{server: s, stream: p.Stream()}
	p.KeepViewers(w.keeps)
	w.stream.Attach(w)
}

// A watch looks at one publication.
type watch struct {
	server *server
	stream *hub.Stream

	// Guarded by the stream's lock, until the publication has ended.
	picture *media.Frame // the newest key frame of the first picture
	sound   *media.Track
	kept    bool
}

// Frame implements hub.Tap.
func (w *watch) Frame(f *media.Frame, access bool) {
	switch {
	case f.Track.Kind == media.Audio && f.Track == f.Layout.Main(media.Audio):
		w.sound = f.Track
	case f.Key && f.Track == f.Layout.Main(media.Video):
		w.picture = f
	}
}

// keeps decides whether viewers stay.
func (w *watch) keeps(cause error) bool {
	s := w.server
	c := s.conf(w.stream.Key.Vhost)
	for _, meant := range []error{hub.ErrTaken, session.ErrKicked, session.ErrShutdown, session.ErrRemoved, session.ErrDenied, session.ErrIdle, session.ErrLoop} {
		if errors.Is(cause, meant) {
			return false
		}
	}
	w.kept = c.Enabled && c.Hold > 0 && s.ctx.Err() == nil && !s.env.Handover.Left()
	return w.kept
}

// End implements hub.Tap.
func (w *watch) End(error) {
	s := w.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	// What follows needs the stream's lock, which is held.
	s.wg.Go(func() {
		w.stream.Detach(w)
		if w.kept {
			w.hold()
		}
	})
}

// hold publishes until another does, or the time is over.
func (w *watch) hold() {
	s, key := w.server, w.stream.Key
	c := s.conf(key.Vhost)
	ctx, cancel := context.WithTimeout(s.ctx, c.Hold)
	defer cancel()
	p, err := s.env.Hub.Publish(key, hub.PublishOptions{By: service.BySlate, Yields: true, Taken: cancel})
	if err != nil {
		return // somebody is there already, to whom they go over
	}
	p.KeepViewers(func(cause error) bool { return errors.Is(cause, hub.ErrTaken) })
	log := s.env.Log.With("stream", key.String())
	log.Info("the publisher has dropped, viewers are kept", "for", c.Hold, "file", c.File)
	began := time.Now()
	show := w.still()
	if c.File != "" {
		if file, err := s.file(c.File); err == nil {
			show = file.play
		} else {
			log.Error("the slate is not shown, viewers see the last picture", "err", err)
		}
	}
	show(ctx, p)
	after := time.Since(began).Round(time.Millisecond)
	if w.stream.Publication() != p {
		log.Info("somebody publishes again, viewers were kept", "after", after)
		return
	}
	p.Close(nil) // now viewers are told
	log.Info("nobody has come back, viewers are kept no longer", "after", after)
}
