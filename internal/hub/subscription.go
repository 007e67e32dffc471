package hub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"weir/internal/media"
)

// Options say how a reader wants its frames.
type Options struct {
	// LiveEdge waits for the next random access point rather than start at
	// the newest one held.
	LiveEdge bool
	// Gather is how long the reader may be let sleep while frames come, so
	// that it takes many at once. A viewer is let sleep as far as the stream has
	// many readers; with few, each frame is given at once. A passive reader always
	// is.
	Gather time.Duration
	// Passive marks a reader that is not a viewer: it holds no stream.
	Passive bool
	// Inside is the protocol of an insider, who reads its private publications too.
	Inside string
	// Relay marks one that passes the stream on to viewers elsewhere; see
	// [Stream.Watched].
	Relay bool
}

// An EndError is returned by Read, once, where a publication ended. Reading may
// go on: the frames of the next publication follow.
type EndError struct {
	Cause error // nil for a normal end
}

// Error tells the cause.
func (e *EndError) Error() string {
	if e.Cause == nil {
		return "publication ended"
	}
	return fmt.Sprintf("publication ended: %v", e.Cause)
}

// Unwrap returns the cause.
func (e *EndError) Unwrap() error { return e.Cause }

// A Subscription is one reader's place in a stream. It is used by one
// goroutine, but for Close, which anybody may call.
type Subscription struct {
	// Immutable.
	stream *Stream
	wake   chan struct{} // holds one wake-up; never closed

	// Guarded by stream.mu.
	options Options // of which Gather may change
	pos     uint64  // sequence number of the next frame
	seek    bool    // wait for a random access point
	resumed bool    // frames were lost before the next one
	waiting bool
	closed  bool
	parked  bool      // counted as a viewer, but reads no more
	due     time.Time // when it has gathered long enough
	dropped uint64
	skips   uint64
}

const (
	// unhurried is the number of readers of a stream up to which each frame
	// is given at once.
	unhurried = 64
	// gatherPer is how much longer readers gather for each further one.
	gatherPer = time.Millisecond / 8
)

func (s *Stream) subscribe(o Options) *Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := &Subscription{stream: s, options: o, wake: make(chan struct{}, 1), pos: s.next, seek: true}
	if s.group != 0 && s.settings.Cache && !o.LiveEdge && !s.hidden(o.Inside) {
		sub.pos, sub.seek = s.group, false
	}
	s.subs = append(s.subs, sub)
	s.minPos = min(s.minPos, sub.pos)
	if !o.Passive {
		s.viewers++
	}
	if o.Relay {
		s.relays++
	}
	return sub
}

// Stream returns the stream that is read.
func (b *Subscription) Stream() *Stream { return b.stream }

// SetGather changes how long the reader may be let sleep, from its next Read on.
func (b *Subscription) SetGather(d time.Duration) {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	b.options.Gather = d
}

// Read fills dst with the next frames, waiting for at least one. It starts at a
// random access point, and goes on at one when the reader was too slow.
//
// The error is the cause of ctx, an *EndError where a publication ended, or
// ErrClosed when the stream or the subscription is gone.
func (b *Subscription) Read(ctx context.Context, dst []*media.Frame) (int, error) {
	for {
		n, err := b.take(dst)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			b.stream.mu.Lock()
			b.waiting = false
			b.stream.mu.Unlock()
			return 0, context.Cause(ctx)
		}
	}
}

func (b *Subscription) take(dst []*media.Frame) (n int, err error) {
	s := b.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || b.closed || b.parked {
		return 0, ErrClosed
	}
	b.waiting = false
	if s.hidden(b.options.Inside) {
		// What is published is none of its business; it waits as if nobody did.
		b.pos, b.seek, b.waiting = s.next, true, true
		return 0, nil
	}
	b.place()
	if b.pos < s.next {
		if now := time.Now(); now.Before(b.due) {
			b.waiting = true
			s.notify(now)
			return 0, nil
		}
	}
	for n < len(dst) && b.pos < s.next {
		e := s.at(b.pos)
		if e.frame == nil {
			if n > 0 {
				return n, nil
			}
			b.pos++
			b.seek = true
			if e.kept && !b.options.Passive {
				b.place() // the next publication begins where it may be started at
				continue
			}
			return 0, &EndError{e.cause}
		}
		dst[n] = e.frame
		n++
		b.pos++
	}
	switch {
	case n == 0:
		b.waiting = true
	case b.options.Gather > 0 && b.options.Passive:
		b.due = time.Now().Add(b.options.Gather)
	case b.options.Gather > 0 && len(s.subs) > unhurried:
		b.due = time.Now().Add(min(b.options.Gather, time.Duration(len(s.subs)-unhurried)*gatherPer))
	default:
		b.due = time.Time{}
	}
	return n, nil
}

// place moves a reader that was overtaken, or that waits for a random access
// point, to where it may read.
func (b *Subscription) place() {
	s := b.stream
	if b.pos < s.first {
		b.skips++
		s.counters.Skips++
		to := s.newestEnd()
		if s.group != 0 {
			to = s.group
		}
		b.dropped += to - b.pos
		s.counters.Dropped += to - b.pos
		b.pos, b.seek, b.resumed = to, s.group == 0, true
		return
	}
	if !b.seek {
		return
	}
	// The end of a publication is told even to a reader that waits.
	for b.pos < s.next && s.at(b.pos).frame != nil && !s.at(b.pos).access {
		b.pos++
	}
	b.seek = b.pos == s.next || !s.at(b.pos).access
}

// Resumed reports whether frames were lost before the ones that the last Read
// returned, and forgets it.
func (b *Subscription) Resumed() bool {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	r := b.resumed
	b.resumed = false
	return r
}

// Dropped returns how many frames the reader lost by being slow, and how many
// times that happened.
func (b *Subscription) Dropped() (frames, times uint64) {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	return b.dropped, b.skips
}

// SkipToLive makes the reader go on where a new one would start, which may be
// before where it is.
func (b *Subscription) SkipToLive() {
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	s := b.stream
	if s.closed || b.closed {
		return
	}
	b.pos, b.seek, b.resumed = s.next, true, true
	if s.group != 0 && s.settings.Cache && !s.hidden(b.options.Inside) {
		b.pos, b.seek = s.group, false
		s.minPos = min(s.minPos, b.pos) // it may have been further on
	}
}

// Park stops reading for good, while the subscription still counts as a viewer
// until it is closed: the reader gets the stream by a [Tap].
func (b *Subscription) Park() {
	s := b.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	b.parked = true
	if i := slices.Index(s.subs, b); i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	}
}

// Close ends the subscription; a Read that waits returns ErrClosed. Later
// calls do nothing.
func (b *Subscription) Close() {
	s := b.stream
	s.mu.Lock()
	if b.closed {
		s.mu.Unlock()
		return
	}
	b.closed = true
	b.wakeUp()
	if i := slices.Index(s.subs, b); i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	}
	if !b.options.Passive {
		s.viewers--
	}
	if b.options.Relay {
		s.relays--
	}
	s.mu.Unlock()
	s.hub.release(s)
}

// wakeUp never blocks. stream.mu is held.
func (b *Subscription) wakeUp() {
	b.waiting = false
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
