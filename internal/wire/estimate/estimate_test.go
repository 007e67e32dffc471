package estimate

import (
	"math/rand/v2"
	"testing"
	"time"
)

// way is a simulated way: so many bits a second, of which buffer bytes may wait.
type way struct {
	rate   int
	buffer int
	delay  time.Duration
	shake  time.Duration
	loss   float64
	free   time.Duration // when the last packet is through
	rand   *rand.Rand
}

// send returns when a packet comes, false if it does not.
func (w *way) send(now time.Duration, size int) (time.Duration, bool) {
	if w.rand.Float64() < w.loss {
		return 0, false
	}
	through := max(now, w.free)
	if w.rate > 0 {
		if int((through-now).Seconds()*float64(w.rate)/8) > w.buffer {
			return 0, false
		}
		through += time.Duration(size*8) * time.Second / time.Duration(w.rate)
	}
	w.free = through
	at := through + w.delay
	if w.shake > 0 {
		at += time.Duration(w.rand.Int64N(int64(w.shake)))
	}
	return at, true
}

// run sends frames at a rate, with feedback each 50 ms, until a time.
func run(e *Estimator, w *way, from, to time.Duration, rate int, each func(now time.Duration)) {
	type flying struct {
		Result
		at time.Duration
	}
	var all []flying
	const step = 10 * time.Millisecond
	for now := from; now < to; now += step {
		if now%(40*time.Millisecond) == 0 {
			size := rate / 25 / 8
			if now%(2*time.Second) == 0 {
				size *= 6
			}
			for ; size > 0; size -= 1200 {
				n := min(size, 1200)
				at, ok := w.send(now, n)
				// The peer's clock began long ago, and is about to wrap.
				all = append(all, flying{Result{Sent: now, Came: ok, Size: n, Tick: uint32(1<<32 - 20000 + int64(at/(250*time.Microsecond)))}, at})
			}
		}
		if now%(50*time.Millisecond) == 0 {
			n, told := 0, []Result(nil)
			last := -1
			for i := range all { // what is behind one that came is told of
				if all[i].Came && all[i].at+w.delay <= now {
					last = i
				}
			}
			for n = 0; n <= last; n++ {
				told = append(told, all[n].Result)
			}
			all = all[n:]
			if len(told) > 0 {
				e.Add(now, told)
			}
		}
		if each != nil {
			each(now)
		}
	}
}

func newWay(rate int) *way {
	return &way{rate: rate, buffer: 200_000, delay: 20 * time.Millisecond, rand: rand.New(rand.NewPCG(1, 2))}
}

const second = time.Second

func TestEstimate(t *testing.T) {
	for name, c := range map[string]struct {
		way         way
		sent        int
		least, most int // of the rate after 10 s
	}{
		"nothing is wrong":              {way{}, 2_500_000, 2_400_000, 5_000_000},
		"as much as it carries":         {way{rate: 3_000_000}, 2_500_000, 2_300_000, 5_000_000},
		"too much":                      {way{rate: 1_000_000}, 2_500_000, 500_000, 1_050_000},
		"much too much":                 {way{rate: 300_000}, 2_500_000, 150_000, 320_000},
		"a little is proof of little":   {way{}, 200_000, Start, Start},
		"unsteady":                      {way{shake: 40 * time.Millisecond}, 2_500_000, 2_300_000, 5_000_000},
		"radio loses some":              {way{loss: 0.05}, 2_500_000, 2_200_000, 5_000_000},
		"loss without a queue":          {way{rate: 1_000_000, buffer: 1}, 2_500_000, 300_000, 1_300_000},
		"so much is lost it must be it": {way{loss: 0.3}, 2_500_000, Least, 1_800_000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWay(c.way.rate)
			w.shake, w.loss = c.way.shake, c.way.loss
			if c.way.buffer > 0 {
				w.buffer = 6000
			}
			var e Estimator
			run(&e, w, 0, 10*second, c.sent, nil)
			if r := e.Rate(); r < c.least || r > c.most {
				t.Errorf("%d bit/s, want %d to %d", r, c.least, c.most)
			}
		})
	}
}

// Where a way becomes narrow the estimate follows within two seconds, and comes back
// when it is proved that more comes.
func TestEstimateFollows(t *testing.T) {
	var e Estimator
	w := newWay(4_000_000)
	run(&e, w, 0, 5*second, 2_500_000, nil)
	before := e.Rate()
	w.rate = 800_000
	found := time.Duration(0)
	run(&e, w, 5*second, 9*second, 2_500_000, func(now time.Duration) {
		if found == 0 && e.Rate() < 850_000 {
			found = now
		}
	})
	if found == 0 || found > 7*second {
		t.Errorf("found after %v; before %d, now %d", found-5*second, before, e.Rate())
	}
	w.rate = 4_000_000
	run(&e, w, 9*second, 12*second, 500_000, nil)
	if e.Since(12*second) < second/2 {
		t.Errorf("it is wrong still, after %v", e.Since(12*second))
	}
	if r := e.Rate(); r > 1_000_000 {
		t.Errorf("%d bit/s, and nothing has proved it", r)
	}
	run(&e, w, 12*second, 13*second, 2_500_000, nil)
	if r := e.Rate(); r < 2_000_000 {
		t.Errorf("%d bit/s after a second of 2,500,000", r)
	}
}

// A great picture waits for itself without being taken for a queue that stands.
func TestGreatPictureIsNoQueue(t *testing.T) {
	var e Estimator
	w := newWay(1_000_000)
	run(&e, w, 0, 20*second, 500_000, nil) // key frames of 15 kB take 120 ms
	if e.ever {
		t.Errorf("congested at %v, %d bit/s", e.congested, e.Rate())
	}
}

func TestEstimateIsBounded(t *testing.T) {
	var e Estimator
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20000 {
		all := make([]Result, r.IntN(50))
		for j := range all {
			all[j] = Result{Sent: time.Duration(r.Int64N(int64(20000 * second))), Tick: r.Uint32(), Came: r.IntN(3) > 0, Size: r.IntN(1500)}
		}
		e.Add(time.Duration(i)*10*time.Millisecond, all)
	}
	if e.Rate() < Least || cap(e.queues) > 1000 {
		t.Errorf("%d bit/s, %d", e.Rate(), cap(e.queues))
	}
}
