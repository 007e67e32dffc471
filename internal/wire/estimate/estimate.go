// Package estimate finds out how much a way to a peer carries, from what the peer says
// of packets that were sent to it: how they came late, and how many did not come
// (transport-wide congestion control).
//
// It does less than Google's congestion control, which tells an encoder what to send:
// here somebody chooses between a few layers of a picture, so that a figure that stays
// where nothing is wrong is worth more than one that is exact. It goes down where a
// queue stands on the way, or many packets are lost, and up to whatever has come without
// either. Nothing here reads a clock.
package estimate

import "time"

// A Result is what became of one packet.
type Result struct {
	Sent time.Duration // of our clock, from any moment
	// Tick is when it came, in units of 250 us of the peer's clock, which counts around
	// in 32 bits.
	Tick uint32
	Came bool
	Size int // in bytes, on the wire
}

// The rates are in bits a second.
const (
	// Start is what a way is taken to carry before anything is known.
	Start = 1_000_000
	// Least is what it never falls below.
	Least = 30_000

	// queueMost is how long packets may wait on the way without being too many: the
	// least of the waiting times of standing, since a great picture may wait for
	// itself.
	queueMost = 70 * time.Millisecond
	standing  = 400 * time.Millisecond
	// baseTime is how long the shortest delay is remembered, twice.
	baseTime = 10 * time.Second
	// backOff is how much of what comes is taken to be carried where a queue stands.
	backOff = 0.85
	// downEvery is the least time between two steps down.
	downEvery = 500 * time.Millisecond
	// lossMost is the share of lost packets that is borne: radio loses some without
	// carrying less. It is measured over lossTime.
	lossMost = 0.1
	lossTime = time.Second
	// growth is how much is tried more in a second where all is well, up to ahead
	// times what comes.
	growth = 0.08
	ahead  = 1.5
	// slot is the step in which what comes is counted, and slots over how many.
	slot  = 100 * time.Millisecond
	slots = 5
)

// An Estimator is for one peer. The zero value is ready.
type Estimator struct {
	rate  float64
	begun bool
	last  time.Duration // of our clock, when something was said

	tick  uint32        // the peer's clock at the newest packet,
	clock time.Duration // as a time without end

	base, before time.Duration // shortest delays of two halves
	turned       time.Duration
	queues       []waited

	counts  [slots + 1]int // bytes that came in each slot; the newest is not over
	counted int64          // number of the newest slot

	sent, lost int // packets since asked
	loss       float64
	asked      time.Duration
	congested  time.Duration // when it last was
	down       time.Duration
	ever       bool // congested is a time
}

// waited is the shortest waiting time that one feedback has shown.
type waited struct{ at, least time.Duration }

// Rate returns how much the way carries, in bits a second.
func (e *Estimator) Rate() int {
	if e.rate == 0 {
		return Start
	}
	return int(e.rate)
}

// Coming returns how much has come of late, in bits a second.
func (e *Estimator) Coming() int {
	n := 0
	for i := range int64(slots) {
		n += e.counts[(e.counted+1+i)%(slots+1)] // those that are over
	}
	return n * 8 * int(time.Second/slot) / slots
}

// Since returns for how long nothing was wrong, at a moment of our clock.
func (e *Estimator) Since(now time.Duration) time.Duration {
	if !e.ever {
		return now
	}
	return now - e.congested
}

// Add takes what was said of packets, in the order in which they were sent, at a moment
// of our clock.
func (e *Estimator) Add(now time.Duration, all []Result) {
	if e.rate == 0 {
		e.rate, e.last, e.asked = Start, now, now
	}
	least, came := time.Duration(1<<62), false
	for i := range all {
		r := &all[i]
		e.sent++
		if !r.Came {
			e.lost++
			continue
		}
		came = true
		at := e.unwrap(r.Tick)
		least = min(least, e.delay(at-r.Sent, now))
		e.count(at, r.Size)
	}
	if came {
		e.queues = append(e.queues, waited{now, least})
	}
	e.judge(now)
	e.last = now
}

// unwrap makes a time of a tick.
func (e *Estimator) unwrap(tick uint32) time.Duration {
	if !e.begun {
		e.begun, e.tick = true, tick
	}
	d := time.Duration(int32(tick-e.tick)) * 250 * time.Microsecond
	if d > 0 {
		e.tick = tick
		e.clock += d
		return e.clock
	}
	return e.clock + d
}

// delay returns how much longer a packet took than the fastest of late.
func (e *Estimator) delay(d, now time.Duration) time.Duration {
	switch {
	case e.turned == 0:
		e.base, e.before, e.turned = d, d, now
	case now-e.turned > baseTime:
		e.before, e.base, e.turned = e.base, d, now
	}
	e.base = min(e.base, d)
	return d - min(e.base, e.before)
}

// count counts what came.
func (e *Estimator) count(at time.Duration, size int) {
	n := int64(at / slot)
	if n-e.counted > slots {
		e.counted = n - slots - 1 // nothing came for long
	}
	for e.counted < n {
		e.counted++
		e.counts[e.counted%(slots+1)] = 0
	}
	if n >= 0 && e.counted-n <= slots {
		e.counts[n%(slots+1)] += size
	}
}

// judge decides what the way carries now.
func (e *Estimator) judge(now time.Duration) {
	for len(e.queues) > 0 && now-e.queues[0].at > standing {
		e.queues = append(e.queues[:0], e.queues[1:]...)
	}
	queue := time.Duration(1 << 62)
	for _, q := range e.queues {
		queue = min(queue, q.least)
	}
	stands := len(e.queues) > 1 && queue > queueMost && now-e.queues[0].at > standing/2
	coming := float64(e.Coming())
	fresh := false
	if now-e.asked >= lossTime && e.sent >= 10 {
		e.loss, fresh = float64(e.lost)/float64(e.sent), true
		e.sent, e.lost, e.asked = 0, 0, now
	}
	switch {
	case stands:
		e.worse(now, backOff*coming)
	case e.loss > lossMost:
		if fresh {
			e.worse(now, max(backOff*coming, min(e.rate, ahead*coming)*(1-e.loss/2)))
		}
	case coming > e.rate:
		e.rate = coming
	case e.rate < ahead*coming:
		e.rate = min(ahead*coming, e.rate*(1+growth*(now-e.last).Seconds()))
	}
	e.rate = max(e.rate, Least)
}

// worse notes that the way carries less.
func (e *Estimator) worse(now time.Duration, rate float64) {
	e.congested, e.ever = now, true
	if now-e.down >= downEvery || e.down == 0 {
		e.down = now
		e.rate = min(e.rate, rate)
	}
}
