package protocoltest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/session"
)

func codecChanges(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	a, b := s.watched(name, 1), s.watched(name, 2)
	var frames []*media.Frame
	for i := range 20 {
		tr := Picture
		if i >= 10 {
			tr = OtherPicture
		}
		frames = append(frames, Video(tr, i, 10, 500), Audio(2*i), Audio(2*i+1))
	}
	began := []*media.Frame{nil, nil}
	lead := d.lead()
	s.write(p, frames[:lead]...)
	for i, v := range []Player{a, b} {
		began[i] = s.read(v, frames[0])[0]
	}
	s.write(p, frames[lead:]...)
	for i, v := range []Player{a, b} {
		for i, f := range s.readOn(v, began[i], frames...) {
			if !f.Track.Same(frames[i].Track) {
				t.Fatalf("frame %d comes with another configuration than it was published with", i)
			}
		}
	}
}

func slowReader(t *testing.T, d Door) {
	s := newStage(t, d, "play { queue_length 2; }")
	p := s.publish(name)
	good := s.watched(name, 1)
	slow := s.watched(name, 2)
	// More than all buffers on the way can hold.
	const frames, gop, size = 500, 10, 60000
	s.write(p, Video(Picture, 0, gop, size))
	s.read(good, Video(Picture, 0, gop, size))
	s.read(slow, Video(Picture, 0, gop, size))
	failed, done := make(chan error, 1), make(chan error, 1)
	ahead := make(chan struct{}, 20) // the publisher is this far ahead of the good reader
	go func() {
		defer close(failed)
		for i := 1; i < frames; i++ {
			f, err := good.Read()
			if err != nil {
				failed <- fmt.Errorf("good reader, frame %d: %w", i, err)
				return
			}
			if _, err := Mark(f); err != nil || Number(f) != i {
				failed <- fmt.Errorf("good reader: frame %d for %d, %w", Number(f), i, err)
				return
			}
			<-ahead
		}
	}()
	// The slow one reads one of four, since who reads nothing for long is ended, in the
	// end all: what it got in time, and whole groups.
	gaps, turns := 0, make(chan struct{}, frames)
	over := sync.OnceFunc(func() { close(turns) })
	defer over()
	go func() { done <- readSlowly(slow, frames-1, turns, &gaps) }()
	for i := 1; i < frames; i++ {
		select {
		case ahead <- struct{}{}:
		case err := <-failed:
			t.Fatal(err)
		}
		s.write(p, Video(Picture, i, gop, size))
		if i%4 == 0 {
			turns <- struct{}{}
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	over()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c := s.Env.Hub.Stream(name.Key()).Counters()
	if gaps == 0 || c.Skips == 0 || c.Dropped == 0 {
		t.Errorf("%d gaps, counted %d skips and %d frames; the reader was not slow enough", gaps, c.Skips, c.Dropped)
	}
}

// readSlowly reads up to a frame, one at each turn, and counts the gaps.
func readSlowly(slow Player, end int, turns <-chan struct{}, gaps *int) error {
	for last := 0; last < end; {
		<-turns
		f, err := slow.Read()
		if err == nil {
			_, err = Mark(f)
		}
		if err != nil {
			return fmt.Errorf("slow reader after frame %d: %w", last, err)
		}
		n := Number(f)
		if n != last+1 {
			*gaps++
			if n <= last || !f.Key {
				return fmt.Errorf("slow reader: frame %d follows frame %d, and is no key frame", n, last)
			}
		}
		last = n
	}
	return nil
}

func kickPublisher(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	v := s.watched(name, 1)
	s.pass(p, movie(3), v)
	began := time.Now()
	s.Doing(session.Publish, name).Kick(session.ErrKicked)
	p.Wait()
	s.Wait("it is told", func() bool { return strings.Contains(s.Diary.String(), "unpublished s: kicked by the API") })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if s.door.EndsWithPublisher {
		v = s.again(v)
	} else if s.Doing(session.Play, name) == nil {
		t.Fatal("the viewer has gone with the publisher")
	}
	p = s.publish(name)
	s.pass(p, movie(3), v)
}

func kickViewer(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	a := s.watched(name, 1)
	first := s.Doing(session.Play, name)
	b := s.watched(name, 2)
	s.pass(p, movie(3), a, b)
	first.Kick(session.ErrKicked)
	s.Wait("it is told", func() bool { return strings.Contains(s.Diary.String(), "stopped s: kicked by the API") })
	s.Viewers(name, 1)
	if _, err := a.Read(); err == nil {
		t.Error("the one that was kicked goes on")
	}
	s.write(p, movie(6)[9:]...)
	s.read(b, movie(6)[9:]...)
}

func publisherReturns(t *testing.T, d Door) {
	s := newStage(t, d, "")
	v := s.watched(name, 1)
	for round := range 3 {
		p := s.publish(name)
		s.pass(p, movie(30), v)
		p.Close()
		s.Wait("the publisher has left", func() bool { return s.Doing(session.Publish, name) == nil })
		if !s.door.EndsWithPublisher {
			continue
		}
		if f, err := v.Read(); err == nil {
			t.Fatalf("round %d: the answer goes on with %v", round, f.Source)
		}
		v = s.again(v)
	}
}

func shutdown(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	a := s.watched(name, 1)
	waiting := name
	waiting.Stream = "never"
	s.watched(waiting, 1)
	s.pass(p, movie(3), a)
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, want := range []string{"unpublished s: server is stopping", "stopped s", "stopped never"} {
		if !strings.Contains(s.Diary.String(), want) {
			t.Errorf("the desk was not told %q; the diary:\n%s", want, s.Diary)
		}
	}
	if _, err := s.tryPublish(name); err == nil {
		t.Error("a publisher was let in after the end")
	}
}

func manyComeAndGo(t *testing.T, d Door) {
	s := newStage(t, d, "")
	for i := range 50 {
		p := s.publish(name)
		v := s.watched(name, 1)
		s.pass(p, movie(1), v)
		if i%2 == 0 {
			v.Close()
			p.Close()
		} else {
			p.Close()
			v.Close()
		}
		s.Wait("they have left", func() bool { n, _ := s.Env.Desk.Len(); return n == 0 })
	}
	if n := s.Diary.count(session.Published); n != 50 {
		t.Errorf("%d publications, want 50", n)
	}
}
