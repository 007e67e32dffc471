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
	// blockSize is the memory that a reel takes at a time.
	blockSize = 256 << 10
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
	loops  []*loopReel // by the number of the loop
	// gather is how long its viewers may wait for more to come; 0 means that
	// every frame is sent at once.
	gather time.Duration

	mu sync.Mutex
	// All below is guarded by mu.
	form    form
	blocks  []block
	entries []entry
	group   uint64 // offset of the newest entry where a viewer may start, nowhere if none is kept
	frames  int    // in the newest group
	mark    uint64 // offset of the newest mark, nowhere if there is none yet
	head    uint64
	last    time.Duration
	layout  *media.Layout
	limits  hub.Settings
	viewers int
}

type reelKey struct {
	stream *hub.Stream
	form   string
}

type block struct {
	base uint64
	b    []byte // len is what is written
}

// An entry is one frame, or the end of a publication.
type entry struct {
	off    uint64
	dts    time.Duration
	access bool // a viewer may start here
	fresh  bool // the layout is another than before: every viewer needs its headers
	end    bool
	start  *start // what a viewer that starts here must be told; set for access and fresh
}

// start is what a prologue is made of.
type start struct {
	layout *media.Layout
	dts    time.Duration
	bases  []base // RTMP: where the clock of each chunk stream stands
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
	// bases returns where the clocks stand before f; fresh says that f is the
	// first of its layout.
	bases(f *media.Frame, fresh bool) []base
	// prologue appends what a viewer needs that starts, or starts again. It may
	// change only v.
	prologue(dst []byte, v *progress, s *start) []byte
	// epilogue appends what ends an answer well.
	epilogue(dst []byte) []byte
}

// progress is what a form remembers of a viewer.
type progress struct {
	headed bool  // the head of the file was sent
	zero   int64 // RTMP: the time in ms that the viewer counts from
}

func newReel(st *hub.Stream, key reelKey, f form, gather time.Duration, loops int) *reel {
	return &reel{stream: st, key: key, form: f, gather: gather, loops: make([]*loopReel, loops), group: nowhere, mark: nowhere, limits: st.Settings()}
}

// Frame implements hub.Tap.
func (r *reel) Frame(f *media.Frame, access bool) {
	r.mu.Lock()
	n := r.form.size(f)
	if n == 0 {
		r.mu.Unlock()
		return
	}
	e := entry{off: r.head, dts: f.DTS, access: access, fresh: f.Layout != r.layout}
	if e.fresh {
		r.layout = f.Layout
		r.mark = r.head
	}
	if e.fresh || access {
		e.start = &start{layout: f.Layout, dts: f.DTS, bases: r.form.bases(f, e.fresh)}
	}
	b := r.room(n)
	b.b = r.form.appendFrame(b.b, f)
	r.head = b.base + uint64(len(b.b))
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
	r.mu.Unlock()
	r.tell()
}

// End implements hub.Tap.
func (r *reel) End(error) {
	r.mu.Lock()
	r.entries = append(r.entries, entry{off: r.head, dts: r.last, end: true})
	r.mark = r.head
	r.group = nowhere
	r.layout = nil
	r.limits = r.stream.SettingsLocked()
	r.mu.Unlock()
	r.tell()
}

// tell wakes the loops that sleep until there is something to send.
func (r *reel) tell() {
	for _, lr := range r.loops {
		if lr != nil {
			lr.loop.grown(r.gather == 0)
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
	r.blocks = append(r.blocks, block{r.head, make([]byte, 0, max(blockSize, n))})
	return &r.blocks[len(r.blocks)-1]
}

// evict drops entries that neither newcomers nor viewers need.
func (r *reel) evict() {
	keep := min(r.group, r.head)
	for _, lr := range r.loops {
		if lr != nil {
			keep = min(keep, lr.need.Load())
		}
	}
	n := 0
	for n < len(r.entries)-1 {
		e := &r.entries[n]
		tooMuch := r.head-e.off > reelBytes
		if !tooMuch && (e.off >= keep || e.off >= r.group) && r.last-e.dts <= r.limits.Queue {
			break
		}
		if e.off >= r.group && !tooMuch {
			break
		}
		n++
	}
	if n == 0 {
		return
	}
	r.entries = slices.Delete(r.entries, 0, n)
	tail := r.entries[0].off
	if r.group < tail {
		r.group = nowhere
	}
	dropped := 0
	for dropped < len(r.blocks)-1 && r.blocks[dropped+1].base <= tail {
		dropped++
	}
	if dropped > 0 {
		r.blocks = slices.Delete(r.blocks, 0, dropped)
	}
}

// view is what a loop sees of a reel in one turn.
type view struct {
	head, tail, group, mark uint64
	blocks                  []block // shared slice headers, copied
}

// look fills v, whose memory is used again.
func (r *reel) look(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.head, v.group, v.mark = r.head, r.group, r.mark
	v.tail = r.head
	if len(r.entries) > 0 {
		v.tail = r.entries[0].off
	}
	v.blocks = append(v.blocks[:0], r.blocks...)
}

// entryAt returns the first entry that begins at or after off. ok is false if
// there is none.
func (r *reel) entryAt(off uint64) (e entry, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.entries, off, func(e entry, off uint64) int {
		if e.off < off {
			return -1
		}
		return 1 // the first of those that begin there: an end stands before what follows
	})
	if i == len(r.entries) {
		return entry{}, false
	}
	return r.entries[i], true
}

// next returns where the entry ends that holds the byte at off, which is inside
// an entry and not at its start.
func (r *reel) next(off uint64) uint64 {
	if e, ok := r.entryAt(off); ok {
		return e.off
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// markFrom returns the first entry at or after off that is fresh or an end.
func (r *reel) markFrom(off uint64, after int) (e entry, index int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.entries {
		e := &r.entries[i]
		if e.off >= off && (e.fresh || e.end) {
			if after > 0 {
				after--
				continue
			}
			return *e, i, true
		}
	}
	return entry{}, 0, false
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
	// need is the lowest position of a viewer of this loop that is behind.
	need atomic.Uint64
	// viewers and seen are owned by the loop.
	viewers []*outlet
	view    view
	seen    uint64
}

// waker is the part of a loop that a reel calls.
type waker interface{ grown(urgent bool) }
