package session

import (
	"slices"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// A Past is an act that is over: who published or played what, and why it ended.
type Past struct {
	Client   string // the session's id
	Protocol string
	Type     string // SRS's word: "fmle-publish"
	IP       string
	Act      Act
	Key      hub.Key
	StreamID string
	Began    time.Time
	Ended    time.Time
	In, Out  int64
	Dropped  int64
	Err      error
	// Of a publication only.
	Layout   *media.Layout
	Counters hub.Counters // of the publication alone
}

// history keeps what is over, for a while.
type history struct {
	mu   sync.Mutex
	all  []Past // oldest first; guarded by mu
	keep func() time.Duration
}

// historyMost is the most that is kept.
const historyMost = 2000

// remember notes an act that has ended.
func (d *Desk) remember(s *Session, act Act, ask Ask, stream *hub.Stream, began time.Time, before *hub.Counters, err error) {
	h := &d.history
	keep := h.age()
	if keep <= 0 {
		return
	}
	in, out := s.since()
	p := Past{Client: s.ID, Protocol: s.Protocol, Type: ask.Type, IP: s.IP, Act: act, Key: ask.Key, StreamID: stream.ID, Began: began, Ended: time.Now(),
		In: in, Out: out, Dropped: s.Dropped(), Err: err}
	if act == Publish {
		p.Layout, p.Counters = stream.Layout(), difference(stream.Counters(), *before)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prune(p.Ended, keep)
	if len(h.all) == historyMost {
		h.all = h.all[1:]
	}
	h.all = append(h.all, p)
}

func difference(now, before hub.Counters) hub.Counters {
	now.Frames -= before.Frames
	now.VideoFrames -= before.VideoFrames
	now.AudioFrames -= before.AudioFrames
	now.Keys -= before.Keys
	now.Bytes -= before.Bytes
	now.Dropped -= before.Dropped
	now.Skips -= before.Skips
	now.Jumps -= before.Jumps
	return now
}

func (h *history) age() time.Duration {
	if h.keep == nil {
		return 0
	}
	return h.keep()
}

// prune forgets what ended too long ago. h.mu is held.
func (h *history) prune(now time.Time, keep time.Duration) {
	n := 0
	for n < len(h.all) && now.Sub(h.all[n].Ended) > keep {
		n++
	}
	if n > 0 {
		h.all = slices.Clone(h.all[n:]) // so that the old ones can go
	}
}

// History returns the acts that are over, the newest first.
func (d *Desk) History() []Past {
	h := &d.history
	keep := h.age()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prune(time.Now(), keep)
	all := slices.Clone(h.all)
	slices.Reverse(all)
	return all
}
