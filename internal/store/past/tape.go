package past

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
	"weak"

	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/store"
)

// A Tape is what is kept of one stream.
type Tape struct {
	// Immutable.
	archive *Archive
	key     hub.Key
	dir     string // below the folder of the configuration

	loading sync.Mutex // held while files are read or deleted
	read    time.Time  // when they were last looked for; guarded by loading
	shared  bool       // another process wrote there too, then; guarded by loading
	reels   []*reel    // oldest first; guarded by loading
	wrote   *reel      // that is written to; the writer's, who changes it under loading
	file    file       // the writer's, with index
	index   file
	since   time.Duration // where wrote begins; the writer's

	mu     sync.Mutex
	detach func()           // not nil while it is followed; guarded by mu
	segs   []*Segment       // oldest first; replaced where something goes; guarded by mu
	more   chan struct{}    // closed when there is another; guarded by mu
	run    *Run             // the newest; guarded by mu
	own    bool             // run is of this process; guarded by mu
	ready  bool             // what was on disk is read; guarded by mu
	early  []*store.Segment // that came before that; guarded by mu
	lost   bool             // the newest segment was lost; guarded by mu
}

// A Run is a line of segments without a break, of one layout.
type Run struct {
	// First is the number of its first segment, which tells runs apart.
	First int64
	// Line is where it begins on the line of the tape, which was at Began, and Start where
	// on the line of its own by which its samples count.
	Line, Start time.Duration
	Began       time.Time
	// Origin is when the line began, as far as it shows: it is the same for all runs whose
	// clock agrees with the line.
	Origin time.Time
	// Layout holds Video and Audio, of which either may be nil.
	Layout       *media.Layout
	Video, Audio *media.Track

	id int64 // of the store's run
}

// At returns when a moment of the tape's line was, by the clock of the run.
func (r *Run) At(line time.Duration) time.Time { return r.Began.Add(line - r.Line) }

// Tag tells the run from others.
func (r *Run) Tag() string {
	return strconv.FormatInt(r.Began.UnixNano(), 36) + "-" + strconv.FormatInt(r.First, 36)
}

// Init returns the initialization segment of a kind, of both for 0; nil if there is none.
func (r *Run) Init(kind media.Kind) []byte {
	l := &media.Layout{}
	for _, t := range r.Layout.Tracks {
		if kind == 0 || t.Kind == kind {
			l = l.With(t)
		}
	}
	b, err := mp4.AppendInit(nil, l)
	if err != nil {
		return nil
	}
	return b
}

// A Segment is a piece of a tape. It does not change.
type Segment struct {
	Seq int64
	Run *Run
	// Start is on the tape's line.
	Start, Duration time.Duration
	// Video and Audio are its tracks' parts.
	Video, Audio Span
	// Key says that decoding can start at its beginning, Discontinuity that it does not go
	// on where the one before ended.
	Key, Discontinuity bool
	Pictures           int
	// Breaks counts the discontinuities of the tape up to it.
	Breaks int64

	tape  *Tape
	added time.Time // zero if it was read from disk

	mu   sync.Mutex
	body [2][]byte            // until it is written; guarded by mu
	reel *reel                // then where it is; guarded by mu
	off  int64                // guarded by mu
	lent weak.Pointer[loaded] // while somebody reads it; guarded by mu
}

// A Span is one track's part of a segment: how many bytes, and from when to when in ticks
// of the track's [mp4.Timescale].
type Span struct {
	Size           int
	Time, Duration int64
}

// Number implements [store.Listed].
func (s *Segment) Number() int64 { return s.Seq }

// Lasts implements [store.Listed].
func (s *Segment) Lasts() time.Duration { return s.Duration }

// End is where it ends on the tape's line.
func (s *Segment) End() time.Duration { return s.Start + s.Duration }

// Began is when it began.
func (s *Segment) Began() time.Time { return s.Run.At(s.Start) }

// cut is when it ended: when it was cut, if that was here.
func (s *Segment) cut() time.Time {
	if s.added.IsZero() {
		return s.Began().Add(s.Duration)
	}
	return s.added
}

// Tag tells the segment from any other, also one of the same number on another tape.
func (s *Segment) Tag() string {
	return s.Run.Tag() + "-" + strconv.FormatInt(s.Seq, 36) + "-" + strconv.Itoa(s.Size())
}

// Size returns how many bytes it has.
func (s *Segment) Size() int { return s.Video.Size + s.Audio.Size }

func newTape(a *Archive, key hub.Key) *Tape {
	return &Tape{archive: a, key: key, dir: folder(key), more: make(chan struct{})}
}

// empty reports whether there is nothing.
func (t *Tape) empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.segs) == 0
}

func (t *Tape) followed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.detach != nil
}

// rest ends keeping a stream that nobody publishes any more; who does next begins it again.
func (t *Tape) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.detach != nil && !t.alive() {
		t.detach()
		t.detach = nil
	}
}

// follow begins to keep the stream, or ends that.
func (t *Tape) follow(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case on && t.detach == nil:
		// Not here, and not where streams are cut: a disk may hang. What another process has
		// written just now counts, too: segments are numbered behind it.
		t.ready = false
		t.archive.wg.Go(func() { t.look(true) })
		t.detach = t.archive.o.Store.Attach(t.key, &store.View{Rules: t.rules, Forms: func(*store.Run) store.Forms { return store.MP4 }, Next: func() int64 { return 0 }, Done: t.done})
	case !on && t.detach != nil:
		t.detach()
		t.detach = nil
	}
}

func (t *Tape) rules() store.Rules {
	return store.Rules{Fragment: t.archive.o.Settings(t.key.Vhost).Fragment, TDRatio: 1, AOFRatio: aofRatio, SoundRatio: 1, WaitKey: true}
}

// aofRatio is how many fragments a segment without a key frame is long at most.
const aofRatio = 5

// cutting is how far behind live the newest segment may end while the stream is kept.
func (t *Tape) cutting() time.Duration {
	return aofRatio*t.archive.o.Settings(t.key.Vhost).Fragment + agree
}

// minBreak is what a run is behind the one before, at least.
const minBreak = 10 * time.Millisecond

// agree is how far the clock may be from the line.
const agree = 5 * time.Second

// done takes a segment that the store has cut.
func (t *Tape) done(g *store.Segment) {
	if g.Run.Video == nil && g.Run.Audio == nil {
		return // of codecs that MP4 does not carry
	}
	if !t.waits(g) {
		t.keep(g)
	}
}

// keep makes one of it.
func (t *Tape) keep(g *store.Segment) {
	s := &Segment{tape: t, Key: g.Key, Pictures: g.Pictures(), added: t.archive.o.Now()}
	for _, c := range g.Chunks {
		s.Video.add(c.Video)
		s.Audio.add(c.Audio)
	}
	if s.Size() == 0 {
		return
	}
	s.body = [2][]byte{gather(g, s.Video.Size, func(c *store.Chunk) []byte { return c.Video.Bytes }), gather(g, s.Audio.Size, func(c *store.Chunk) []byte { return c.Audio.Bytes })}
	t.mu.Lock()
	last := t.newest()
	if last != nil {
		s.Seq = last.Seq + 1
	}
	s.Discontinuity = g.Discontinuity
	if t.run == nil || t.run.id != g.Run.ID || !t.run.Began.Equal(arrived(g.Run)) {
		t.run, s.Discontinuity = t.begin(g.Run, last), last != nil
		t.run.First = s.Seq
	}
	s.Discontinuity = s.Discontinuity || t.lost && last != nil
	if last != nil {
		s.Breaks = last.Breaks
	}
	if s.Discontinuity {
		s.Breaks++
	}
	s.Run = t.run
	s.Start, s.Duration = t.run.Line+g.Start+g.Run.Shift-t.run.Start, g.Duration
	if !t.archive.push(t, s) {
		t.mu.Unlock()
		t.lose(errBehind)
		return
	}
	t.segs, t.lost = append(t.segs, s), false
	t.tell()
	t.mu.Unlock()
}

// mostEarly is how many segments wait until the disk was read.
const mostEarly = 64

// waits reports whether the disk has not been read yet, and keeps g until it is.
func (t *Tape) waits(g *store.Segment) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready {
		return false
	}
	if t.early = append(t.early, g); len(t.early) > mostEarly {
		t.early = slices.Delete(t.early, 0, 1)
		t.archive.Lost.Add(1)
	}
	return true
}

// add counts a piece in.
func (p *Span) add(c store.Piece) {
	if len(c.Bytes) == 0 {
		return
	}
	if p.Size == 0 {
		p.Time = c.Time
	}
	p.Size += len(c.Bytes)
	p.Duration = c.Time + c.Duration - p.Time
}

// gather puts the parts of a segment together, without a copy where it has one.
func gather(g *store.Segment, size int, of func(*store.Chunk) []byte) []byte {
	if len(g.Chunks) == 1 {
		return of(g.Chunks[0])
	}
	b := make([]byte, 0, size)
	for _, c := range g.Chunks {
		b = append(b, of(c)...)
	}
	return b
}

// arrived is when a run began here, whatever the encoder says of its time; one of an older
// process does not tell the difference.
func arrived(g *store.Run) time.Time {
	if g.Arrived.IsZero() {
		return g.Began
	}
	return g.Arrived
}

// begin begins a run behind what there is. t.mu is held.
func (t *Tape) begin(g *store.Run, last *Segment) *Run {
	r := &Run{Start: g.Start + g.Shift, Began: arrived(g), Video: g.Video, Audio: g.Audio, Layout: &media.Layout{Meta: g.Layout.Meta}, id: g.ID}
	for _, tr := range []*media.Track{g.Video, g.Audio} {
		if tr != nil {
			r.Layout = r.Layout.With(tr)
		}
	}
	if last == nil {
		r.Origin = wall(r.Began).Truncate(time.Millisecond)
		r.Line = wall(r.Began).Sub(r.Origin)
		return r
	}
	// A pause is as long on the line as it was; a clock that was set back makes none. Within
	// a process the monotonic clock tells, else the time of day.
	r.Line = last.End() + max(r.Began.Sub(last.cut()), minBreak)
	r.Origin = last.Run.Origin
	if off := wall(r.Began).Sub(r.Origin.Add(r.Line)); off.Abs() > agree {
		r.Origin = wall(r.Began).Add(-r.Line).Truncate(time.Millisecond)
	}
	return r
}

// wall is the time of day alone.
func wall(t time.Time) time.Time { return t.Round(0) }

// newest returns the last segment, nil if there is none. t.mu is held.
func (t *Tape) newest() *Segment {
	if len(t.segs) == 0 {
		return nil
	}
	return t.segs[len(t.segs)-1]
}

// tell wakes those who wait for more. t.mu is held.
func (t *Tape) tell() {
	close(t.more)
	t.more = make(chan struct{})
}

// lose tells of a segment that is not kept.
func (t *Tape) lose(err error) {
	t.mu.Lock()
	t.lost = true
	t.mu.Unlock()
	t.archive.Lost.Add(1)
	t.archive.complain(t.key, err)
}

// remove takes segments out that are not there any more.
func (t *Tape) remove(gone func(*Segment) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segs = slices.DeleteFunc(slices.Clone(t.segs), gone)
}

// All returns the segments, oldest first. The slice must not be modified.
func (t *Tape) All() []*Segment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.segs
}

// Live returns where on the tape's line it is now.
func (t *Tape) Live() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.newest()
	if last == nil {
		return 0
	}
	return last.End() + max(t.archive.o.Now().Sub(last.cut()), 0)
}

// Between returns what a viewer of segments is shown: those that end behind from and begin before until, on the line; fewer than least are made up for by those before.
func (t *Tape) Between(from, until time.Duration, least int) []*Segment {
	all := t.All()
	end, _ := slices.BinarySearchFunc(all, until, func(s *Segment, at time.Duration) int { return cmp.Compare(s.Start, at) })
	begin, _ := slices.BinarySearchFunc(all[:end], from, func(s *Segment, at time.Duration) int { return cmp.Compare(s.End(), at+1) })
	return all[max(0, min(begin, end-least)):end]
}

// Longest returns how long the longest segment is.
func (t *Tape) Longest() (d time.Duration) {
	for _, s := range t.All() {
		d = max(d, s.Duration)
	}
	return d
}

// Find returns how far behind live a start is, and the segment that a viewer begins with:
// the one that is shown then, or the first behind a gap; before the oldest it is the
// oldest. The error is [ErrNothing] or [ErrFuture].
func (t *Tape) Find(s Start) (behind time.Duration, first *Segment, err error) {
	live, all := t.Live(), t.All()
	if len(all) == 0 {
		return 0, nil, ErrNothing
	}
	at := live - s.Behind
	if !s.At.IsZero() {
		if s.At.After(t.archive.o.Now()) {
			return 0, nil, ErrFuture
		}
		at = lineOf(all, s.At)
	}
	first = At(all, at)
	if last := all[len(all)-1]; first == nil && t.alive() && live-last.End() < t.cutting() {
		// It is being cut still: who comes this early begins a little further behind.
		first, at = last, last.Start
	}
	if first == nil {
		return 0, nil, ErrNothing
	}
	at = max(at, first.Start)
	return max(live-at, 0), first, nil
}

// alive reports whether more is to come.
func (t *Tape) alive() bool {
	st := t.archive.o.Hub.Stream(t.key)
	return st != nil && st.Live()
}

// At returns the first of some segments that ends behind a moment of the line, nil if none
// does.
func At(all []*Segment, line time.Duration) *Segment {
	i, _ := slices.BinarySearchFunc(all, line, func(s *Segment, at time.Duration) int {
		if s.End() > at {
			return 1
		}
		return -1
	})
	if i == len(all) {
		return nil
	}
	return all[i]
}

// lineOf returns where on the line a time of day was: in the newest run that had begun. A
// clock that was set back has told some times twice.
func lineOf(all []*Segment, at time.Time) time.Duration {
	var r *Run
	for _, s := range slices.Backward(all) {
		if r = s.Run; !wall(r.Began).After(wall(at)) {
			break
		}
	}
	return r.Line + wall(at).Sub(wall(r.Began))
}

// Number returns the segment with a number, nil if there is none.
func (t *Tape) Number(seq int64) *Segment {
	all := t.All()
	i, ok := slices.BinarySearchFunc(all, seq, func(s *Segment, n int64) int { return cmp.Compare(s.Seq, n) })
	if !ok {
		return nil
	}
	return all[i]
}

// Run returns the run that began with a segment of a number, nil if there is none.
func (t *Tape) Run(first int64) *Run {
	for _, s := range t.All() {
		if s.Run.First == first {
			return s.Run
		}
	}
	return nil
}

// from returns the first segment with a number or a greater one, or what is closed when
// there is more.
func (t *Tape) from(seq int64) (*Segment, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.segs, seq, func(s *Segment, n int64) int { return cmp.Compare(s.Seq, n) })
	if i < len(t.segs) {
		return t.segs[i], nil
	}
	return nil, t.more
}

// loaded is what a segment holds, for all who read it at once.
type loaded struct {
	video, audio []byte

	once   sync.Once
	frames []*media.Frame
	err    error
}

// load reads a segment, or shares what another reader has.
func (s *Segment) load() (*loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lent.Value(); l != nil {
		return l, nil
	}
	l := &loaded{video: s.body[0], audio: s.body[1]}
	if s.reel != nil {
		b := make([]byte, s.Size())
		if err := s.reel.readAt(b, s.off); err != nil {
			return nil, fmt.Errorf("segment %d of %s: %w", s.Seq, s.tape.key, err)
		}
		l.video, l.audio = b[:s.Video.Size:s.Video.Size], b[s.Video.Size:]
	}
	s.lent = weak.Make(l)
	return l, nil
}

// Bytes returns what the segment has of a kind, of both for 0. The bytes may be shared:
// nobody may write to them.
func (s *Segment) Bytes(kind media.Kind) (all [][]byte, err error) {
	l, err := s.load()
	if err != nil {
		return nil, err
	}
	for _, p := range []struct {
		kind media.Kind
		b    []byte
	}{{media.Video, l.video}, {media.Audio, l.audio}} {
		if (kind == 0 || kind == p.kind) && len(p.b) > 0 {
			all = append(all, p.b)
		}
	}
	return all, nil
}
