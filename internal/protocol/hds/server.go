// Package hds serves streams as Adobe's HTTP Dynamic Streaming.
//
// Each published stream is a [store.View]: the store cuts it and writes it once
// for all who list it. Manifest, bootstrap and fragments are answered from memory;
// they are also written to hds_path under SRS's names. Fragments begin with key
// frames, and with what a decoder must know.
package hds

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
	Name:  "hds",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.HDS, blocks.PlayCookie, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, gate: shelf.Gate{Env: env, Protocol: "hds", Ext: ".f4m"}}
		s.streams = shelf.Keeper[*stream]{Env: env, Of: "hds", New: s.newStream, Empty: s.emptyStream, Patience: func(string) time.Duration { return idleForget }}
		env.Handover.AddMirror(&s.streams)
		env.Hub.OnPublish(s.streams.Published)
		env.Media.Handle(service.OrderSegments, s.handle)
		env.Media.HandleReady(s.ready)
		return s, nil
	},
}

type server struct {
	env     service.Env
	gate    shelf.Gate
	found   shelf.Shelf[thing]
	streams shelf.Keeper[*stream]
}

// idleForget is how long a stream without publisher is remembered.
const idleForget = 2 * time.Minute

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error { return s.streams.Run(ctx, &s.gate.Viewers) }

// Prepare implements service.Preparer: HDS that is switched on starts for streams
// that are live, and starts anew where its files have moved.
func (s *server) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	hds := func(c *config.Snapshot, vhost string) *blocks.HDSConfig {
		v, _ := c.Vhost(vhost)
		return blocks.HDS.Of(v)
	}
	return service.Turn{Commit: func() {
		s.streams.Restart(func(vhost string) bool {
			a, b := hds(old, vhost), hds(next, vhost)
			return a.Enabled != b.Enabled || a.Path != b.Path || a.Files != b.Files
		})
	}}, nil
}

func (s *server) conf(vhost string) *blocks.HDSConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.HDS.Of(v)
}
