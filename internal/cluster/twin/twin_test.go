package twin

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/hub"
	link "weir/internal/link/twin"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store"
)

// house is one of the two processes.
type house struct {
	Env service.Env
	*Twin
	wishes chan int // for key frames, of publishers here
}

func open() *house {
	h := &house{wishes: make(chan int, 8)}
	hb := hub.New(func(hub.Key) hub.Settings {
		return hub.Settings{Cache: true, CacheFrames: 2500, Queue: 30 * time.Second}
	})
	log := slog.New(slog.DiscardHandler)
	h.Env = service.Env{Log: log, Hub: hb, Handover: &service.Handover{}, Store: service.NewStore(log, hb),
		Desk: session.New(hb, session.Rules{Vhost: func(name string) (string, bool) { return name, true }})}
	h.Twin = New(h.Env)
	return h
}

// openPair opens both, and joins them.
func openPair(t *testing.T) (elder, heir *house, meet func()) {
	t.Helper()
	elder, heir = open(), open()
	return elder, heir, join(t, elder, heir)
}

// join joins two of them. The elder lends what is published once they meet.
func join(t *testing.T, elder, heir *house) (meet func()) {
	t.Helper()
	a, file, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := link.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct {
		h    *house
		c    *link.Conn
		peer Side
	}{{elder, a, Heir}, {heir, b, Elder}} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m, err := side.c.Receive(); err == nil; m, err = side.c.Receive() {
				side.h.Take(&m, side.peer)
			}
			side.h.Part(side.peer)
		}()
		t.Cleanup(func() {
			side.c.Close()
			<-done
		})
	}
	heir.Meet(b, Elder)
	return func() { elder.Meet(a, Heir) }
}

var key = hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}

// publish publishes at a house.
func (h *house) publish(t *testing.T, ip string) (*session.Session, *hub.Publication, error) {
	t.Helper()
	s, err := h.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp", IP: ip, Wish: func(layer int) { h.wishes <- layer }})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Publish(t.Context(), session.Ask{Key: key, Said: session.Said{App: "live", Stream: "s", Param: "?a=1"}})
	if err != nil {
		s.Close(err)
	}
	t.Cleanup(func() { s.Close(nil) })
	return s, p, err
}

// live reports whether somebody publishes.
func (h *house) live() bool {
	st := h.Env.Hub.Stream(key)
	return st != nil && st.Live()
}

// lent returns the publication that a house borrows, once it does.
func (h *house) lent(t *testing.T) *hub.Publication {
	t.Helper()
	var p *hub.Publication
	protocoltest.Eventually(t, "the stream is borrowed", func() bool {
		if st := h.Env.Hub.Stream(key); st != nil {
			p = st.Publication()
		}
		return p != nil && p.Lent
	})
	return p
}

func read(t *testing.T, sub *hub.Subscription, n int) (all []*media.Frame) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(all) < n {
		var one [1]*media.Frame
		if _, err := sub.Read(ctx, one[:]); err != nil {
			t.Fatalf("after %d of %d frames: %v", len(all), n, err)
		}
		all = append(all, one[0])
	}
	return all
}

// What is published at the elder is there at the heir, from the newest group on, with the
// same times and tracks; who publishes it there is told that it is busy, and a kick there
// ends it here. Then the heir's is seen at the elder, on the same line.
func TestTwin(t *testing.T) {
	elder, heir, meet := openPair(t)
	s, p, err := elder.publish(t, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	p.Announce(protocoltest.Picture)
	p.SetMeta([]byte("meta"), false)
	for i := range 30 {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	meet()
	if err := elder.LendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	heir.lent(t)
	here, there := elder.Env.Hub.Subscribe(key, hub.Options{Passive: true}), heir.Env.Hub.Subscribe(key, hub.Options{Passive: true})
	defer here.Close()
	defer there.Close()
	for i := 30; i < 40; i++ {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	want, got := read(t, here, 15), read(t, there, 15)
	for i, f := range got {
		w := want[i]
		if f.DTS != w.DTS || f.CTO != w.CTO || f.Source != w.Source || f.Key != w.Key || string(f.Payload) != string(w.Payload) || !f.Arrived.Equal(w.Arrived) {
			t.Fatalf("frame %d is %+v, want %+v", i, f, w)
		}
		if string(f.Layout.Meta) != "meta" || !f.Track.Same(w.Track) || f.Layout.Main(media.Video) != f.Track || f.Layout != got[0].Layout {
			t.Fatalf("frame %d has layout %+v and track %+v", i, f.Layout, f.Track)
		}
	}
	if a, b := elder.Env.Hub.Stream(key).ID, heir.Env.Hub.Stream(key).ID; a != b {
		t.Errorf("the stream has the ids %s and %s", a, b)
	}
	if stand := heir.Env.Desk.Publisher(key); stand == nil || stand.ID != s.ID || stand.IP != "1.2.3.4" {
		t.Errorf("the publisher is %+v", stand)
	}
	if n, _ := heir.Env.Desk.Len(); n != 0 {
		t.Errorf("the heir has %d sessions of its own", n)
	}
	if _, _, err := heir.publish(t, "5.6.7.8"); !errors.Is(err, hub.ErrBusy) {
		t.Errorf("a second publisher: %v", err)
	}
	viewer, err := elder.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	defer viewer.Close(nil)
	sub, err := viewer.Play(t.Context(), session.Ask{Key: key}, hub.Options{LiveEdge: true})
	if err != nil {
		t.Fatal(err)
	}
	heir.Env.Desk.Publisher(key).Kick(session.ErrKicked)
	protocoltest.Eventually(t, "the publisher is ended", func() bool { return errors.Is(context.Cause(s.Context()), session.ErrKicked) })
	s.Close(context.Cause(s.Context()))
	protocoltest.Eventually(t, "the name is free", func() bool { return !heir.live() })
	// Those at the elder see who comes to the heir.
	s, p, err = heir.publish(t, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(nil)
	elder.lent(t)
	for i := range 10 {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	if _, err := sub.Read(t.Context(), make([]*media.Frame, 1)); !errors.Is(err, session.ErrKicked) {
		t.Errorf("the viewer reads on: %v", err)
	}
	if f := read(t, sub, 1)[0]; f.DTS <= got[14].DTS {
		t.Errorf("the stream goes on at %v, after %v", f.DTS, got[14].DTS)
	}
	if _, _, err := elder.publish(t, "5.6.7.8"); !errors.Is(err, hub.ErrBusy) {
		t.Errorf("a publisher at the elder: %v", err)
	}
}

// What comes to the heir is cut into segments there, and not at the elder too, though that
// did so before for a publisher who left, and has players: both would write the same files.
func TestElderCutsNoMore(t *testing.T) {
	elder, heir, meet := openPair(t)
	var cut atomic.Int32
	detach := elder.Env.Store.Attach(key, &store.View{
		Rules: func() store.Rules { return store.Rules{Fragment: time.Second, TDRatio: 1, AOFRatio: 2.1} },
		Forms: func(*store.Run) store.Forms { return store.TS },
		Next:  func() int64 { return 0 },
		Done:  func(*store.Segment) { cut.Add(1) },
	})
	defer detach()
	viewer, err := elder.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	defer viewer.Close(nil)
	sub, err := viewer.Play(t.Context(), session.Ask{Key: key}, hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	meet()
	s, p, err := heir.publish(t, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	if all := read(t, sub, 10); len(all) != 10 {
		t.Errorf("the player reads %d frames", len(all))
	}
	for i := 100; i < 200; i++ {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	s.Close(nil)
	protocoltest.Eventually(t, "the stream has ended", func() bool { return !elder.live() })
	elder.Env.Store.Stop()
	if n := cut.Load(); n != 0 {
		t.Errorf("the elder has cut %d segments", n)
	}
}

// A publisher that was asked to move takes its stream over from itself; others do not.
func TestMoved(t *testing.T) {
	elder, heir, meet := openPair(t)
	meet()
	s, _, err := elder.publish(t, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan session.Move, 1)
	s.MoveBy(func(m session.Move) { asked <- m })
	heir.lent(t)
	if n := elder.Move(session.Move{Description: "x"}); n != 1 || (<-asked).Description != "x" {
		t.Errorf("%d were asked", n)
	}
	if _, _, err := heir.publish(t, "5.6.7.8"); !errors.Is(err, hub.ErrBusy) {
		t.Errorf("another publisher: %v", err)
	}
	protocoltest.Eventually(t, "it has moved", func() bool { _, _, err := heir.publish(t, "1.2.3.4"); return err == nil })
	protocoltest.Eventually(t, "its old connection is ended", func() bool { return errors.Is(context.Cause(s.Context()), hub.ErrTaken) })
}

// When the other process dies, what it lent ends.
func TestGone(t *testing.T) {
	elder, heir, meet := openPair(t)
	meet()
	if _, _, err := elder.publish(t, "1.2.3.4"); err != nil {
		t.Fatal(err)
	}
	heir.lent(t)
	elder.Part(Heir)
	protocoltest.Eventually(t, "the stream has ended", func() bool { return !heir.live() })
	if _, _, err := heir.publish(t, "5.6.7.8"); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
}

// watched notes which streams the desk says are wanted beyond it.
type watched struct{ began, ended atomic.Int32 }

func (w *watched) Observe(e session.Event) {
	switch e.What {
	case session.Wanted:
		w.began.Add(1)
	case session.Unwanted:
		w.ended.Add(1)
	}
}

// A process that was upgraded while the one before it still serves passes on between the
// one before and the one after: streams both ways, that they are busy, kicks, and whether
// somebody plays.
func TestChain(t *testing.T) {
	oldest, middle, meet := openPair(t)
	first, second := &watched{}, &watched{}
	oldest.Env.Desk.Observe(first)
	middle.Env.Desk.Observe(second)
	meet()
	s, p, err := oldest.publish(t, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	p.Announce(protocoltest.Picture)
	p.Write(protocoltest.Video(protocoltest.Picture, 0, 25, 100))
	middle.lent(t)
	newest := open()
	join(t, middle, newest)()
	if err := middle.LendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	newest.lent(t)
	viewer, err := newest.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := viewer.Play(t.Context(), session.Ask{Key: key}, hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Write(protocoltest.Video(protocoltest.Picture, 1, 25, 100))
	if all := read(t, sub, 2); all[1].Source != protocoltest.Video(protocoltest.Picture, 1, 25, 100).Source {
		t.Errorf("the second frame is of %v", all[1].Source)
	}
	protocoltest.Eventually(t, "the oldest knows that somebody plays", func() bool { return first.began.Load() == 1 && second.began.Load() == 1 })
	if stand := newest.Env.Desk.Publisher(key); stand == nil || stand.ID != s.ID {
		t.Errorf("the publisher is %+v", stand)
	}
	newest.Env.Desk.Publisher(key).Wish(2)
	if layer := <-oldest.wishes; layer != 2 {
		t.Errorf("a key frame of layer %d was wished for", layer)
	}
	viewer.Close(nil)
	protocoltest.Eventually(t, "the oldest knows that nobody plays", func() bool { return first.ended.Load() == 1 })
	newest.Env.Desk.Publisher(key).Kick(session.ErrKicked)
	protocoltest.Eventually(t, "the publisher is ended", func() bool { return errors.Is(context.Cause(s.Context()), session.ErrKicked) })
	s.Close(context.Cause(s.Context()))
	protocoltest.Eventually(t, "the name is free", func() bool { return !newest.live() && !middle.live() })
	// And the other way.
	old, err := oldest.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(nil)
	if sub, err = old.Play(t.Context(), session.Ask{Key: key}, hub.Options{}); err != nil {
		t.Fatal(err)
	}
	if s, p, err = newest.publish(t, "1.2.3.4"); err != nil {
		t.Fatal(err)
	}
	defer s.Close(nil)
	oldest.lent(t)
	for i := range 3 {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 25, 100))
	}
	read(t, sub, 3)
	if _, _, err := oldest.publish(t, "5.6.7.8"); !errors.Is(err, hub.ErrBusy) {
		t.Errorf("a publisher at the oldest: %v", err)
	}
	// The one between goes: the others go on alone.
	middle.Part(Elder)
	middle.Part(Heir)
	protocoltest.Eventually(t, "the oldest has it no more", func() bool { return !oldest.live() })
	if !newest.live() {
		t.Error("the newest has lost its own stream")
	}
}
