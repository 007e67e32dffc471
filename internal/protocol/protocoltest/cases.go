package protocoltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/session"
)

type conformance struct {
	name string
	run  func(t *testing.T, d Door)
}

var cases = []conformance{
	{"frames arrive whole", framesArriveWhole},
	{"a player may come before the publisher", playerFirst},
	{"the desk hears of all", deskHearsOfAll},
	{"refusals are told in words", refusals},
	{"a busy stream is refused", busy},
	{"a failed publish leaves the name free", nameStaysFree},
	{"preempt same_ip", preemptSameIP},
	{"preempt on", preemptOn},
	{"the codec changes", codecChanges},
	{"a slow reader pays alone", slowReader},
	{"kick the publisher", kickPublisher},
	{"kick a viewer", kickViewer},
	{"the publisher leaves and returns", publisherReturns},
	{"shutdown leaves nothing", shutdown},
	{"many come and go", manyComeAndGo},
}

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
	h := Open(t, Options{Protocol: d.Protocol, Root: d.Root, Vhost: d.Vhost + "\n" + vhost, Web: d.Web})
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
// one comes, which each must have before the others follow at once: a viewer that
// is under way loses nothing to a burst, whereas one that has not begun may begin
// at the newest key frame.
func (s *stage) pass(p Publisher, frames []*media.Frame, viewers ...Player) {
	s.t.Helper()
	began := make([]*media.Frame, len(viewers))
	s.write(p, frames[0])
	for i, v := range viewers {
		began[i] = s.read(v, frames[0])[0]
	}
	s.write(p, frames[1:]...)
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

func framesArriveWhole(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	a := s.watched(name, 1)
	b := s.watched(name, 2)
	frames := movie(60)
	// Sizes at which chunks, tags and buffers end in odd places.
	for i, size := range []int{13, 127, 128, 129, 4095, 59999, 60000, 60001, 200000} {
		frames = append(frames, Video(Picture, 60+i, 25, size))
	}
	s.pass(p, frames, a, b)
	if err := s.Account(); err != nil {
		t.Error(err)
	}
	// Who comes late starts at the newest key frame.
	late := s.watched(name, 3)
	s.read(late, frames[150:]...)
}

func playerFirst(t *testing.T, d Door) {
	s := newStage(t, d, "")
	v := s.watched(name, 1)
	p := s.publish(name)
	s.pass(p, movie(5), v)
}

func deskHearsOfAll(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	if d.Publish != nil {
		s.entry(session.Publish, "may publish s", "published s")
		p.Close()
		s.leaving("unpublished s")
	} else {
		s.Diary.Lines()
	}
	if d.Play == nil {
		return
	}
	v := s.watched(name, 1)
	s.entry(session.Play, "may play s", "played s")
	v.Close()
	s.leaving("stopped s")
}

// entry checks that the diary tells of one act, and of nothing else.
func (s *stage) entry(act session.Act, lines ...string) {
	s.t.Helper()
	if s.door.Connects {
		lines = append([]string{"may connect s", "connected s"}, lines...)
	}
	s.Wait(fmt.Sprintf("somebody does %v", act), func() bool { return s.Doing(act, name) != nil })
	s.Wait("all is told", func() bool { return strings.Contains(s.Diary.String(), lines[len(lines)-1]) })
	got := s.Diary.Lines()
	if !slices.EqualFunc(got, lines, func(g, w string) bool { return g == w || strings.HasPrefix(g, w+" ") }) {
		s.t.Errorf("the desk heard %q, want %q", got, lines)
	}
}

func (s *stage) leaving(lines ...string) {
	s.t.Helper()
	if s.door.Connects {
		lines = append(lines, "closed s")
	}
	s.Wait("all is told", func() bool { return strings.Contains(s.Diary.String(), lines[len(lines)-1]) })
	if got := s.Diary.Lines(); !slices.Equal(got, lines) {
		s.t.Errorf("the desk heard %q, want %q", got, lines)
	}
}

// refused checks how a try ended, and that nothing is held by it.
func (s *stage) refused(what, want string, try func() error) {
	s.t.Helper()
	if want == "" {
		return
	}
	began := time.Now()
	err := try()
	if err == nil {
		s.t.Errorf("%s: was let in", what)
		return
	}
	if got := s.door.Code(err); got != want {
		s.t.Errorf("%s: was told %q (%v), want %q", what, got, err, want)
	}
	if took := time.Since(began); took > 3*time.Second {
		s.t.Errorf("%s: took %v", what, took)
	}
}

func (s *stage) publishRefused(what, want string, n Name) {
	s.t.Helper()
	s.refused("publish, "+what, want, func() error {
		p, err := s.tryPublish(n)
		if err == nil {
			p.Close()
		}
		return err
	})
}

func (s *stage) playRefused(what, want string, n Name) {
	s.t.Helper()
	s.refused("play, "+what, want, func() error {
		p, err := s.door.Play(s.ctx, s.House, n)
		if err != nil {
			return err
		}
		defer p.Close()
		_, err = p.Read()
		return err
	})
}

func refusals(t *testing.T, d Door) {
	each := func(s *stage, what string, codes func(Codes) string, n Name) {
		t.Helper()
		if d.Publish != nil {
			s.publishRefused(what, codes(d.PublishCodes), n)
		}
		if d.Play != nil {
			s.playRefused(what, codes(d.PlayCodes), n)
		}
		s.Wait("they are gone", func() bool { return s.Doing(session.Publish, n) == nil && s.Doing(session.Play, n) == nil })
	}
	with := func(change func(*Name)) Name { n := name; change(&n); return n }

	s := newStage(t, d, "")
	each(s, "no vhost", func(c Codes) string { return c.NoVhost }, with(func(n *Name) { n.Vhost = "off.test" }))
	each(s, "empty name", func(c Codes) string { return c.EmptyName }, with(func(n *Name) { n.Stream = "" }))
	each(s, "bad name", func(c Codes) string { return c.BadName }, with(func(n *Name) { n.Stream = ".." }))
	if got := s.Diary.count(session.Published) + s.Diary.count(session.Played); got != 0 {
		t.Errorf("%d got in", got)
	}
	s.Diary.Deny(func(r *session.Request) error {
		if r.Act == session.Connect {
			return nil
		}
		return session.ErrDenied
	})
	each(s, "denied", func(c Codes) string { return c.Denied }, name)
	s.Diary.Deny(nil)
	s.Wait("all have left", func() bool { n, _ := s.Env.Desk.Len(); return n == 0 })
	s.Env.Desk.Shut(session.ErrShutdown)
	each(s, "shutting down", func(c Codes) string { return c.Shutdown }, name)

	s.Stop()

	// One session is all that there is room for.
	d.Root += "\nmax_connections 1;"
	s = newStage(t, d, "")
	p := s.publish(name)
	each(s, "full", func(c Codes) string { return c.Full }, with(func(n *Name) { n.Stream = "other" }))
	s.write(p, movie(1)...)
	p.Close()
	s.Wait("the publisher has left", func() bool { n, _ := s.Env.Desk.Len(); return n == 0 })
	s.publish(name)
}

func busy(t *testing.T, d Door) {
	s := newStage(t, d, "")
	p := s.publish(name)
	v := s.watched(name, 1)
	s.pass(p, movie(3), v)
	s.publishRefused("busy", orAny(d, d.PublishCodes.Busy), name)
	s.write(p, movie(6)[9:]...)
	s.read(v, movie(6)[9:]...)
	if n := s.Diary.count(session.Unpublished); d.Publish != nil && n != 1 {
		t.Errorf("told of %d ends of publishing, want that of the refused one", n)
	}
}

// orAny skips the check of words for doors that let nobody publish.
func orAny(d Door, code string) string {
	if d.Publish == nil {
		return ""
	}
	return code
}

func nameStaysFree(t *testing.T, d Door) {
	s := newStage(t, d, "")
	for range 3 {
		s.Diary.Deny(func(r *session.Request) error {
			if r.Act == session.Publish {
				return session.ErrDenied
			}
			return nil
		})
		if _, err := s.tryPublish(name); err == nil {
			t.Fatal("was let in")
		}
		s.Diary.Deny(nil)
		began := time.Now()
		p := s.publish(name)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the name was free after %v", took)
		}
		p.Close()
		s.Wait("the publisher has left", func() bool { return s.Env.Hub.Stream(name.Key()) == nil })
	}
}

func takesOver(s *stage, first Publisher, second Name) {
	s.t.Helper()
	v := s.watched(name, 1)
	s.pass(first, movie(3), v)
	p := s.publish(second)
	first.Wait()
	s.Wait("the first one has left", func() bool { return strings.Contains(s.Diary.String(), "unpublished s: taken over by a new publisher") })
	if !s.Env.Hub.Stream(name.Key()).Live() || s.Env.Desk.Publisher(name.Key()) == nil {
		s.t.Error("the one that left has taken the stream along")
	}
	if s.door.EndsWithPublisher {
		v = s.again(v)
	}
	s.pass(p, movie(3), v)
}

func preemptSameIP(t *testing.T, d Door) {
	s := newStage(t, d, "publish { preempt same_ip; }")
	here, there := name, name
	here.From, there.From = "127.0.0.1", "127.0.0.2"
	p := s.publish(here)
	s.publishRefused("busy from elsewhere", orAny(d, d.PublishCodes.Busy), there)
	takesOver(s, p, here)
}

func preemptOn(t *testing.T, d Door) {
	s := newStage(t, d, "publish { preempt on; }")
	here, there := name, name
	here.From, there.From = "127.0.0.1", "127.0.0.2"
	p := s.publish(here)
	// Whoever is not admitted takes nothing over.
	s.Diary.Deny(func(r *session.Request) error {
		if r.Act == session.Publish {
			return session.ErrDenied
		}
		return nil
	})
	if _, err := s.tryPublish(there); err == nil {
		t.Fatal("was let in")
	}
	s.Diary.Deny(nil)
	takesOver(s, p, there)
}

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
	s.write(p, frames[0])
	for i, v := range []Player{a, b} {
		began[i] = s.read(v, frames[0])[0]
	}
	s.write(p, frames[1:]...)
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
	failed := make(chan error, 1)
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
	for i := 1; i < frames; i++ {
		select {
		case ahead <- struct{}{}:
		case err := <-failed:
			t.Fatal(err)
		}
		s.write(p, Video(Picture, i, gop, size))
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	// Now the slow one reads: what it got in time, then whole groups.
	gaps, last := 0, 0
	for last < frames-1 {
		f, err := slow.Read()
		if err != nil {
			t.Fatalf("slow reader after frame %d: %v", last, err)
		}
		if _, err := Mark(f); err != nil {
			t.Fatalf("slow reader after frame %d: %v", last, err)
		}
		n := Number(f)
		if n != last+1 {
			gaps++
			if n <= last || !f.Key {
				t.Fatalf("slow reader: frame %d follows frame %d, and is no key frame", n, last)
			}
		}
		last = n
	}
	c := s.Env.Hub.Stream(name.Key()).Counters()
	if gaps == 0 || c.Skips == 0 || c.Dropped == 0 {
		t.Errorf("%d gaps, counted %d skips and %d frames; the reader was not slow enough", gaps, c.Skips, c.Dropped)
	}
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
	if took := time.Since(began); took > time.Second {
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
	if took := time.Since(began); took > 2*time.Second {
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
