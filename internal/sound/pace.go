package sound

import "time"

const (
	// holeMost is the longest hole that is filled with silence; after a longer one,
	// or a jump back, time starts anew.
	holeMost = time.Second
	// holeLeast is what is a hole rather than time stamps that tremble.
	holeLeast = 100 * time.Millisecond
	// driftMost is how far the input's clock may run away from its samples before it
	// is followed, by driftStep. Half of what viewers notice between lips and sound.
	driftMost, driftStep = 40 * time.Millisecond, 20 * time.Millisecond
)

// A pace holds the times of packets against the samples that they have.
type pace struct {
	begun bool
	base  time.Duration // of the first sample since time started
	in    int64         // samples since then, at the input's rate
	rate  int
	made  int64         // samples since then, at outRate
	drift time.Duration // smoothed
}

// A step says what is to be done with a packet's samples; numbers are samples per
// channel at the input's rate.
type step struct {
	restart bool // forget what waits
	skip    bool // leave out the packet
	silence int  // comes first
	drop    int  // of the packet's first samples
}

// next takes a packet of n samples.
func (p *pace) next(pts time.Duration, n, rate int) (s step) {
	if !p.begun || rate != p.rate {
		s.restart = p.begun
		*p = pace{begun: true, base: pts, rate: rate, in: int64(n)}
		return s
	}
	off := pts - p.base - samplesTime(p.in, rate)
	switch {
	case off > holeMost || off < -holeMost:
		*p = pace{begun: true, base: pts, rate: rate, in: int64(n)}
		return step{restart: true}
	case off > holeLeast:
		s.silence = int(int64(off) * int64(rate) / int64(time.Second))
		p.drift = 0
	case off < -holeLeast:
		return step{skip: true}
	default:
		p.drift += (off - p.drift) / 16
		few := int(int64(driftStep) * int64(rate) / int64(time.Second))
		switch {
		case p.drift > driftMost:
			s.silence = few
			p.drift -= driftStep
		case p.drift < -driftMost:
			s.drop = min(few, n)
			p.drift += samplesTime(int64(s.drop), rate)
		}
	}
	p.in += int64(n + s.silence - s.drop)
	return s
}

// out returns the time of the next n samples that are encoded.
func (p *pace) out(n int) time.Duration {
	at := p.base + samplesTime(p.made, outRate)
	p.made += int64(n)
	return at
}

func samplesTime(n int64, rate int) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(rate)
}
