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
	Conf:  []config.Spec{blocks.HLS, blocks.TimeShift, blocks.PlayCookie, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		s.streams = shelf.Keeper[*stream]{Env: env, Of: "hls", New: s.newStream, Empty: s.emptyStream, Patience: s.patience}
		s.pastWay = s.newPastWay()
		env.Handover.AddMirror(&s.streams)
		env.Hub.OnPublish(s.streams.Published)
		env.Media.Handle(service.OrderSegments, s.handle)
		env.Media.HandleReady(s.ready)
		env.Media.HandleLater(s.later)
		return s, nil
	},
}

type server struct {
	env     service.Env
	found   shelf.Shelf[thing]
	viewers shelf.Pollers // by hls_ctx, or by address
	streams shelf.Keeper[*stream]
	pastWay shelf.PastWay
}

// thing is what is found at a path: a playlist, or a file.
type thing struct {
	of      *listing    // whose playlist it is; nil for a file
	all     bool        // the playlist of all tracks, of's stream
	iframes bool        // the playlist of first pictures
	hint    *place      // a part of of's stream that is not there yet
	file    *shelf.File // a segment, an init segment or a key
	key     hub.Key     // whose file it is
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error { return s.streams.Run(ctx, &s.viewers) }

// idleForget is how long a stream without publisher is remembered when its files
// are kept for ever (hls_dispose 0).
const idleForget = 2 * time.Minute

func (s *server) patience(vhost string) time.Duration {
	if d := s.conf(vhost).Dispose; d > 0 {
		return d
	}
	return idleForget
}

// Prepare implements service.Preparer: HLS that is switched on starts for streams
// that are live, and starts anew where its files have moved.
func (s *server) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	hls := func(c *config.Snapshot, vhost string) *blocks.HLSConfig {
		v, _ := c.Vhost(vhost)
		return blocks.HLS.Of(v)
	}
	return service.Turn{Commit: func() {
		s.streams.Restart(func(vhost string) bool {
			a, b := hls(old, vhost), hls(next, vhost)
			return a.Enabled != b.Enabled || a.Path != b.Path || a.M3U8File != b.M3U8File || a.Files != b.Files
		})
	}}, nil
}

func (s *server) conf(vhost string) *blocks.HLSConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.HLS.Of(v)
}
