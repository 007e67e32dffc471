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
	next    time.Time // when the goroutine looks again; guarded by mu
	sooner  chan struct{}

	// Owned by the goroutine.
	answered []*quiet
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
		b.sooner = make(chan struct{}, 1)
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
	<-q.woken
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

// rest is the longest that the goroutine sleeps while nobody waits, before it
// ends.
const rest = 100 * time.Millisecond

func (b *Beat) run() {
	idle := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-b.sooner:
		}
		now := time.Now()
		next := now.Add(rest)
		b.mu.Lock()
		if len(b.waiting) == 0 {
			if idle++; idle > 1 {
				b.running = false
				b.mu.Unlock()
				return
			}
		} else {
			idle = 0
		}
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
		b.mu.Unlock()
		// Only now, so that none of them comes back while the lock is held.
		for _, q := range b.answered {
			q.woken <- struct{}{}
		}
		clear(b.answered)
		b.answered = b.answered[:0]
		timer.Reset(time.Until(next))
	}
}
