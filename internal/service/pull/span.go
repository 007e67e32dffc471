package pull

import (
	"time"

	"weir/internal/media"
)

// spans are what times the frames of one turn of a file have, by kind.
type spans [media.Data + 1]span

type span struct {
	begun       bool
	first, last time.Duration // decoding times
	step        time.Duration // from frame to frame, at the end
	least, most time.Duration // when pictures are shown
}

func (all *spans) add(f *media.Frame) {
	s, shown := &all[f.Track.Kind], f.Source+f.CTO
	if !s.begun {
		s.begun, s.first, s.last, s.least, s.most = true, f.Source, f.Source, shown, shown
		return
	}
	if d := f.Source - s.last; d > 0 && d < time.Second {
		s.step = d
	}
	s.last, s.least, s.most = max(s.last, f.Source), min(s.least, shown), max(s.most, shown)
}

// end returns when a turn that began at start is over, so that of every kind the next
// turn comes behind it, in decoding and on the screen, and begins to count that one. A
// kind that begins later may end later too. Where a file was cut off between pictures that are out of order, what is shown last is
// later than what is decoded last.
func (all *spans) end(start time.Duration) time.Duration {
	end := start + time.Millisecond
	for i := range all {
		s := &all[i]
		if s.begun {
			end = max(end, start+s.last-s.first+s.step, start+s.most-s.least+s.step)
		}
		s.begun = false
	}
	return end
}
