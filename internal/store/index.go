package store

import (
	"sync"
	"time"

	"weir/internal/media"
)

// A Segment is one piece of a stream. It is immutable once it is in an Index.
type Segment struct {
	Seq      int64
	Duration time.Duration
	// Discontinuity marks a segment that does not go on where the one before
	// ended: another publication, or other codec parameters.
	Discontinuity bool
	// Began is when its first frame arrived, and Floor, with Rules.Floor, the
	// number of Fragments since 1970 that it is counted as.
	Began time.Time
	Floor int64
	// Layout is what it consists of, and Start the DTS of its first frame.
	Layout *media.Layout
	Start  time.Duration
	// TS is the segment as an MPEG transport stream.
	TS []byte
	// Name and URI are of those who serve it: a file's name, and what playlists
	// call it.
	Name, URI string
}

// An Index is the newest segments of a stream, by sequence number.
type Index struct {
	mu       sync.RWMutex
	segments []*Segment // oldest first; guarded by mu
	listed   int        // how many of the newest are in the window; guarded by mu
	next     int64      // guarded by mu
}

// NewIndex returns an empty index whose first segment has the given number.
func NewIndex(first int64) *Index { return &Index{next: first} }

// Next returns the number that the next segment gets.
func (x *Index) Next() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.next
}

// Add puts a segment in, whose number must be Next. The newest segments whose
// durations fit in window are listed, at least one; those that have left the
// window stay for as long again, since a player may have just read their names,
// and are then returned as gone.
func (x *Index) Add(s *Segment, window time.Duration) (gone []*Segment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.segments = append(x.segments, s)
	x.next = s.Seq + 1
	var total time.Duration
	kept := len(x.segments)
	x.listed = 0
	for i := len(x.segments) - 1; i >= 0; i-- {
		total += x.segments[i].Duration
		if total <= window || x.listed == 0 {
			x.listed++
		}
		if total > 2*window && i < len(x.segments)-x.listed {
			break
		}
		kept = i
	}
	gone = x.segments[:kept:kept]
	x.segments = append([]*Segment(nil), x.segments[kept:]...)
	return gone
}

// Listed returns the segments of the window, oldest first. The slice must not be
// modified.
func (x *Index) Listed() []*Segment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.segments[len(x.segments)-x.listed:]
}

// All returns every segment that is held, oldest first.
func (x *Index) All() []*Segment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.segments
}
