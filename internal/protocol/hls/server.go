// Package hls serves streams as HTTP Live Streaming with MPEG-TS segments.
//
// Each published stream is cut by one [store.Segmenter]. Playlists and segments
// are answered from memory; they are also written to hls_path under SRS's names,
// whole, for those who serve them with another program. A viewer has no
// connection: it is told from others by the parameter hls_ctx that the first
// answer gives it, and is gone when it has asked for nothing for long.
package hls

import (
	"context"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/store"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "hls",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.HLS, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, streams: map[hub.Key]*stream{}, playlists: map[path]*stream{}, segments: map[path]*store.Segment{}, viewers: map[string]*viewer{}}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		env.Hub.OnPublish(s.published)
		env.Media.Handle(service.OrderSegments, s.handle)
		return s, nil
	},
}

// path is where something is found: below the root of a vhost's HTTP.
type path struct{ vhost, name string }

type server struct {
	env    service.Env
	ctx    context.Context // of the segmenters
	cancel context.CancelFunc
	wg     sync.WaitGroup // segmenters

	mu        sync.RWMutex
	streams   map[hub.Key]*stream     // guarded by mu
	playlists map[path]*stream        // guarded by mu
	segments  map[path]*store.Segment // guarded by mu

	viewing sync.Mutex
	viewers map[string]*viewer // by hls_ctx, or by address; guarded by viewing
}

// Run implements service.Service. When ctx is done the streams have ended, and
// Run waits until what is left of them is written.
func (s *server) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.expire(now)
		case <-ctx.Done():
			s.cancel()
			s.wg.Wait()
			s.expire(time.Time{})
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
		st = s.newStream(key)
		s.streams[key] = st
		s.wg.Go(func() { service.Guard(st.log, func() error { st.run(); return nil }) })
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
			if moved(key.Vhost) {
				st.quit(errMoved)
			}
		}
		s.mu.Unlock()
		for key := range s.env.Hub.All() {
			if moved(key.Vhost) {
				s.revive(key)
			}
		}
	}}, nil
}

// revive starts HLS of a stream that is live and has none.
func (s *server) revive(key hub.Key) {
	st := s.env.Hub.Stream(key)
	if st == nil {
		return
	}
	s.mu.RLock()
	have := s.streams[key] != nil
	s.mu.RUnlock()
	if p := st.Publication(); p != nil && !have {
		s.published(p)
	}
}

func (s *server) conf(vhost string) *blocks.HLSConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.HLS.Of(v)
}
