// Package dash serves streams as MPEG-DASH: the live profile, with a manifest that
// lists segments of sound and of picture in a SegmentTimeline.
//
// Each published stream is a [store.View]: the store cuts it and writes it once
// for all who list it. Manifest and segments are answered from memory; they are
// also written to dash_path under SRS's names. A publication, or a change of
// codec, is a period; the moment that all times count from never changes while the
// stream is remembered.
package dash

import (
	"context"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/service/shelf"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "dash",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.DASH, blocks.TimeShift, blocks.PlayCookie, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, gate: shelf.Gate{Env: env, Protocol: "dash", Ext: ".mpd"}}
		s.streams = shelf.Keeper[*stream]{Env: env, Of: "dash", New: s.newStream, Empty: s.emptyStream, Patience: s.patience}
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
	gate    shelf.Gate
	found   shelf.Shelf[thing]
	streams shelf.Keeper[*stream]
	pastWay shelf.PastWay
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error { return s.streams.Run(ctx, &s.gate.Viewers) }

// idleForget is how long a stream without publisher is remembered when its files
// are kept for ever (dash_dispose 0).
const idleForget = 2 * time.Minute

func (s *server) patience(vhost string) time.Duration {
	if d := s.conf(vhost).Dispose; d > 0 {
		return d
	}
	return idleForget
}

// Prepare implements service.Preparer: DASH that is switched on starts for streams
// that are live, and starts anew where its files have moved.
func (s *server) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	dash := func(c *config.Snapshot, vhost string) *blocks.DASHConfig {
		v, _ := c.Vhost(vhost)
		return blocks.DASH.Of(v)
	}
	return service.Turn{Commit: func() {
		s.streams.Restart(func(vhost string) bool {
			a, b := dash(old, vhost), dash(next, vhost)
			return a.Enabled != b.Enabled || a.Path != b.Path || a.MPDFile != b.MPDFile || a.Files != b.Files
		})
	}}, nil
}

func (s *server) conf(vhost string) *blocks.DASHConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.DASH.Of(v)
}
