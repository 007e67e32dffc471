package link

import (
	"iter"
	"net"
	"sync"
)

// Ride runs f, which reads nc, and returns when f does. Where nc is read at a [Beat], f
// is run on by the Beat, in its own goroutine, when there is something to read: handing
// each of a few packets to a goroutine of its own has Go wake a thread that finds nothing
// to do, which costs more than what f does with them. f must not panic, and must not
// wait for anything but nc and locks that are held for moments; see Dismount.
func Ride(nc net.Conn, f func()) {
	q, ok := nc.(*quiet)
	if !ok {
		f()
		return
	}
	q.ride.run(f, q.woken)
}

// Dismount is called by the f of [Ride] before it waits for anything else, or may have
// to: from there on it is run by who called Ride, up to where it waits for q again.
func (q *quiet) Dismount() { q.ride.leave() }

// A ride is a reader that is run on by whoever has something for it: a coroutine, of
// which one goroutine at a time holds mu. The zero value is that of a reader without.
type ride struct {
	mu    sync.Mutex
	next  func() (struct{}, bool)
	yield func(struct{}) bool // set by f's goroutine, which alone uses it
	guest bool                // the Beat runs it; guarded by mu
	read  int                 // bytes while the Beat runs it; guarded by mu
	away  bool                // it wants to be run by its own goroutine; guarded by mu
}

// run runs f, in turns with the Beat, which sends to woken what it does not do itself.
func (r *ride) run(f func(), woken <-chan struct{}) {
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		r.yield = yield
		defer func() { r.yield = nil }()
		f()
	})
	defer stop()
	r.mu.Lock()
	r.next = next
	for {
		_, more := next()
		if !more {
			break
		}
		r.mu.Unlock()
		<-woken
		r.mu.Lock()
	}
	r.next = nil
	r.mu.Unlock()
}

// wait is called by the reader and returns when it is to go on.
func (r *ride) wait(woken <-chan struct{}) {
	if r.yield != nil {
		r.yield(struct{}{})
		return
	}
	<-woken
}

// rideMost is how many bytes a reader may read while the Beat runs it: one that is sent
// more is busy, and is not to keep others waiting.
const rideMost = 256 << 10

// has is called by the reader when it has read n bytes without waiting.
func (r *ride) has(n int) {
	if r.yield == nil || !r.guest {
		return
	}
	if r.read += n; r.read > rideMost {
		r.leave()
	}
}

// leave is called by the reader.
func (r *ride) leave() {
	if r.yield != nil && r.guest {
		r.away = true
		r.yield(struct{}{})
	}
}

// on runs the reader on up to where it waits for more. It returns false if that is to be
// done by the reader's own goroutine.
func (r *ride) on() bool {
	// Its own goroutine may be on the way out of it still.
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	if r.next == nil {
		return false
	}
	r.guest, r.read = true, 0
	_, more := r.next()
	r.guest = false
	back := more && !r.away
	r.away = false
	return back
}
