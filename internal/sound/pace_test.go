package sound

import (
	"math/rand/v2"
	"testing"
	"time"
)

// feed20 gives packets of 20 ms at 48 kHz and returns all samples that went on, and
// the time of the next.
type paced struct {
	pace
	samples  int
	restarts int
	skipped  int
}

func (p *paced) feed(pts time.Duration) {
	s := p.next(pts, 960, outRate)
	switch {
	case s.restart:
		p.samples = 0
		p.restarts++
	case s.skip:
		p.skipped++
		return
	}
	p.samples += 960 + s.silence - s.drop
}

// end is the time up to which there is sound.
func (p *paced) end() time.Duration { return p.base + samplesTime(int64(p.samples), outRate) }

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name     string
		at       func(i int) time.Duration // of packet i of 3,000
		restarts int
	}{
		{"even", func(i int) time.Duration { return time.Duration(i) * 20 * ms }, 0},
		{"trembling", func(i int) time.Duration { return time.Duration(i)*20*ms + time.Duration(rnd.IntN(30))*ms }, 0},
		{"half a second missing", func(i int) time.Duration { return time.Duration(i+min(i/1000, 1)*25) * 20 * ms }, 0},
		{"ten seconds missing", func(i int) time.Duration { return time.Duration(i+min(i/1000, 1)*500) * 20 * ms }, 1},
		{"an hour back", func(i int) time.Duration { return time.Duration(i+(1-min(i/1000, 1))*180000) * 20 * ms }, 1},
		{"a clock that is slow", func(i int) time.Duration { return time.Duration(i) * 19980 * time.Microsecond }, 0},
		{"a clock that is fast", func(i int) time.Duration { return time.Duration(i) * 20020 * time.Microsecond }, 0},
	} {
		var p paced
		last := time.Duration(0)
		for i := range 3000 {
			last = c.at(i)
			p.feed(last)
			if off := p.end() - 20*ms - last; off.Abs() > 130*ms {
				t.Fatalf("%s: at packet %d sound is %v from its time", c.name, i, off)
			}
		}
		if off := p.end() - 20*ms - last; off.Abs() > driftMost+30*ms {
			t.Errorf("%s: in the end sound is %v from its time", c.name, off)
		}
		if p.restarts != c.restarts || p.skipped > 0 {
			t.Errorf("%s: time started anew %d times, %d packets left out", c.name, p.restarts, p.skipped)
		}
	}
}

// What comes a second time is left out until time has caught up.
func TestPaceOverlap(t *testing.T) {
	var p paced
	for i := range 100 {
		p.feed(time.Duration(i) * 20 * time.Millisecond)
	}
	for i := 80; i < 110; i++ {
		p.feed(time.Duration(i) * 20 * time.Millisecond)
	}
	if p.skipped < 15 || p.skipped > 20 {
		t.Errorf("%d packets were left out, of 20 that came twice", p.skipped)
	}
}

// The resampler keeps a tone, and lets nothing fold back.
func TestResample(t *testing.T) {
	for _, c := range []struct {
		from, to int
		hz       float64
		kept     bool
	}{
		{44100, 48000, 1000, true}, {44100, 48000, 15000, true}, {22050, 48000, 5000, true}, {16000, 48000, 3000, true},
		{11025, 48000, 2000, true}, {8000, 48000, 1000, true}, {32000, 48000, 9000, true}, {96000, 48000, 10000, true}, {96000, 48000, 30000, false},
	} {
		r := newResampler(c.from, c.to, 2)
		in := tone(c.from, 2, c.hz, time.Second)
		var out []float32
		for len(in) > 0 { // in pieces
			n := min(2*777, len(in))
			out = r.append(out, in[:n])
			in = in[n:]
		}
		n := len(out) / 2
		if n < c.to*98/100 || n > c.to {
			t.Errorf("%d to %d: %d samples of a second", c.from, c.to, n)
		}
		var power float64
		for i := c.to / 10; i < n; i++ {
			power += float64(out[2*i]) * float64(out[2*i])
		}
		power /= float64(n - c.to/10)
		switch {
		case c.kept:
			if got := snr(out, c.hz, c.to/10, n-100); got < 70 {
				t.Errorf("%.0f Hz from %d to %d: %.1f dB of signal to noise", c.hz, c.from, c.to, got)
			}
			if power < 0.078 || power > 0.082 { // 0.4² / 2
				t.Errorf("%.0f Hz from %d to %d: power %.4f", c.hz, c.from, c.to, power)
			}
		case power > 1e-7:
			t.Errorf("%.0f Hz from %d to %d: power %.2g is left", c.hz, c.from, c.to, power)
		}
	}
}
