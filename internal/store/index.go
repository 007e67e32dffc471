package store

import (
	"sync"
	"time"
)

// Listed is what an Index holds: a [*Segment], or what somebody made of one.
type Listed interface {
	Number() int64
	Lasts() time.Duration
}

// A Window says how much of a stream is listed: the newest Count segments, if that
// is above 0, else those whose durations fit in Duration. At least one is.
type Window struct {
	Duration time.Duration
	Count    int
	// Over lists one more than fits in Duration, the one that reaches over its
	// beginning, so that what is listed is no shorter than Duration.
	Over bool
}

func (w Window) holds(total time.Duration, count int) bool {
	if w.Count > 0 {
		return count <= w.Count
	}
	return total <= w.Duration
}

// An Index is the newest segments of one listing of a stream, by number.
type Index[T Listed] struct {
	mu       sync.RWMutex
	segments []T   // oldest first; guarded by mu
	listed   int   // how many of the newest are in the window; guarded by mu
	next     int64 // guarded by mu
}

// NewIndex returns an empty index whose first segment has the given number.
func NewIndex[T Listed](first int64) *Index[T] { return &Index[T]{next: first} }

// Restart gives the first segment of an empty index another number.
func (x *Index[T]) Restart(first int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next = first
}

// Next returns the number that the next segment gets.
func (x *Index[T]) Next() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.next
}

// Add puts a segment in, whose number must be Next. Those that have left the
// window stay for as long again and the duration of a segment, since a player may
// have just read their names (RFC 8216 section 6.2.2), and are then returned as
// gone.
func (x *Index[T]) Add(s T, w Window) (gone []T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.segments = append(x.segments, s)
	x.next = s.Number() + 1
	var total, longest time.Duration
	for _, o := range x.segments {
		longest = max(longest, o.Lasts())
	}
	keep := w
	keep.Duration = max(w.Duration, longest) // a playlist has one segment at least
	kept := len(x.segments)
	x.listed = 0
	for i := len(x.segments) - 1; i >= 0; i-- {
		span := total // of what must fit
		total += x.segments[i].Lasts()
		if !w.Over {
			span = total
		}
		count := len(x.segments) - i
		if w.holds(span, count) || x.listed == 0 {
			x.listed++
		}
		// One that is too long by itself pushed the last out of the window.
		if !keep.holds(span/2-longest, count/2) && i < len(x.segments)-x.listed {
			break
		}
		kept = i
	}
	gone = x.segments[:kept:kept]
	x.segments = append([]T(nil), x.segments[kept:]...)
	return gone
}

// Listed returns the segments of the window, oldest first. The slice must not be
// modified.
func (x *Index[T]) Listed() []T {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.segments[len(x.segments)-x.listed:]
}

// All returns every segment that is held, oldest first.
func (x *Index[T]) All() []T {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.segments
}
