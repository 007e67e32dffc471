package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
)

const (
	// lead is added to all times, so that no presentation time is negative.
	lead = time.Second
	// soundFrames and soundTime are how much sound one packet of the elementary
	// stream holds at most: each packet costs a header and stuffing.
	soundFrames = 6
	soundTime   = 130 * time.Millisecond
	// segmentBytes bounds a segment whose end does not come.
	segmentBytes = 64 << 20
)

// A Segmenter cuts a stream into segments. Its fields are set before Run, which
// one goroutine calls.
type Segmenter struct {
	Sub *hub.Subscription
	// Rules is asked when each segment begins.
	Rules func() Rules
	// First returns the number of the next segment.
	First func() int64
	// Done is told of each segment.
	Done func(*Segment)

	cut     cutter
	muxer   *mpegts.Muxer
	buf     []byte
	seg     *Segment
	broken  bool // the next segment does not go on from the one before
	layout  *media.Layout
	pending []*media.Frame // sound that waits to be packed
	floor   int64
	faults  int
}

// Run cuts until the publication ends, and returns how it ended; or until ctx is
// done or the stream is gone.
func (s *Segmenter) Run(ctx context.Context) error {
	s.broken = true
	frames := make([]*media.Frame, 64)
	for {
		n, err := s.Sub.Read(ctx, frames)
		for _, f := range frames[:n] {
			s.frame(f)
		}
		clear(frames[:n])
		if err != nil {
			s.finish()
			var end *hub.EndError
			if errors.As(err, &end) {
				return nil
			}
			return err
		}
		if s.Sub.Resumed() {
			s.broken = true
		}
	}
}

// frame takes the next frame of the stream.
func (s *Segmenter) frame(f *media.Frame) {
	if f.Track.Kind == media.Data {
		return
	}
	if f.Layout != s.layout {
		s.change(f)
	}
	if s.cut.open && (s.cut.before(f) || s.broken || len(s.buf) > segmentBytes) {
		s.close(f.DTS)
	}
	if !s.cut.open {
		s.open(f)
	}
	s.cut.add(f)
	if f.Track.Kind == media.Audio {
		if len(s.pending) > 0 && (s.pending[0].Track != f.Track || len(s.pending) >= soundFrames || f.DTS-s.pending[0].DTS >= soundTime) {
			s.pack()
		}
		s.pending = append(s.pending, f)
		return
	}
	s.pack()
	s.mux(s.muxer.AppendFrame(s.buf, f, f.DTS+lead))
}

func (s *Segmenter) mux(b []byte, err error) {
	s.buf = b
	if err != nil {
		s.faults++
	}
}

// pack writes the sound that waits.
func (s *Segmenter) pack() {
	if len(s.pending) == 0 {
		return
	}
	s.mux(s.muxer.AppendAudio(s.buf, s.pending[0].DTS+lead, s.pending...))
	clear(s.pending)
	s.pending = s.pending[:0]
}

// change goes over to another layout: where a track is new it joins the segment
// that is open; where one has changed, the segment ends and the next does not go
// on from it.
func (s *Segmenter) change(f *media.Frame) {
	old := s.layout
	s.layout = f.Layout
	if old == nil || s.muxer == nil {
		s.muxer = mpegts.NewMuxer(f.Layout)
		return
	}
	same := func(k media.Kind) bool {
		a, b := old.Main(k), f.Layout.Main(k)
		return a == nil || a == b
	}
	if !same(media.Video) || !same(media.Audio) {
		if s.cut.open {
			s.close(f.DTS)
		}
		s.broken = true
	}
	s.pack()
	added := old.Main(media.Video) != f.Layout.Main(media.Video) || old.Main(media.Audio) != f.Layout.Main(media.Audio)
	s.muxer.SetLayout(f.Layout)
	if s.cut.open && added {
		s.buf = s.muxer.AppendTables(s.buf)
	}
}

func (s *Segmenter) open(f *media.Frame) {
	s.cut.rules = s.Rules()
	s.cut.begin(f.DTS)
	s.seg = &Segment{Seq: s.First(), Discontinuity: s.broken, Began: f.Arrived, Layout: f.Layout, Start: f.DTS}
	if s.cut.rules.Floor && s.cut.rules.Fragment > 0 {
		s.floor = max(s.floor+1, f.Arrived.UnixNano()/int64(s.cut.rules.Fragment))
		s.seg.Floor = s.floor
	}
	s.broken = false
	s.buf = s.muxer.AppendTables(s.buf[:0])
}

// close ends the segment where the next begins.
func (s *Segmenter) close(next time.Duration) {
	s.pack()
	s.seg.Duration = s.cut.end(next)
	s.seg.TS = slices.Clone(s.buf)
	s.Done(s.seg)
	s.seg = nil
}

// finish ends the last segment of a publication, which is dropped if there is
// next to nothing in it.
func (s *Segmenter) finish() {
	if !s.cut.open {
		return
	}
	if s.cut.last-s.cut.start < minKept {
		s.cut.open = false
		s.pending = s.pending[:0]
		return
	}
	s.close(s.cut.last)
}

// Faults returns how many frames could not be written.
func (s *Segmenter) Faults() int { return s.faults }
