package hub

import (
	"slices"

	"weir/internal/media"
)

// A Tap is told of a stream as it is written, by the goroutine that writes and
// under the stream's lock: it must return at once and must not call the stream.
// It is for those who make shared bytes of the frames; viewers subscribe.
type Tap interface {
	// Frame is told of each frame; access says that a viewer may start there.
	Frame(f *media.Frame, access bool)
	// End is told where a publication ends.
	End(cause error)
}

// Attach adds a tap, which is first told of the frames from the newest random
// access point on, if there is one and the stream's settings keep it for
// newcomers.
func (s *Stream) Attach(t Tap) { s.attach(tap{Tap: t}) }

// An Insider is one of the protocol that publishes.
type Insider struct {
	// Protocol is whose private publications it sees too.
	Protocol string
	// Hurry says that it is for viewers who talk to each other; see [Stream.Hurried].
	Hurry bool
}

// AttachInside is Attach for an insider.
func (s *Stream) AttachInside(t Tap, i Insider) { s.attach(tap{t, i}) }

// Hurried reports whether somebody sees the stream who is in a hurry.
func (s *Stream) Hurried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.taps, func(t tap) bool { return t.inside.Hurry })
}

// tap is one who is told of the stream.
type tap struct {
	Tap
	inside Insider
}

func (s *Stream) attach(t tap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group != 0 && s.settings.Cache && !s.hidden(t.inside.Protocol) {
		for seq := s.group; seq < s.next; seq++ {
			if e := s.at(seq); e.frame != nil {
				t.Frame(e.frame, e.access)
			}
		}
	}
	s.taps = append(slices.Clone(s.taps), t)
}

// Detach removes a tap.
func (s *Stream) Detach(t Tap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps = slices.DeleteFunc(slices.Clone(s.taps), func(o tap) bool { return o.Tap == t })
}

// Settings returns the bounds of the stream.
func (s *Stream) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// Lost counts frames that a reader outside of the ring lost by being slow.
func (s *Stream) Lost(frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.Dropped += uint64(frames)
	s.counters.Skips++
}
