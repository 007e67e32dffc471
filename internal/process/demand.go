package process

import (
	"maps"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// A demand knows which streams are played, for ingests that run only then.
type demand struct {
	changed func() // called when a stream begins to be wanted, or no longer is

	mu   sync.Mutex
	keys map[hub.Key]*wish // guarded by mu
}

// A wish is one stream that somebody plays, or played a while ago.
type wish struct {
	players map[*session.Session]bool
	asked   bool        // has has been asked of it
	left    time.Time   // when the last player went
	timer   *time.Timer // looks again, once somebody asked how long it is kept
}

func newDemand(changed func()) *demand {
	return &demand{changed: changed, keys: map[hub.Key]*wish{}}
}

// observe takes what the desk tells of players.
func (d *demand) observe(e session.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.keys[e.Ask.Key]
	switch {
	case e.What == session.Played && !e.Session.Internal, e.What == session.Wanted:
		if w == nil {
			w = &wish{players: map[*session.Session]bool{}}
			d.keys[e.Ask.Key] = w
		}
		w.players[e.Session] = true
		if len(w.players) == 1 {
			d.changed()
		}
	case (e.What == session.Stopped || e.What == session.Unwanted) && w != nil && w.players[e.Session]:
		delete(w.players, e.Session)
		if len(w.players) == 0 {
			w.left = time.Now()
			if !w.asked {
				delete(d.keys, e.Ask.Key)
			}
			d.changed()
		}
	}
}

// has reports whether a stream is played, or was until less than keep ago; then changed
// is called when that is over.
func (d *demand) has(key hub.Key, keep time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.keys[key]
	if w == nil {
		return false
	}
	w.asked = true
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if len(w.players) > 0 {
		return true
	}
	rest := keep - time.Since(w.left)
	if rest > 0 {
		w.timer = time.AfterFunc(rest, d.changed)
		return true
	}
	delete(d.keys, key)
	return false
}

// onDemand reports whether a stream is what an ingest or an engine makes on demand, and
// what is known of it.
func (s *server) onDemand(key hub.Key) (service.Expected, bool) {
	s.mu.Lock()
	o, asked := s.asked[key]
	live := maps.Clone(s.live)
	s.mu.Unlock()
	if asked && o.onDemand {
		return service.Expected{}, true
	}
	p := &planner{snap: s.env.Conf.Load()}
	for _, v := range p.snap.Vhosts() {
		if v.Enabled && p.pulls(v, key) {
			return service.Expected{}, true
		}
	}
	for x, ask := range live {
		if v, ok := p.snap.Vhost(ask.Key.Vhost); ok {
			if e := p.rung(v, x, ask, key); e != nil {
				return service.Expected{Kbps: e.VBitrate + e.ABitrate, Width: e.VWidth, Height: e.VHeight}, true
			}
		}
	}
	return service.Expected{}, false
}

// pulls reports whether an ingest on demand of a vhost publishes a stream.
func (p *planner) pulls(v *config.Vhost, key hub.Key) bool {
	for _, in := range blocks.Ingest.Of(v) {
		if !in.Enabled || !in.OnDemand {
			continue
		}
		for i := range in.Engines {
			p.settle()
			vals := &values{house: p.house, vhost: v.Name}
			if out, ok := p.here(vals.text(in.Engines[i].Output)); ok && out == key {
				return true
			}
		}
	}
	return false
}

// rung returns the engine that makes a stream of a publication on demand, nil if none
// does.
func (p *planner) rung(v *config.Vhost, x *session.Session, ask session.Ask, key hub.Key) (found *blocks.EngineConfig) {
	engines(v, ask.Key, func(t *blocks.TranscodeConfig, e *blocks.EngineConfig, _ string) {
		if !t.OnDemand || found != nil || ask.Key == key {
			return
		}
		p.settle()
		if out, ok := p.output(x, ask, e); ok && out == key {
			found = e
		}
	})
	return found
}

// output returns the stream that an engine makes of a publication, if it is one of this
// server.
func (p *planner) output(x *session.Session, ask session.Ask, e *blocks.EngineConfig) (hub.Key, bool) {
	out, err := valuesOf(p.house, x, ask).engine(e.Name).fill(e.Output)
	if err != nil {
		return hub.Key{}, false
	}
	return p.here(out)
}

// settle reads the house, once.
func (p *planner) settle() {
	if p.house.ports == nil {
		p.local()
	}
}
