package process

import (
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
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
	case e.What == session.Played && !e.Session.Internal:
		if w == nil {
			w = &wish{players: map[*session.Session]bool{}}
			d.keys[e.Ask.Key] = w
		}
		w.players[e.Session] = true
		if len(w.players) == 1 {
			d.changed()
		}
	case e.What == session.Stopped && w != nil && w.players[e.Session]:
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

// onDemand reports whether a stream is the output of an ingest on demand.
func (s *server) onDemand(key hub.Key) bool {
	s.mu.Lock()
	o, asked := s.asked[key]
	s.mu.Unlock()
	if asked && o.onDemand {
		return true
	}
	p := &planner{snap: s.env.Conf.Load()}
	for _, v := range p.snap.Vhosts() {
		for _, in := range blocks.Ingest.Of(v) {
			if !v.Enabled || !in.Enabled || !in.OnDemand {
				continue
			}
			if p.house.ports == nil {
				p.local()
			}
			for i := range in.Engines {
				vals := &values{house: p.house, vhost: v.Name}
				if out, ok := p.here(vals.text(in.Engines[i].Output)); ok && out == key {
					return true
				}
			}
		}
	}
	return false
}
