package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

const (
	// gather is how often a recorder looks at its stream: a segment is seconds
	// long, and waking for each frame costs more than cutting it.
	gather = 200 * time.Millisecond
	// gatherPart is how often where somebody is told of parts.
	gatherPart = 20 * time.Millisecond
	// segmentBytes bounds a segment whose end does not come.
	segmentBytes = 64 << 20
)

// A recorder cuts one stream for its views.
type recorder struct {
	// Immutable.
	store   *Store
	key     hub.Key
	sub     *hub.Subscription
	release func() // of the hold that keeps the time line
	cancel  context.CancelFunc
	done    chan struct{} // closed when all its views were told of all

	mu    sync.Mutex
	views []*View // guarded by mu; replaced, never changed

	// Owned by loop.
	writer
	run    *Run
	runs   int64
	chunk  *Chunk
	frames []*media.Frame // of chunk
	size   int            // bytes in frames
	gather time.Duration  // of sub
	usual  time.Duration  // what gather is where nobody is told of parts
	last   time.Duration  // newest DTS of chunk
	broken bool           // the next chunk does not go on from the one before
	layout *media.Layout  // of the newest frame
	tracks
}

func (r *recorder) all() []*View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.views
}

// loop records one publication after the other. A fault costs the chunk that it
// is in: the stream goes on with the next frames.
func (r *recorder) loop(ctx context.Context) {
	defer r.release()
	defer r.sub.Close()
	for {
		err := r.store.guard(r.key, func() error { return r.read(ctx) })
		var end *hub.EndError
		switch {
		case errors.As(err, &end):
		case ctx.Err() != nil, errors.Is(err, hub.ErrClosed):
			return
		default: // a fault
			for _, v := range r.all() {
				v.seg = nil
			}
			r.drop()
			r.writer, r.tracks = writer{}, tracks{}
		}
	}
}

// read records until the publication ends, and returns how it ended; or until ctx
// is done or the stream is gone.
func (r *recorder) read(ctx context.Context) error {
	r.broken = true
	frames, last := make([]*media.Frame, 64), false
	for {
		n, err := r.sub.Read(ctx, frames)
		if r.sub.Resumed() {
			r.drain()
			r.broken = true
		}
		for _, f := range frames[:n] {
			r.take(f)
		}
		clear(frames[:n])
		if err != nil && ctx.Err() != nil && !last {
			last = true // once more, for what came meanwhile
			continue
		}
		if err != nil {
			r.drain()
			r.finish()
			return err
		}
	}
}

// frame takes the next frame of the stream.
func (r *recorder) frame(f *media.Frame) {
	// A segment has one picture and one sound: the first of each.
	main := first(f)
	if !main && !r.also(f) {
		return
	}
	views := r.all()
	if f.Layout != r.layout && f.Seq >= r.told {
		r.told = f.Seq
		r.change(f, views)
	}
	if r.run != nil && r.run.chunks > 0 {
		switch {
		case r.run.lacks(f.Track):
			r.added(f, views)
		case !main && r.run.misses(f.Track):
			r.renew(f, views)
		}
	}
	if main && r.strayed(f) {
		r.broken = true
	}
	if r.chunk != nil {
		r.cut(f, main, views)
	}
	if r.chunk == nil {
		r.open(f, views)
	}
	for _, v := range views {
		if v.seg == nil && len(r.frames) == 0 {
			v.open(r.chunk, f)
		}
		if v.seg != nil {
			if v.size += len(f.Payload); main {
				v.cut.add(f)
			}
		}
	}
	r.add(f)
	r.resume()
}

// add puts f into the chunk.
func (r *recorder) add(f *media.Frame) {
	r.frames = append(r.frames, f)
	r.size += len(f.Payload)
	r.last = max(r.last, f.DTS)
}

// cut ends the segments, and so the chunk, that end before f. Others than the first
// tracks have no say in that.
func (r *recorder) cut(f *media.Frame, main bool, views []*View) {
	ends := r.broken || r.size > segmentBytes
	for _, v := range views {
		v.ends = v.seg != nil && (r.broken || main && v.cut.before(f) || v.size > segmentBytes)
		ends = ends || v.ends || main && v.parts(f, r.chunk)
	}
	if !ends {
		return
	}
	if !r.broken && slices.ContainsFunc(views, func(v *View) bool { return v.ends }) { // not for a part
		r.align(f.DTS)
	}
	if r.stale {
		for _, v := range views {
			v.ends = v.seg != nil
		}
	}
	c := r.chunk
	r.close(f.DTS, f, views)
	for _, v := range views {
		switch {
		case v.ends:
			v.close(f.DTS, r.broken)
		case v.seg != nil && v.part > 0 && !v.partial:
			v.Parted(v.seg, c)
		}
	}
	r.broken = r.broken || r.stale
}

// change goes over to another layout. Where a track is new it joins, unless
// chunks were already made without it that tell their layout; where one has
// changed, a new run begins.
func (r *recorder) change(f *media.Frame, views []*View) {
	old := r.layout
	r.layout = f.Layout
	if r.run == nil || old == nil {
		return
	}
	var added, changed bool
	for _, k := range []media.Kind{media.Video, media.Audio} {
		a, b := old.Main(k), f.Layout.Main(k)
		switch {
		case a == b:
		case a == nil, r.run.chunks == 0 && f.Layout.Track(k, a.ID) == a: // or one that goes before it
			added = true
		default:
			changed = true
		}
	}
	switch {
	case changed:
		r.broken = true
	case added:
		r.added(f, views)
	case r.each && !slices.Equal(tracksOf(old, true), tracksOf(f.Layout, true)):
		r.renew(f, views)
	}
}

// added goes over to f's layout, of which there is more than before.
func (r *recorder) added(f *media.Frame, views []*View) {
	if r.run.chunks > 0 && tell(views) {
		r.broken = r.broken || !r.restartAt(f, views)
		return
	}
	n := *r.run
	n.setLayout(f.Layout, r.each)
	r.run = &n
	if r.chunk != nil {
		r.chunk.Run = r.run
	}
	for _, v := range views {
		if v.seg != nil && len(v.seg.Chunks) == 0 {
			v.seg.Run = r.run
		}
	}
	r.setLayout(f.Layout)
}

// tell reports whether a view has chunks in a form that tells once for all what is
// in them.
func tell(views []*View) bool {
	return slices.ContainsFunc(views, func(v *View) bool { return v.seg != nil && v.forms&MP4 != 0 })
}

// restartAt begins a run with the chunk at hand, which has hardly begun and whose
// layout is f's now, and reports whether that could be.
func (r *recorder) restartAt(f *media.Frame, views []*View) bool {
	if r.chunk == nil || f.DTS-r.chunk.Start >= minKept {
		return false
	}
	for _, v := range views {
		if v.seg != nil && len(v.seg.Chunks) > 0 {
			return false
		}
	}
	old := r.run
	r.begin(r.chunk.Start, r.chunk.Began, f.Layout)
	r.run.Grid, r.run.Shift = old.Grid, old.Shift
	r.chunk.Run, r.chunk.Broken = r.run, true
	for _, v := range views {
		if v.seg != nil {
			v.seg.Run, v.seg.Discontinuity = r.run, true
		}
	}
	return true
}

// begin begins a run.
func (r *recorder) begin(start time.Duration, at time.Time, l *media.Layout) {
	r.runs++
	r.stale = false
	r.run = &Run{ID: r.runs, Start: start, Began: at, Arrived: at}
	r.run.setLayout(l, r.each)
	r.restart(l)
}

// open begins a chunk with f, and a run where the line is broken.
func (r *recorder) open(f *media.Frame, views []*View) {
	r.want(views)
	r.hurry(views)
	grid := gridded(views)
	r.broken = r.broken || r.run == nil || r.run.Grid != grid
	if r.broken {
		if grid { // what was counted before is of no account
			r.muxer, r.lines = nil, nil
		}
		r.begin(f.DTS, f.Arrived, f.Layout)
		if grid {
			r.run.anchor(f)
		}
	}
	r.chunk = &Chunk{Run: r.run, Start: f.DTS, Broken: r.broken, Began: f.Arrived}
	if grid {
		r.chunk.Began = r.run.At(f.DTS)
	}
	r.broken = false
	r.last = f.DTS
	r.size = 0
}

// close ends the chunk where the next begins, with f if that is known.
func (r *recorder) close(next time.Duration, f *media.Frame, views []*View) {
	c := r.chunk
	c.Duration = next - c.Start
	forms := Forms(0)
	for _, v := range views {
		if v.seg != nil {
			forms |= v.forms
		}
	}
	if r.run.chunks == 0 {
		r.run.keep(r.frames, r.heard)
	}
	r.alike(c, views)
	r.write(c, forms, r.mains(), f)
	if forms&Each != 0 && (r.run.Several() || len(r.lines) > 0) { // once several, always
		r.parts(c, forms, f)
	}
	r.run.chunks++
	for _, v := range views {
		if v.seg != nil {
			v.seg.Chunks = append(v.seg.Chunks, c)
		}
	}
	r.drop()
}

func (r *recorder) drop() {
	clear(r.frames)
	r.frames, r.chunk = r.frames[:0], nil
}

// finish ends the last segments of a publication.
func (r *recorder) finish() {
	views := r.all()
	if r.chunk != nil {
		r.close(r.last, nil, views)
	}
	for _, v := range views {
		if v.seg != nil {
			v.close(v.cut.last, true)
		}
	}
	r.run, r.layout, r.tracks = nil, nil, tracks{}
}

// hurry has frames come soon where somebody is told of parts.
func (r *recorder) hurry(views []*View) {
	d := r.usual
	if slices.ContainsFunc(views, func(v *View) bool { return v.part > 0 || v.Part != nil && v.Part() > 0 }) {
		d = gatherPart
	}
	if d != r.gather {
		r.gather = d
		r.sub.SetGather(d)
	}
}

// parts reports whether a part of the segment ends before f, with which it would be
// longer than parts are: in a stream with a picture before one of its frames.
func (v *View) parts(f *media.Frame, c *Chunk) bool {
	if v.seg == nil || v.part == 0 || f.Track.Kind != media.Video && c.Run.Video != nil {
		return false
	}
	step := f.DTS - f.Prev
	if step <= 0 || step > v.part {
		step = 0
	}
	d := f.DTS - c.Start
	return d > 0 && d+step > v.part
}

// open begins a segment with the chunk that f begins.
func (v *View) open(c *Chunk, f *media.Frame) {
	v.cut.rules = v.Rules()
	if v.part = 0; v.Part != nil {
		v.part = v.Part()
	}
	v.grid = v.cut.rules.Grid && c.Run.Grid
	v.cut.rules.Grid, v.cut.shift = v.grid, c.Run.Shift
	v.partial = v.grid && c.Broken
	v.cut.begin(f)
	v.size = 0
	v.forms = v.Forms(c.Run)
	v.seg = &Segment{Seq: v.Next(), Run: c.Run, Discontinuity: c.Broken || v.lost, Began: f.Arrived, Start: f.DTS, Floor: v.cut.floor}
	if v.grid {
		// An encoder whose time has gone back has new numbers all the same.
		v.seg.Seq, v.seg.Began = max(v.seg.Seq, v.cut.cell(f.DTS)), c.Began
	}
}

// close ends the segment where the next begins. The last of a run is dropped if
// there is next to nothing in it.
func (v *View) close(next time.Duration, last bool) {
	s := v.seg
	v.seg = nil
	if last && next-v.cut.start < minKept || v.grid && (last || v.partial) {
		v.lost = v.grid && (v.lost || s.Discontinuity)
		return
	}
	v.lost = false
	s.Duration = v.cut.end(next)
	s.Key = s.Chunks[0].Key
	v.Done(s)
}
