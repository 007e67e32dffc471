package sender

import (
	"testing"
	"time"
)

// A loop gathers longer the dearer its turns are, never longer than the least
// patient of its viewers allows, which is next to nothing with min_latency on.
func TestGatheringIsBounded(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		cost   time.Duration
		load   float64
		gather []time.Duration
		want   time.Duration
	}{
		{10 * time.Microsecond, 0, []time.Duration{350 * ms}, 0},
		{200 * time.Microsecond, 0, []time.Duration{350 * ms}, 20 * ms},
		{5 * ms, 0, []time.Duration{350 * ms}, longest},
		{5 * ms, 0.6, []time.Duration{350 * ms}, 340 * ms},
		{5 * ms, 0, []time.Duration{30 * ms}, 20 * ms},
		{5 * ms, 0, []time.Duration{0}, impatient},
		{5 * ms, 0.9, []time.Duration{350 * ms, 0}, impatient},
		{50 * time.Microsecond, 0, []time.Duration{0}, 0},
	} {
		l := &loop{cost: c.cost, load: c.load, reels: map[*loopReel]bool{}}
		for _, g := range c.gather {
			l.reels[&loopReel{reel: &reel{gather: g}}] = true
		}
		if got := l.gathering(); got != c.want || time.Duration(l.pause.Load()) != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
