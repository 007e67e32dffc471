package link

import (
	"slices"
	"sync"
	"time"

	"weir/internal/host"
)

// A Beat reads for many connections at one time: those that [Quiet] made and
// [SetPace] gave a pace. One goroutine wakes up for all of them, reads what each
// has, and then has their readers go on, so that a server of many streams wakes a
// few times a second and not for every packet. The zero value is ready; the
// goroutine is there while somebody waits.
type Beat struct {
	// After, if it is set before the first use, is called when the readers that had
	// something at a beat have seen to it and have come back for more. One that does
	// not come back keeps it from being called at that beat.
	After func()

	mu      sync.Mutex
	waiting []*quiet  // guarded by mu
	out     int       // of those answered at the last beat, who have not come back; guarded by mu
	running bool      // guarded by mu
	next    time.Time // when somebody's time comes; guarded by mu
	planned time.Time // when Look will be called; guarded by mu
	sooner  chan struct{}
	timer   *time.Timer // guarded by mu, but for its channel

	looking  sync.Mutex
	answered []*quiet // guarded by looking
}

// await blocks the reader of q until the Beat has read something for it, or has
// found a reason not to.
func (b *Beat) await(q *quiet) {
	now := time.Now()
	b.mu.Lock()
	q.due = host.NextBeat(now, q.every)
	q.waiting = true
	b.waiting = append(b.waiting, q)
	last := false
	if q.owing {
		q.owing = false
		b.out--
		last = b.out == 0
	}
	switch {
	case !b.running:
		b.running = true
		b.sooner, b.timer = make(chan struct{}, 1), time.NewTimer(0)
		go b.run()
	case q.due.Before(b.next):
		b.next = q.due
		select {
		case b.sooner <- struct{}{}:
		default:
		}
	}
	b.mu.Unlock()
	if last && b.After != nil {
		b.After()
	}
	// What came to pass before it stood in the list told nobody.
	if q.over(now) {
		b.interrupt(q)
	}
	q.ride.wait(q.woken)
}

// interrupt has q's reader look at once why it is to stop waiting.
func (b *Beat) interrupt(q *quiet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !q.waiting || !q.attempt(time.Now()) {
		return
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(o *quiet) bool { return o == q })
	q.waiting = false
	q.woken <- struct{}{}
}

const (
	// rest is the longest that the goroutine sleeps while nobody waits, before it
	// ends.
	rest = 100 * time.Millisecond
	// late is how long the goroutine leaves a beat to who has said that it will look.
	late = 3 * time.Millisecond
	// ridesMost is how long readers are run one after another at a beat.
	ridesMost = 2 * time.Millisecond
)

func (b *Beat) run() {
	idle := 0
	for {
		select {
		case <-b.timer.C:
		case <-b.sooner:
		}
		b.mu.Lock()
		if len(b.waiting) > 0 {
			idle = 0
		} else if idle++; idle > 1 {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		b.look()
	}
}

// Look does at a beat what the Beat else does by itself a little later: for somebody who
// wakes up then as well, and is to send on what was read. next is when it will look again,
// zero if it does not know. It reports whether the readers that had something have seen
// to it.
func (b *Beat) Look(next time.Time) (through bool) {
	b.mu.Lock()
	b.planned = next
	running := b.running
	b.mu.Unlock()
	if running {
		b.look()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out == 0
}

// Plan says when Look will be called next.
func (b *Beat) Plan(next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.planned.Equal(next) {
		return
	}
	b.planned = next
	if b.running {
		b.sleep()
	}
}

// sleep sets when the goroutine looks again. mu is held.
func (b *Beat) sleep() {
	d := time.Until(b.next)
	if b.next.Equal(b.planned) {
		d += late
	}
	b.timer.Reset(d)
}

// look reads for those whose time has come and has them go on.
func (b *Beat) look() {
	b.looking.Lock()
	defer b.looking.Unlock()
	now := time.Now()
	next := now.Add(rest)
	b.mu.Lock()
	b.waiting = slices.DeleteFunc(b.waiting, func(q *quiet) bool {
		if !now.Before(q.due) {
			if q.attempt(now) {
				q.waiting, q.due = false, host.NextBeat(now, q.every)
				b.answered = append(b.answered, q)
				return true
			}
			q.due = host.NextBeat(now, q.every)
		}
		if q.due.Before(next) {
			next = q.due
		}
		return false
	})
	b.out = len(b.answered)
	for _, q := range b.answered {
		q.owing = true
		if q.due.Before(next) { // it will be back for that
			next = q.due
		}
	}
	b.next = next
	b.sleep()
	b.mu.Unlock()
	// Only now, so that none of them comes back while the lock is held.
	for _, q := range b.answered {
		// Many readers share the cores, and none waits long for others.
		if time.Since(now) > ridesMost || !q.ride.on() {
			q.woken <- struct{}{}
		}
	}
	clear(b.answered)
	b.answered = b.answered[:0]
}
