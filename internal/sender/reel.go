package sender

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

const (
	// A reel takes memory in blocks of a quarter of what it holds, so that one of a
	// small stream is small, within these bounds.
	minBlock, maxBlock = 16 << 10, 256 << 10
	// reelBytes bounds what a reel holds for viewers that are behind.
	reelBytes = 64 << 20
	// nowhere is a position that does not hold anything back.
	nowhere = math.MaxUint64
)

// A reel is the ready bytes of one stream in one wire form, one entry a frame,
// made once for all its viewers. It is fed by whoever publishes (it is a
// [hub.Tap]) and read by the send loops, for whom a viewer is a position in it.
//
// Positions count bytes since the reel began. Bytes below the head never change,
// so they may be sent without a lock; entries do not cross blocks.
type reel struct {
	// Immutable.
	stream *hub.Stream
	key    reelKey
	// gather is how long its viewers may wait for more to come; 0 means as little
	// as can be.
	gather time.Duration

	mu sync.Mutex
	// All below is guarded by mu. The slice loops, by the number of the loop, is
	// replaced rather than changed.
	loops   []*loopReel
	form    form
	blocks  []block
	entries []entry
	marks   []entry // those of entries that are fresh or an end
	seq     uint64  // of the newest entry
	group   uint64  // offset of the newest entry where a viewer may start, nowhere if none is kept
	frames  int     // in the newest group
	head    uint64
	ripe    uint64 // the head when something came last that does not wait: see [loop.holds]
	last    time.Duration
	layout  *media.Layout
	limits  hub.Settings
	viewers int
	owed    bool // a frame where viewers may start had no place here: the next entry has it
}

type reelKey struct {
	stream *hub.Stream
	spec   Spec
	urgent bool // its viewers wait as little as can be
}

type block struct {
	base uint64
	b    []byte // len is what is written
}

// An entry is one frame, or the end of a publication.
type entry struct {
	seq    uint64 // counts entries, from 1
	off    uint64
	dts    time.Duration
	access bool // a viewer may start here
	fresh  bool // the layout is another than before: every viewer needs its headers
	end    bool
	kept   bool   // viewers do not hear of the end
	start  *start // what a viewer that starts here must be told; set for access and fresh
}

// start is what a prologue is made of.
type start struct {
	layout *media.Layout
	dts    time.Duration
	seq    uint64 // of the frame
	bases  []base // RTMP: where the clock of each chunk stream stands
	tables []byte // TS: what the entry has not itself
	rtsp   *rtspMoment
}

type base struct {
	track *media.Track
	ms    int64
}

// A form encodes frames for a reel. Its methods are called in the order of the
// stream, under the reel's lock, but for prologue.
type form interface {
	// size bounds what appendFrame appends.
	size(f *media.Frame) int
	appendFrame(dst []byte, f *media.Frame) []byte
	// note keeps in s what a newcomer will need to know of how things stand before
	// f; fresh says that f is the first of its layout.
	note(s *start, f *media.Frame, fresh bool)
	// prologue appends what a viewer needs that starts, starts again, or comes to a
	// new layout. It may change only v.
	prologue(dst []byte, v *progress, s *start) []byte
	// epilogue appends what ends an answer well.
	epilogue(dst []byte) []byte
}

// progress is what a form remembers of a viewer.
type progress struct {
	headed bool  // the head of the file was sent
	zero   int64 // RTMP: the time in ms that the viewer counts from
	rtsp   *RTSPViewer
	over   bool // what follows is none that the viewer can play: it is to end
}

func newReel(st *hub.Stream, key reelKey, f form, gather time.Duration, loops int) *reel {
	return &reel{stream: st, key: key, form: f, gather: gather, loops: make([]*loopReel, loops), group: nowhere, limits: st.Settings()}
}

// Frame implements hub.Tap.
func (r *reel) Frame(f *media.Frame, access bool) { r.tell(r.take(f, access)) }

// take appends an entry and returns the loops to tell of it.
func (r *reel) take(f *media.Frame, access bool) []*loopReel {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.form.size(f)
	if n == 0 {
		r.owed = r.owed || access
		return nil
	}
	access, r.owed = access || r.owed, false
	r.seq++
	e := entry{seq: r.seq, off: r.head, dts: f.DTS, access: access, fresh: f.Layout != r.layout}
	if e.fresh || access {
		e.start = &start{layout: f.Layout, dts: f.DTS, seq: f.Seq}
		r.form.note(e.start, f, e.fresh)
	}
	if e.fresh {
		r.layout = f.Layout
		r.marks = append(r.marks, e)
	}
	b := r.room(n)
	b.b = r.form.appendFrame(b.b, f)
	r.head = b.base + uint64(len(b.b))
	if f.Track.Kind != media.Audio || e.fresh || f.Layout.Main(media.Video) == nil {
		r.ripe = r.head
	}
	r.last = max(r.last, f.DTS)
	r.entries = append(r.entries, e)
	r.frames++
	switch {
	case access:
		r.group, r.frames = e.off, 0
	case r.limits.CacheFrames > 0 && r.frames > r.limits.CacheFrames:
		r.group = nowhere
	}
	r.evict()
	return r.loops
}

// End implements hub.Tap.
func (r *reel) End(cause error) {
	r.mu.Lock()
	r.seq++
	e := entry{seq: r.seq, off: r.head, dts: r.last, end: true, kept: hub.Kept(cause)}
	r.entries, r.marks = append(r.entries, e), append(r.marks, e)
	r.group, r.layout, r.owed = nowhere, nil, false
	loops := r.loops
	r.mu.Unlock()
	r.tell(loops)
}

// tell wakes the loops that sleep until there is something to send.
func (r *reel) tell(loops []*loopReel) {
	for _, lr := range loops {
		if lr != nil {
			lr.loop.grown()
		}
	}
}

// room returns the block that takes the next n bytes, at the head.
func (r *reel) room(n int) *block {
	if k := len(r.blocks); k > 0 {
		b := &r.blocks[k-1]
		if cap(b.b)-len(b.b) >= n {
			return b
		}
	}
	size := minBlock
	if len(r.entries) > 0 {
		held := int(r.head - r.entries[0].off)
		size = min(max(held/4, minBlock), maxBlock)
	}
	r.blocks = append(r.blocks, block{r.head, make([]byte, 0, max(size, n))})
	return &r.blocks[len(r.blocks)-1]
}

// evict drops entries that neither newcomers nor viewers need.
func (r *reel) evict() {
	need := uint64(nowhere)
	for _, lr := range r.loops {
		if lr != nil {
			need = min(need, lr.need.Load())
		}
	}
	newcomers := min(r.group, r.head)
	n := 0
	for ; n < len(r.entries)-1; n++ {
		e := &r.entries[n]
		if r.head-e.off > reelBytes {
			continue
		}
		if e.off >= newcomers || e.off >= need && r.last-e.dts <= r.limits.Queue {
			break
		}
	}
	if n == 0 {
		return
	}
	r.entries = slices.Delete(r.entries, 0, n)
	tail := &r.entries[0]
	if r.group < tail.off {
		r.group = nowhere
	}
	r.marks = slices.DeleteFunc(r.marks, func(m entry) bool { return m.seq < tail.seq })
	dropped := 0
	for dropped < len(r.blocks)-1 && r.blocks[dropped+1].base <= tail.off {
		dropped++
	}
	r.blocks = slices.Delete(r.blocks, 0, dropped)
}

// view is what a loop sees of a reel in one turn.
type view struct {
	head, tail, group uint64
	ripe              uint64
	mark              uint64 // sequence number of the newest mark
	blocks            []block
}

// look refreshes the view, whose memory is used again. Nothing of it is dropped
// until the loop has said anew what it needs.
func (lr *loopReel) look() {
	r, v := lr.reel, &lr.view
	r.mu.Lock()
	defer r.mu.Unlock()
	v.head, v.tail, v.group, v.ripe, v.mark = r.head, r.head, r.group, r.ripe, 0
	if len(r.entries) > 0 {
		v.tail = r.entries[0].off
	}
	if n := len(r.marks); n > 0 {
		v.mark = r.marks[n-1].seq
	}
	v.blocks = append(v.blocks[:0], r.blocks...)
	lr.need.Store(min(lr.need.Load(), v.tail))
}

// nextMark returns the first mark behind a sequence number.
func (r *reel) nextMark(after uint64) (m entry, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.marks {
		if m.seq > after {
			return m, true
		}
	}
	return entry{}, false
}

// accessFrom returns the first entry at or behind off where a viewer may start.
func (r *reel) accessFrom(off uint64) (e entry, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.find(off); i < len(r.entries); i++ {
		if r.entries[i].access {
			return r.entries[i], true
		}
	}
	return entry{}, false
}

// after returns the start of the first entry at or behind off, the head if
// there is none.
func (r *reel) after(off uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.find(off); i < len(r.entries) {
		return r.entries[i].off
	}
	return r.head
}

// find returns the index of the first entry at or behind off. mu is held.
func (r *reel) find(off uint64) int {
	i, _ := slices.BinarySearchFunc(r.entries, off, func(e entry, off uint64) int {
		if e.off < off {
			return -1
		}
		return 1
	})
	return i
}

// lost counts the entries between two positions, which a viewer missed.
func (r *reel) lost(from, to uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := range r.entries {
		if r.entries[i].off >= from && r.entries[i].off < to {
			n++
		}
	}
	return n
}

// slice appends to iov the bytes from off to end, at most three pieces, and
// returns where it stopped.
func (v *view) slice(iov [][]byte, off, end uint64) ([][]byte, uint64) {
	i := len(v.blocks) - 1
	for i > 0 && v.blocks[i].base > off {
		i--
	}
	for ; i < len(v.blocks) && off < end && len(iov) < maxPieces; i++ {
		b := &v.blocks[i]
		if off < b.base {
			break
		}
		stop := min(end-b.base, uint64(len(b.b)))
		if from := off - b.base; from < stop {
			iov = append(iov, b.b[from:stop])
			off = b.base + stop
		}
	}
	return iov, off
}

// maxPieces is how many pieces of memory one send has at most.
const maxPieces = 4

// loopReel is a reel as one loop has it.
type loopReel struct {
	reel *reel
	loop waker
	// need is the lowest position of a viewer of this loop.
	need atomic.Uint64
	// All below is owned by the loop; seen and heard are the head and the newest
	// mark that all its viewers have been shown.
	viewers []*outlet
	view    view
	seen    uint64
	heard   uint64
	// since is when the loop found sound that waits for a picture, zero if none does.
	since time.Time
}

// waker is the part of a loop that a reel calls.
type waker interface{ grown() }
