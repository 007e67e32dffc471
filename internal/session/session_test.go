package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// diary is an observer that writes down what it is told.
type diary struct{ lines []string }

func (d *diary) Observe(e Event) {
	name := map[What]string{Connected: "connected", Published: "published", Unpublished: "unpublished", Played: "played", Stopped: "stopped", Closed: "closed"}[e.What]
	line := fmt.Sprint(name, " ", e.Ask.Key.Stream)
	if e.Err != nil {
		line += ": " + e.Err.Error()
	}
	d.lines = append(d.lines, line)
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	if got, want := strings.Join(d.lines, "\n"), strings.Join(lines, "\n"); got != want {
		t.Errorf("diary:\n%s\nwant:\n%s", got, want)
	}
	d.lines = nil
}

type rule func(ctx context.Context, r *Request) error

func (f rule) Authorize(ctx context.Context, r *Request) error { return f(ctx, r) }

func newDesk(r Rules) (*Desk, *diary) {
	if r.Vhost == nil {
		r.Vhost = func(string) (string, bool) { return hub.DefaultVhost, true }
	}
	d := New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Second} }), r)
	log := &diary{}
	d.Observe(log)
	return d, log
}

func ask(stream string) Ask { return Ask{Key: hub.Key{Vhost: "host", App: "live", Stream: stream}} }

func connect(t *testing.T, d *Desk, v Visitor) *Session {
	t.Helper()
	s, err := d.Connect(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOneSessionManyActs(t *testing.T) {
	d, log := newDesk(Rules{})
	s := connect(t, d, Visitor{Connects: true})
	if _, err := s.Publish(t.Context(), ask("a")); err != nil {
		t.Fatal(err)
	}
	if d.Publisher(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "a"}) != s {
		t.Error("publisher is not listed")
	}
	s.Leave(nil)
	s.Leave(errors.New("twice"))
	if _, err := s.Publish(t.Context(), ask("b")); err != nil {
		t.Fatal(err)
	}
	s.Close(ErrIdle)
	s.Close(nil)
	log.want(t, "connected a", "published a", "unpublished a", "connected b", "published b", "unpublished b: nobody watches", "closed b: nobody watches")
	if n, ever := d.Len(); n != 0 || ever != 1 {
		t.Errorf("%d sessions, %d ever", n, ever)
	}
	if d.Hub.Stream(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "a"}) != nil {
		t.Error("stream is kept")
	}
}

func TestRefusedHoldsNoName(t *testing.T) {
	d, log := newDesk(Rules{})
	refuse := true
	d.Authorize(rule(func(_ context.Context, r *Request) error {
		if r.Act == Publish && refuse {
			return fmt.Errorf("callback: %w", ErrDenied)
		}
		return nil
	}))
	s := connect(t, d, Visitor{})
	if _, err := s.Publish(t.Context(), ask("a")); !errors.Is(err, ErrDenied) || Code(err) != 1052 {
		t.Errorf("got %v, code %d", err, Code(err))
	}
	for range d.Hub.All() {
		t.Error("a refused publisher left a stream")
	}
	refuse = false
	if _, err := s.Publish(t.Context(), ask("a")); err != nil {
		t.Error(err)
	}
	s.Close(nil)
	log.want(t, "published a", "unpublished a")
}

// undoer is an authorizer that writes down what came to nothing.
type undoer struct {
	rule
	name string
	log  *diary
}

func (u undoer) Undo(r *Request, err error) {
	u.log.lines = append(u.log.lines, fmt.Sprint(u.name, " undoes ", r.Act, ": ", err))
}

// Who admitted is told, the last one first, when one after it refuses; who refuses and
// who was not asked are not.
func TestUndo(t *testing.T) {
	d, log := newDesk(Rules{})
	yes := func(context.Context, *Request) error { return nil }
	no := func(_ context.Context, r *Request) error { return ErrDenied }
	gone := false
	d.Authorize(undoer{yes, "one", log}, rule(yes), undoer{func(ctx context.Context, r *Request) error {
		if gone {
			r.Session.Kick(ErrKicked)
			<-ctx.Done()
		}
		return nil
	}, "two", log}, undoer{no, "three", log}, undoer{yes, "four", log})
	s := connect(t, d, Visitor{})
	if err := s.Watch(t.Context(), ask("a")); !errors.Is(err, ErrDenied) {
		t.Errorf("refused with %v", err)
	}
	log.want(t, "two undoes play: access denied", "one undoes play: access denied")
	gone = true
	if _, err := s.Publish(t.Context(), ask("a")); !errors.Is(err, ErrKicked) {
		t.Errorf("one that goes meanwhile: %v", err)
	}
	log.want(t, "two undoes publish: kicked by the API", "one undoes publish: kicked by the API")
	s.Close(nil)
}

func TestBusyIsUndoneOnce(t *testing.T) {
	d, log := newDesk(Rules{})
	a, b := connect(t, d, Visitor{}), connect(t, d, Visitor{})
	if _, err := a.Publish(t.Context(), ask("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), ask("a")); Code(err) != 1028 {
		t.Errorf("got %v, want busy", err)
	}
	b.Close(nil)
	log.want(t, "published a", "unpublished a: stream is busy")
	if a.Context().Err() != nil {
		t.Error("the first publisher was disturbed")
	}
}

// Who comes back at once may find its old connection still there: the desk has
// that one looked at before it says that the stream is busy.
func TestBackBeforeTheOldConnectionIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDesk(Rules{})
		looked := 0
		var old *Session
		old = connect(t, d, Visitor{Look: func() {
			if looked++; looked == 2 {
				old.Close(nil)
			}
		}})
		if _, err := old.Publish(t.Context(), ask("s")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		back := connect(t, d, Visitor{})
		if _, err := back.Publish(t.Context(), ask("s")); err != nil {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		other := connect(t, d, Visitor{})
		began = time.Now()
		if _, err := other.Publish(t.Context(), ask("s")); !errors.Is(err, hub.ErrBusy) || time.Since(began) > 200*time.Millisecond {
			t.Errorf("a stream that is busy: %v after %v", err, time.Since(began))
		}
	})
}

func TestPreempt(t *testing.T) {
	for _, c := range []struct {
		how  Preempt
		ip   string
		take bool
	}{{PreemptOff, "10.0.0.1", false}, {PreemptSameIP, "10.0.0.1", true}, {PreemptSameIP, "10.0.0.2", false}, {PreemptOn, "10.0.0.2", true}} {
		d, _ := newDesk(Rules{Preempt: func(string) Preempt { return c.how }})
		a, b := connect(t, d, Visitor{IP: "10.0.0.1"}), connect(t, d, Visitor{IP: c.ip})
		if _, err := a.Publish(t.Context(), ask("a")); err != nil {
			t.Fatal(err)
		}
		_, err := b.Publish(t.Context(), ask("a"))
		if took := err == nil; took != c.take {
			t.Errorf("%v from %s: %v", c.how, c.ip, err)
		}
		if kicked := errors.Is(context.Cause(a.Context()), hub.ErrTaken); kicked != c.take {
			t.Errorf("%v from %s: first publisher ended with %v", c.how, c.ip, context.Cause(a.Context()))
		}
		if c.take {
			a.Close(hub.ErrTaken)
			if d.Publisher(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "a"}) != b {
				t.Error("newcomer is not listed after the first has left")
			}
		}
	}
}

func TestKickInterruptsSlowAuthorizer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDesk(Rules{})
		d.Authorize(rule(func(ctx context.Context, _ *Request) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}))
		s := connect(t, d, Visitor{})
		go func() {
			time.Sleep(time.Second)
			d.Session(s.ID).Kick(ErrKicked)
		}()
		if _, err := s.Publish(t.Context(), ask("a")); !errors.Is(err, ErrKicked) {
			t.Errorf("got %v", err)
		}
		s.Close(ErrKicked)
	})
}

func TestLimitsAndShutdown(t *testing.T) {
	d, _ := newDesk(Rules{Max: func() int { return 1 }, Vhost: func(string) (string, bool) { return "", false }})
	s := connect(t, d, Visitor{})
	if _, err := d.Connect(t.Context(), Visitor{}); Code(err) != 1074 {
		t.Errorf("got %v, want too many", err)
	}
	if _, err := s.Play(t.Context(), ask("a"), hub.Options{}); Code(err) != 2014 {
		t.Errorf("got %v, want no vhost", err)
	}
	s.Close(nil)
	d.Shut(ErrShutdown)
	if _, err := d.Connect(t.Context(), Visitor{}); Code(err) != 1098 {
		t.Errorf("got %v, want shutdown", err)
	}
}

func TestTrafficOutlivesSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDesk(Rules{})
		ctx, cancel := context.WithCancel(t.Context())
		go d.Run(ctx)
		p, v := connect(t, d, Visitor{}), connect(t, d, Visitor{})
		pub, err := p.Publish(t.Context(), ask("a"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Play(t.Context(), ask("a"), hub.Options{}); err != nil {
			t.Fatal(err)
		}
		id := pub.Stream().ID
		time.Sleep(SampleEvery / 6) // never at the moment of a sample
		for range 40 {
			time.Sleep(time.Second)
			pub.Write(&media.Frame{Track: &media.Track{Kind: media.Audio}})
			p.Count(1000, 0)
			v.Count(0, 2000)
		}
		synctest.Wait()
		if in, _ := p.Kbps(); in != 8 {
			t.Errorf("publisher at %d kbit/s, want 8", in)
		}
		if got := d.Traffic()[id]; got != (Traffic{40000, 80000, 8, 16}) {
			t.Errorf("stream: %+v", got)
		}
		v.Close(nil)
		if got := d.Traffic()[id]; got.In != 40000 || got.Out != 80000 {
			t.Errorf("stream after the viewer left: %+v", got)
		}
		p.Close(nil)
		time.Sleep(4 * time.Second)
		tr := d.Traffic()
		if _, kept := tr[id]; kept {
			t.Error("totals of a stream that is gone are kept")
		}
		if got := tr[""]; got.In != 40000 || got.Out != 80000 {
			t.Errorf("server: %+v", got)
		}
		cancel()
		synctest.Wait()
	})
}

// However many take a stream over from one another at once, the one that has it
// in the end is the one that is listed.
func TestManyTakeOver(t *testing.T) {
	for range 50 {
		d, _ := newDesk(Rules{Preempt: func(string) Preempt { return PreemptOn }})
		d.observers = nil
		var wg sync.WaitGroup
		var sessions []*Session
		for range 8 {
			s := connect(t, d, Visitor{})
			sessions = append(sessions, s)
			wg.Go(func() {
				if _, err := s.Publish(s.Context(), ask("a")); err != nil && !errors.Is(err, hub.ErrTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "a"}
		now := d.Hub.Stream(key).Publication()
		listed := d.Publisher(key)
		if now == nil || listed == nil || listed.publication != now {
			t.Fatalf("%v publishes, %v is listed", now, listed)
		}
		for _, s := range sessions {
			s.Close(nil)
		}
		if d.Publisher(key) != nil || d.Hub.Stream(key) != nil {
			t.Fatal("something is left")
		}
	}
}
