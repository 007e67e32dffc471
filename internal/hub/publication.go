package hub

import (
	"bytes"
	"time"

	"weir/internal/media"
)

// A Publication is the writing end of a stream. Whoever publishes uses it; frames of
// one track come from one goroutine. Close may be called by anybody.
type Publication struct {
	// Immutable.
	stream *Stream
	taken  func()
	// By is the protocol that publishes, and Private says that its insiders alone see it;
	// see [PublishOptions].
	By      string
	Private bool
	// Yields says that any newcomer may replace it.
	Yields bool
	// Lent says that the publisher is at another process. What is done with a
	// publication besides showing it to viewers is done there.
	Lent bool
	// Of a lent one, guarded by the stream's mu: whether a frame has come, and whether its
	// times would lead back here.
	came, restamp bool
	// Epoch counts the publications of the stream, from 1.
	Epoch uint32
	// Began is when the stream was claimed.
	Began time.Time
}

// Stream returns the stream that is published.
func (p *Publication) Stream() *Stream { return p.stream }

// Write appends f to the stream; it never blocks. f belongs to the stream from
// then on. After the publication has ended Write does nothing.
func (p *Publication) Write(f *media.Frame) {
	now := time.Now()
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.publication != p:
	case s.settings.Mix:
		s.mixed = s.mix.Push(s.mixed[:0], f)
		for _, f := range s.mixed {
			s.write(f, now)
		}
		clear(s.mixed)
	default:
		s.write(f, now)
	}
}

// InsideID is the track of the frames of [Publication.WriteInside].
const InsideID = 255

// LayerID is the track of the first of up to LayersMost layers of a picture, which
// insiders get beside the best of them.
const (
	LayerID    = 240
	LayersMost = 4
)

// WriteInside tells insiders of the publisher's protocol of a frame that others have in
// another form, such as Opus beside the AAC that was made of it: their taps alone are
// told. The frame is stamped like any other and kept nowhere. Its track's ID is InsideID,
// or that of a layer.
func (p *Publication) WriteInside(f *media.Frame) {
	now := time.Now()
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != p {
		return
	}
	f.Layout, f.Epoch, f.Arrived = s.layout, s.epoch, now
	f.DTS = s.line.Next(f.Track.Kind, f.Track.ID, f.Source, now)
	f.Prev = f.DTS
	s.tellInside(p, f)
}

// tellInside tells the insiders of p. s.mu is held.
func (s *Stream) tellInside(p *Publication, f *media.Frame) {
	for _, t := range s.taps {
		if t.inside.Protocol == p.By {
			t.Frame(f, false)
		}
	}
}

// WriteLent appends a frame as another process has stamped it: its Layout, DTS, Source and
// Arrived stay, but for DTS where the stream is further on here. inside says that it is one
// of WriteInside.
func (p *Publication) WriteLent(f *media.Frame, inside bool) {
	now := time.Now()
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != p {
		return
	}
	if !p.came {
		newest, any := s.line.Newest()
		p.came, p.restamp = true, any && f.DTS <= newest
	}
	if p.restamp {
		f.DTS = s.line.Next(f.Track.Kind, f.Track.ID, f.Source, now)
	} else {
		s.line.Given(f.Track.Kind, f.Track.ID, f.Source, f.DTS, now)
	}
	if !inside {
		s.layout = f.Layout
		s.place(f, now)
		return
	}
	f.Epoch, f.Prev = s.epoch, f.DTS
	s.tellInside(p, f)
}

// Describe tells what a lent publication consists of.
func (p *Publication) Describe(l *media.Layout) {
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication == p {
		s.layout = l
	}
}

// Announce tells of a track before its first frame, so that readers know
// early what the stream will consist of.
func (p *Publication) Announce(t *media.Track) {
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication == p && s.layout.Track(t.Kind, t.ID) != t {
		s.layout = s.layout.With(t)
	}
}

// SetMeta gives the stream new metadata: the AMF0 value of onMetaData. own says
// that viewers are to get the publisher's own time (see [media.Layout.Own]).
func (p *Publication) SetMeta(meta []byte, own bool) {
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication == p && (s.layout == nil || !bytes.Equal(s.layout.Meta, meta) || s.layout.Own != own) {
		s.layout = s.layout.WithMeta(meta)
		s.layout.Own = own
	}
}

// Close ends the publication; readers learn of it, and of the cause, after
// the last frame. Later calls do nothing.
func (p *Publication) Close(cause error) {
	s := p.stream
	s.mu.Lock()
	if s.publication == p {
		s.end(cause)
	}
	s.mu.Unlock()
	s.hub.release(s)
}
