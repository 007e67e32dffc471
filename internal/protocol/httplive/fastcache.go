package httplive

import (
	"slices"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
)

// sounds are the newest sounds of streams that listeners of .aac and .mp3 get at
// once (fast_cache).
type sounds struct {
	mu  sync.Mutex
	all map[*hub.Stream]*recent // guarded by mu
}

// recent holds the newest sound of one publication. It is a hub.Tap.
type recent struct {
	keep time.Duration
	// ended is called, by a goroutine of its own, when the publication ends.
	ended func()

	mu     sync.Mutex
	frames []*media.Frame // guarded by mu
}

// keepSound begins to keep the sound of a publication, if somebody may want it.
func (s *server) keepSound(p *hub.Publication) {
	st := p.Stream()
	vhost, ok := s.env.Conf.Load().Vhost(st.Key.Vhost)
	if !ok {
		return
	}
	conf := blocks.HTTPRemux.Of(vhost)
	wanted := slices.ContainsFunc(conf.Mount, func(m string) bool { return formats[parseMount(m).ext].sound })
	if !conf.Enabled || conf.FastCache <= 0 || !wanted {
		return
	}
	r := &recent{keep: conf.FastCache}
	r.ended = func() {
		st.Detach(r)
		s.sounds.mu.Lock()
		defer s.sounds.mu.Unlock()
		if s.sounds.all[st] == r {
			delete(s.sounds.all, st)
		}
	}
	s.sounds.mu.Lock()
	if s.sounds.all == nil {
		s.sounds.all = map[*hub.Stream]*recent{}
	}
	s.sounds.all[st] = r
	s.sounds.mu.Unlock()
	st.Attach(r)
}

// before returns what gives a listener the sound from before a frame, nil if none
// is kept.
func (s *server) before(st *hub.Stream) func(seq uint64) []*media.Frame {
	s.sounds.mu.Lock()
	defer s.sounds.mu.Unlock()
	if r := s.sounds.all[st]; r != nil {
		return r.before
	}
	return nil
}

// Frame implements hub.Tap.
func (r *recent) Frame(f *media.Frame, _ bool) {
	if f.Track.Kind != media.Audio {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, f)
	old := 0
	for f.DTS-r.frames[old].DTS > r.keep {
		old++
	}
	r.frames = slices.Delete(r.frames, 0, old)
}

// End implements hub.Tap.
func (r *recent) End(error) {
	r.mu.Lock()
	r.frames = nil
	r.mu.Unlock()
	go r.ended() // which asks the stream, whose lock is held
}

func (r *recent) before(seq uint64) []*media.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.frames)
	for n > 0 && r.frames[n-1].Seq >= seq {
		n--
	}
	return slices.Clone(r.frames[:n])
}
