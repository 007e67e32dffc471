package hub

import (
	"math"
	"sync"
	"time"

	"weir/internal/media"
)

// A Stream is one name's ring of frames.
type Stream struct {
	// Immutable.
	hub *Hub
	Key Key
	ID  string // "vid-" and 7 characters, as in SRS's API

	mu sync.Mutex
	// All below is guarded by mu.
	info
	settings Settings
	line     media.Timeline
	mix      media.Mixer
	mixed    []*media.Frame
	prev     []lastDTS
	epoch    uint32
	holds    int
	relays   int                    // readers that pass the stream on
	keeps    func(cause error) bool // see KeepViewers; nil for no
	closed   bool

	// The ring: slot of sequence number n is buf[n & (len(buf)-1)]; first is
	// the oldest, next the one to come.
	buf         []slot
	first, next uint64
	bytes       int64

	group     uint64 // sequence number of the newest random access point, 0 if none is held
	audioRun  int    // audio frames since the last video frame
	subs      []*Subscription
	taps      []tap
	minPos    uint64 // lowest position of a reader when it was last looked at
	untilLook int
	timer     *time.Timer // wakes readers that gather
	timerOn   bool
}

// A slot holds a frame, or the end of a publication and its cause.
type slot struct {
	frame  *media.Frame
	access bool // a reader may start here
	cause  error
	kept   bool          // viewers do not hear of the end
	last   time.Duration // at the end of a publication: the time of its last frame
}

type lastDTS struct {
	kind media.Kind
	id   uint8
	dts  time.Duration
}

// pureAudio is the number of audio frames without a video frame after which a
// stream with a video track is taken for one without (SRS's figure).
const pureAudio = 115

// lookEvery is after how many writes the readers' positions are looked at
// again.
const lookEvery = 32

// Live reports whether the stream has a publisher.
func (s *Stream) Live() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publication != nil
}

// hidden reports whether what is published now is not for those of a protocol, which is
// "" for who is no insider. s.mu is held.
func (s *Stream) hidden(inside string) bool {
	return s.publication != nil && s.publication.Private && s.publication.By != inside
}

// Publication returns the present publication, or nil.
func (s *Stream) Publication() *Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publication
}

// Shown returns the present publication if everybody may see it, or nil.
func (s *Stream) Shown() *Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden("") {
		return nil
	}
	return s.publication
}

// KeepViewers has keep asked when the present publication ends: if it says so, viewers do
// not hear of that, since somebody goes on publishing at once (see [PublishOptions]). keep
// must not wait, nor ask the stream.
func (p *Publication) KeepViewers(keep func(cause error) bool) {
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication == p {
		s.keeps = keep
	}
}

// keptError is the cause of an end that viewers do not hear of.
type keptError struct{ cause error }

func (e keptError) Error() string {
	if e.cause == nil {
		return "publication ended, viewers stay"
	}
	return e.cause.Error()
}

func (e keptError) Unwrap() error { return e.cause }

// Kept reports whether the end that a tap was told of is none for viewers.
func Kept(cause error) bool {
	_, ok := cause.(keptError)
	return ok
}

// Layout returns what the stream consists of now, or nil.
func (s *Stream) Layout() *media.Layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layout
}

// Viewers returns the number of subscriptions that are not passive.
func (s *Stream) Viewers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.viewers
}

// Watched reports whether somebody sees the stream as it comes: a viewer, or
// one of another server that it is passed on to.
func (s *Stream) Watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.viewers+s.relays > 0
}

// Counters returns the stream's totals.
func (s *Stream) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

func (s *Stream) at(seq uint64) *slot { return &s.buf[seq&uint64(len(s.buf)-1)] }

// write stamps f and appends it. s.mu is held.
func (s *Stream) write(f *media.Frame, now time.Time) {
	if s.layout == nil || s.layout.Track(f.Track.Kind, f.Track.ID) != f.Track {
		s.layout = s.layout.With(f.Track)
	}
	f.Layout = s.layout
	f.Arrived = now
	f.DTS = s.line.Next(f.Track.Kind, f.Track.ID, f.Source, now)
	s.place(f, now)
}

// place appends a frame that has its time. s.mu is held.
func (s *Stream) place(f *media.Frame, now time.Time) {
	f.First = s.counters.Frames == 0 || s.newest() != s.layout
	f.Epoch = s.epoch
	f.Seq = s.next
	f.Prev = s.previous(f)
	s.count(f, now)
	access := s.accessPoint(f)
	s.append(slot{frame: f, access: access}, int64(cap(f.Payload))+frameCost)
	for _, t := range s.taps {
		if !s.hidden(t.inside.Protocol) {
			t.Frame(f, access)
		}
	}
	if access {
		s.group = f.Seq
	} else if n := s.settings.CacheFrames; n > 0 && s.group != 0 && f.Seq-s.group >= uint64(n) {
		s.group = 0
	}
	s.evict()
	s.notify(now)
}

// newest returns the layout of the newest frame, nil after the end of a
// publication.
func (s *Stream) newest() *media.Layout {
	if s.next == s.first {
		return nil
	}
	if f := s.at(s.next - 1).frame; f != nil {
		return f.Layout
	}
	return nil
}

// previous returns the DTS of the frame before f in its track and notes f's.
func (s *Stream) previous(f *media.Frame) time.Duration {
	for i := range s.prev {
		if p := &s.prev[i]; p.kind == f.Track.Kind && p.id == f.Track.ID {
			d := p.dts
			p.dts = f.DTS
			return d
		}
	}
	s.prev = append(s.prev, lastDTS{f.Track.Kind, f.Track.ID, f.DTS})
	return f.DTS
}

func (s *Stream) count(f *media.Frame, now time.Time) {
	c := &s.counters
	c.Frames++
	c.Bytes += uint64(len(f.Payload))
	c.LastDTS, c.LastFrame = f.DTS, now
	c.Jumps = s.line.Jumps()
	switch f.Track.Kind {
	case media.Video:
		c.VideoFrames++
		c.LastVideo = f.DTS
		s.audioRun = 0
		if f.Key {
			c.Keys++
			if !c.LastKey.IsZero() {
				c.GOP = now.Sub(c.LastKey)
			}
			c.LastKey = now
		}
	case media.Audio:
		c.AudioFrames++
		c.LastAudio = f.DTS
		s.audioRun++
	}
}

// accessPoint reports whether a reader may start at f: a key frame of the main
// video track, or any audio frame where there is no picture.
func (s *Stream) accessPoint(f *media.Frame) bool {
	video := s.layout.Main(media.Video)
	if video == nil || s.audioRun >= pureAudio {
		return f.Track.Kind == media.Audio
	}
	return f.Key && f.Track == video
}

// append puts e at the head of the ring, which grows up to its bound.
func (s *Stream) append(e slot, cost int64) {
	if n := int(s.next - s.first); n == len(s.buf) {
		grown := make([]slot, max(64, 2*n))
		for q := s.first; q < s.next; q++ {
			grown[q&uint64(len(grown)-1)] = *s.at(q)
		}
		s.buf = grown
	}
	*s.at(s.next) = e
	s.next++
	s.bytes += cost
	s.hub.bytes.Add(cost)
}

// drop takes the oldest slot out of the ring.
func (s *Stream) drop() {
	e := s.at(s.first)
	if e.frame != nil {
		cost := int64(cap(e.frame.Payload)) + frameCost
		s.bytes -= cost
		s.hub.bytes.Add(-cost)
	}
	*e = slot{}
	s.first++
	if s.group != 0 && s.group < s.first {
		s.group = 0
	}
}

// evict drops what neither a new viewer nor a reader inside its queue needs,
// and whatever is over the bounds.
func (s *Stream) evict() {
	if s.untilLook--; s.untilLook <= 0 {
		s.untilLook = lookEvery
		s.minPos = math.MaxUint64
		for _, sub := range s.subs {
			s.minPos = min(s.minPos, sub.pos)
		}
	}
	keep := s.group
	if keep == 0 {
		keep = s.newestEnd()
	}
	tight := s.hub.bytes.Load() > s.hub.budget.Load()
	for s.first < keep && (s.first < s.minPos || tight || s.stale(s.first)) {
		s.drop()
	}
	for s.bytes > maxBytes || s.next-s.first > maxFrames {
		s.drop()
	}
}

// newestEnd returns where the end of a publication stands that nothing follows, which
// readers are told of whatever they lost; the head of the ring if it does not end so.
func (s *Stream) newestEnd() uint64 {
	if s.next > s.first && s.at(s.next-1).frame == nil {
		return s.next - 1
	}
	return s.next
}

// stale reports whether a slot is older than a slow reader's queue may be.
func (s *Stream) stale(seq uint64) bool {
	e := s.at(seq)
	dts := e.last
	if e.frame != nil {
		dts = e.frame.DTS
	}
	return s.counters.LastDTS-dts > s.settings.Queue
}

// end closes the present publication with its cause. s.mu is held.
func (s *Stream) end(cause error) {
	now := time.Now()
	for _, f := range s.mix.Flush(nil) {
		s.write(f, now)
	}
	for _, sub := range s.subs {
		if s.hidden(sub.options.Inside) {
			sub.pos, sub.seek = s.next, true // what was not for it never will be
		}
	}
	kept := s.keeps != nil && s.keeps(cause)
	s.publication, s.keeps = nil, nil
	s.group, s.audioRun = 0, 0
	s.append(slot{cause: cause, kept: kept, last: s.counters.LastDTS}, 0)
	told := cause
	if kept {
		told = keptError{cause}
	}
	for _, t := range s.taps {
		t.End(told)
	}
	s.evict()
	for _, sub := range s.subs {
		sub.due = time.Time{} // an end is told at once
	}
	s.notify(time.Now())
}

// close ends every subscription for good. s.mu is held.
func (s *Stream) close() {
	s.closed = true
	for s.first < s.next {
		s.drop()
	}
	s.buf = nil
	for _, sub := range s.subs {
		sub.wakeUp()
	}
	s.subs = nil
	if s.timer != nil {
		s.timer.Stop()
	}
}

// notify wakes the readers that wait and have gathered long enough, and sees
// to it that the others are woken when they have. s.mu is held.
func (s *Stream) notify(now time.Time) {
	var next time.Time
	for _, sub := range s.subs {
		switch {
		case !sub.waiting || s.hidden(sub.options.Inside):
		case !now.Before(sub.due):
			sub.wakeUp()
		case next.IsZero() || sub.due.Before(next):
			next = sub.due
		}
	}
	if next.IsZero() || s.timerOn {
		return
	}
	s.timerOn = true
	if s.timer == nil {
		s.timer = time.AfterFunc(next.Sub(now), s.flush)
	} else {
		s.timer.Reset(next.Sub(now))
	}
}

func (s *Stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerOn = false
	s.notify(time.Now())
}
