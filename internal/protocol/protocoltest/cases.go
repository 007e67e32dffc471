package protocoltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
	if took := time.Since(began); took > 10*time.Second {
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
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the name was free after %v", took)
		}
		p.Close()
		s.Wait("the publisher has left", func() bool { st := s.Env.Hub.Stream(name.Key()); return st == nil || !st.Live() })
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
