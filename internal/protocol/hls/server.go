// Package hls serves streams as HTTP Live Streaming, with segments of MPEG-TS or
// of fragmented MP4.
//
// Each published stream is a [store.View]: the store cuts it and writes it once
// for all who list it. Playlists and segments are answered from memory; they are
// also written to hls_path under SRS's names, whole, for those who serve them with
// another program. A viewer has no connection: it is told from others by the
// parameter hls_ctx that the first answer gives it, and is gone when it has asked
// for nothing for long.
package hls

import (
	"context"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/service/shelf"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "hls",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.HLS, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, streams: map[hub.Key]*stream{}}
		env.Hub.OnPublish(s.published)
		env.Media.Handle(service.OrderSegments, s.handle)
		return s, nil
	},
}

type server struct {
	env     service.Env
	found   shelf.Shelf[thing]
	viewers shelf.Pollers // by hls_ctx, or by address

	mu      sync.Mutex
	streams map[hub.Key]*stream // guarded by mu
}

// thing is what is found at a path: a playlist, or a file.
type thing struct {
	stream *stream     // whose playlist it is; nil for a file
	file   *shelf.File // a segment, an init segment or a key
}

// Run implements service.Service. When ctx is done the streams have ended, and
// Run waits until what is left of them is written.
func (s *server) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.viewers.Expire(now)
			s.idle(now)
		case <-ctx.Done():
			s.env.Store.Stop() // the files stay, so that the next start goes on
			s.viewers.Expire(time.Time{})
			return nil
		}
	}
}

// published is called for each publication, before its first frame.
func (s *server) published(p *hub.Publication) {
	key := p.Stream().Key
	if !s.conf(key.Vhost).Enabled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[key]
	if st == nil {
		st = s.newStream(key, p.Stream().ID)
		s.streams[key] = st
	}
	st.republished()
}

// Prepare implements service.Preparer: HLS that is switched on starts for streams
// that are live, and starts anew where its files have moved.
func (s *server) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	hls := func(c *config.Snapshot, vhost string) *blocks.HLSConfig {
		v, _ := c.Vhost(vhost)
		return blocks.HLS.Of(v)
	}
	moved := func(vhost string) bool {
		a, b := hls(old, vhost), hls(next, vhost)
		return a.Enabled != b.Enabled || a.Path != b.Path || a.M3U8File != b.M3U8File || a.Files != b.Files
	}
	return service.Turn{Commit: func() {
		s.mu.Lock()
		for key, st := range s.streams {
			if moved(key.Vhost) { // its files stay
				delete(s.streams, key)
				st.forget()
				st.log.Info("hls ends, it is configured otherwise now")
			}
		}
		s.mu.Unlock()
		for key, hs := range s.env.Hub.All() {
			if p := hs.Publication(); p != nil && moved(key.Vhost) {
				s.published(p)
			}
		}
	}}, nil
}

// idle forgets the streams that nobody has published for long.
func (s *server) idle(now time.Time) {
	s.mu.Lock()
	var gone []*stream
	for key, st := range s.streams {
		patience := s.conf(key.Vhost).Dispose
		if patience <= 0 {
			patience = idleForget
		}
		switch hs := s.env.Hub.Stream(key); {
		case hs != nil && hs.Live():
			st.live = now
		case now.Sub(st.live) >= patience:
			delete(s.streams, key)
			gone = append(gone, st)
		}
	}
	for _, st := range gone {
		st.forget()
	}
	s.mu.Unlock()
	for _, st := range gone {
		st.clean()
	}
}

func (s *server) conf(vhost string) *blocks.HLSConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.HLS.Of(v)
}
