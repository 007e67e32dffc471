package protocoltest

import (
	"context"
	"testing"

	"weir/internal/media"
)

// name is the stream of the suite.
var name = Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}

// stage is one test of one door.
type stage struct {
	*House
	t    *testing.T
	door Door
	ctx  context.Context
}

func newStage(t *testing.T, d Door, vhost string) *stage {
	t.Helper()
	h := Open(t, Options{Protocol: d.Protocol, Root: d.Root, Vhost: d.Vhost + "\n" + vhost, Web: d.Web, TLS: d.TLS})
	// Ends after the clients, which are closed by cleanups that follow.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &stage{House: h, t: t, door: d, ctx: ctx}
}

func (s *stage) tryPublish(n Name) (Publisher, error) {
	f := s.door.Publish
	if f == nil {
		f = Publish
	}
	p, err := f(s.ctx, s.House, n)
	if err == nil {
		s.t.Cleanup(func() { p.Close() })
	}
	return p, err
}

func (s *stage) publish(n Name) Publisher {
	s.t.Helper()
	p, err := s.tryPublish(n)
	if err != nil {
		s.t.Fatalf("publish %v: %v", n.Key(), err)
	}
	return p
}

func (s *stage) play(n Name) Player {
	s.t.Helper()
	f := s.door.Play
	if f == nil {
		f = Play
	}
	p, err := f(s.ctx, s.House, n)
	if err != nil {
		s.t.Fatalf("play %v: %v", n.Key(), err)
	}
	s.t.Cleanup(func() { p.Close() })
	return p
}

// watched is play, once the desk knows of it as its viewer number n.
func (s *stage) watched(n Name, number int) Player {
	s.t.Helper()
	p := s.play(n)
	s.Viewers(n, number)
	return p
}

// again lets a player whose answer has ended come back.
func (s *stage) again(p Player) Player {
	s.t.Helper()
	p.Close()
	s.Viewers(name, 0)
	return s.watched(name, 1)
}

func (s *stage) write(p Publisher, frames ...*media.Frame) {
	s.t.Helper()
	for _, f := range frames {
		if err := p.Write(f); err != nil {
			s.t.Fatalf("write: %v", err)
		}
	}
}

// read reads frames until each of want has come, in order and nothing else.
func (s *stage) read(p Player, want ...*media.Frame) []*media.Frame {
	s.t.Helper()
	return s.readOn(p, nil, want...)
}

// readOn is read of a player that has had the first frame already.
func (s *stage) readOn(p Player, began *media.Frame, want ...*media.Frame) []*media.Frame {
	s.t.Helper()
	var got []*media.Frame
	for i, w := range want {
		if i == 0 && began != nil {
			got = append(got, began)
			continue
		}
		f, err := p.Read()
		if err != nil {
			s.t.Fatalf("frame %d of %d: %v", i+1, len(want), err)
		}
		mark, err := Mark(f)
		if err != nil {
			s.t.Fatalf("frame %d of %d: %v", i+1, len(want), err)
		}
		if m, _ := Mark(w); m != mark {
			s.t.Fatalf("frame %d of %d is %q, want %q", i+1, len(want), mark, m)
		}
		if i > 0 && f.Track.Kind == want[0].Track.Kind && w.Source-want[0].Source != f.Source-got[0].Source {
			s.t.Fatalf("frame %d (%s): the player was told %v after the first one, the publisher said %v", i+1, mark, f.Source-got[0].Source, w.Source-want[0].Source)
		}
		got = append(got, f)
	}
	return got
}

// pass has frames written and read by all viewers. They are there when the first
// one comes (or two, see [Door.ToldOnce]), which each must have before the others follow at once: a viewer that
// is under way loses nothing to a burst, whereas one that has not begun may begin
// at the newest key frame.
func (s *stage) pass(p Publisher, frames []*media.Frame, viewers ...Player) {
	s.t.Helper()
	began := make([]*media.Frame, len(viewers))
	lead := s.door.lead()
	s.write(p, frames[:lead]...)
	for i, v := range viewers {
		began[i] = s.read(v, frames[0])[0]
	}
	s.write(p, frames[lead:]...)
	for i, v := range viewers {
		s.readOn(v, began[i], frames...)
	}
}

// movie returns n frames of a picture, in groups of 25, with their sound.
func movie(n int) (frames []*media.Frame) {
	for i := range n {
		frames = append(frames, Video(Picture, i, 25, 1000), Audio(2*i), Audio(2*i+1))
	}
	return frames
}
