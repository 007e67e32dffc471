// Package store keeps the newest media of each stream in pieces, cut and written
// once and listed in as many manifests as are asked for.
//
// A [Store] has one recorder for each stream that somebody lists. Whoever makes
// manifests attaches a [View]: its rules of cutting, the forms that it needs, and
// who is told of its segments. The recorder ends a [Chunk] wherever any view
// wants to cut, makes each form of it once, and gives every view its [Segment]: a
// row of whole chunks. Where rules agree, a segment is a chunk; where they do not,
// several. Memory is held by those who list: what no [Index] holds any more is
// gone.
//
// A [Run] is a line of chunks without a break, of one layout: what HLS calls the
// span between two discontinuities, and DASH a period.
//
// Writing files, names and manifests are of those who serve them.
package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"weir/internal/hub"
)

// Forms are the ways to write a chunk that a view needs.
type Forms uint8

// The forms.
const (
	TS   Forms = 1 << iota // a transport stream that begins with its tables
	MP4                    // CMAF, each track for itself
	FLV                    // FLV tags without sequence headers
	Each                   // TS and MP4, where asked for, of every track by itself too, once the stream has several of a kind
)

// A View is one listing of a stream. Its functions are called one at a time by
// the goroutine of the stream's recorder.
type View struct {
	// Rules and Forms are asked when each segment begins: where to cut, and what
	// to write its chunks in.
	Rules func() Rules
	Forms func(*Run) Forms
	// Next returns the number of the segment that begins.
	Next func() int64
	// Done is told of each segment.
	Done func(*Segment)
	// Each says whether second pictures and sounds are wanted, in [Chunk.Parts]: asked
	// when a chunk begins; nil says no.
	Each func() bool

	// Part says how long the parts are to be in which an open segment is told of, 0 for
	// none: asked when a segment begins; nil says none. Parted is told of each that is not
	// the last of its segment: a chunk, which is in no segment that Done was told of yet.
	Part   func() time.Duration
	Parted func(*Segment, *Chunk)

	// Owned by the recorder.
	part  time.Duration
	cut   cutter
	seg   *Segment
	forms Forms
	size  int  // bytes of media in seg
	ends  bool // seg ends before the frame at hand
	// With Rules.Grid:
	grid    bool // seg is on it
	partial bool // its beginning was not seen
	lost    bool // a segment that was not told of had a discontinuity
}

// A Store records streams. Make one with New.
type Store struct {
	// Immutable.
	hub   *hub.Hub
	guard func(key hub.Key, f func() error) error
	wg    sync.WaitGroup

	mu        sync.Mutex
	recorders map[hub.Key]*recorder // guarded by mu
	stopped   bool                  // guarded by mu
}

// New returns a store of the streams of h. guard calls f and makes a fault in it
// an error, so that one stream's bytes end no other's recorder.
func New(h *hub.Hub, guard func(key hub.Key, f func() error) error) *Store {
	return &Store{hub: h, guard: guard, recorders: map[hub.Key]*recorder{}}
}

// Attach has a stream recorded for v too, from its next frame on, until detach is
// called. A view that attaches when a publication begins has it from its first
// frame.
func (s *Store) Attach(key hub.Key, v *View) (detach func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return func() {}
	}
	r := s.recorders[key]
	if r == nil {
		r = s.record(key)
	}
	r.mu.Lock()
	r.views = append(slices.Clone(r.views), v)
	r.mu.Unlock()
	return sync.OnceFunc(func() { s.detach(r, v) })
}

// record starts a recorder. s.mu is held.
func (s *Store) record(key hub.Key) *recorder {
	r := &recorder{store: s, key: key, gather: gather, usual: gather, done: make(chan struct{})}
	_, r.release = s.hub.Hold(key)
	r.sub = s.hub.Subscribe(key, hub.Options{Passive: true, Gather: gather})
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	s.recorders[key] = r
	s.wg.Go(func() {
		defer close(r.done)
		r.loop(ctx)
	})
	return r
}

// detach takes a view away; the recorder ends with its last.
func (s *Store) detach(r *recorder, v *View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.views = slices.DeleteFunc(slices.Clone(r.views), func(o *View) bool { return o == v })
	if len(r.views) == 0 && s.recorders[r.key] == r {
		delete(s.recorders, r.key)
		r.cancel()
	}
}

// Finish ends the recorder of a stream; its views are told of their last segments before
// Finish returns. Views that attach later have another one.
func (s *Store) Finish(key hub.Key) {
	s.mu.Lock()
	r := s.recorders[key]
	delete(s.recorders, key)
	s.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// Stop ends all recorders; each view is told of its last segment before Stop
// returns. Views that attach later get nothing.
func (s *Store) Stop() {
	s.mu.Lock()
	s.stopped = true
	for _, r := range s.recorders {
		r.cancel()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
