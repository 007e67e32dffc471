package auth

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
)

type no struct{}

func (no) Authorize(context.Context, *session.Request) error { return session.ErrDenied }

func limited(l Limit, more ...session.Authorizer) (*session.Desk, *Limits) {
	var limits *Limits
	d := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(n string) (string, bool) { return n, true },
		Reserve: func(r *session.Request) (func(), error) { return limits.Reserve(r) }})
	d.Authorize(more...)
	limits = NewLimits(d, func(string) Limit { return l })
	return d, limits
}

func visitor(d *session.Desk, t *testing.T, ip string) *session.Session {
	t.Helper()
	s, err := d.Connect(t.Context(), session.Visitor{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stream(name string) session.Ask {
	return session.Ask{Key: hub.Key{Vhost: "v", App: "live", Stream: name}}
}

// Each limit refuses who is one too many, and lets the next in when somebody left.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit Limit
		// the first two are admitted, the third is not, the fourth is another's
		third, other func(d *session.Desk) (ip string, ask session.Ask)
	}{
		{"sessions", Limit{Sessions: 2}, func(*session.Desk) (string, session.Ask) { return "c", stream("c") }, nil},
		{"players", Limit{Players: 2}, func(*session.Desk) (string, session.Ask) { return "c", stream("a") }, func(*session.Desk) (string, session.Ask) { return "c", stream("b") }},
		{"per address", Limit{PerAddress: 2}, func(*session.Desk) (string, session.Ask) { return "a", stream("c") }, func(*session.Desk) (string, session.Ask) { return "b", stream("c") }},
	} {
		d, l := limited(c.limit)
		one, two := visitor(d, t, "a"), visitor(d, t, "a")
		for _, s := range []*session.Session{one, two} {
			if err := s.Watch(t.Context(), stream("a")); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		ip, ask := c.third(d)
		three := visitor(d, t, ip)
		if err := three.Watch(t.Context(), ask); !errors.Is(err, session.ErrFull) {
			t.Errorf("%s: the third: %v", c.name, err)
		}
		if c.other != nil {
			ip, ask := c.other(d)
			if err := visitor(d, t, ip).Watch(t.Context(), ask); err != nil {
				t.Errorf("%s: the other: %v", c.name, err)
			}
		}
		one.Close(nil)
		if err := three.Watch(t.Context(), ask); err != nil {
			t.Errorf("%s: after one has left: %v", c.name, err)
		}
		d.End(session.ErrKicked, nil)
		for s := range d.Sessions() {
			s.Close(nil)
		}
		if len(l.vhosts)+len(l.players)+len(l.addresses) != 0 {
			t.Errorf("%s: still counted when all have left: %v %v %v", c.name, l.vhosts, l.players, l.addresses)
		}
	}
}

// One who is refused after all takes no place, and one who cannot have the stream.
func TestLimitsGiveBack(t *testing.T) {
	d, l := limited(Limit{Sessions: 5}, no{})
	s := visitor(d, t, "a")
	if _, err := s.Publish(t.Context(), stream("a")); !errors.Is(err, session.ErrDenied) {
		t.Errorf("got %v", err)
	}
	d, l2 := limited(Limit{Sessions: 5})
	if _, err := visitor(d, t, "a").Publish(t.Context(), stream("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := visitor(d, t, "b").Publish(t.Context(), stream("a")); !errors.Is(err, hub.ErrBusy) {
		t.Errorf("got %v", err)
	}
	if l.vhosts["v"] != 0 || l2.vhosts["v"] != 1 {
		t.Errorf("counted: %d and %d, want 0 and 1", l.vhosts["v"], l2.vhosts["v"])
	}
}

func TestPublishRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := limited(Limit{PublishesPerMinute: 3})
		s := visitor(d, t, "a")
		publish := func() error {
			_, err := s.Publish(t.Context(), stream("a"))
			s.Leave(nil)
			return err
		}
		for i := range 3 {
			if err := publish(); err != nil {
				t.Errorf("publish %d: %v", i, err)
			}
			time.Sleep(10 * time.Second)
		}
		if err := publish(); !errors.Is(err, session.ErrFull) {
			t.Errorf("the fourth: %v", err)
		}
		if err := s.Watch(t.Context(), stream("a")); err != nil {
			t.Errorf("playing: %v", err)
		}
		s.Leave(nil)
		time.Sleep(31 * time.Second)
		if err := publish(); err != nil {
			t.Errorf("a minute after the first: %v", err)
		}
		time.Sleep(2 * time.Minute)
		other := visitor(d, t, "b")
		if _, err := other.Publish(t.Context(), stream("b")); err != nil {
			t.Fatal(err)
		}
		if len(l.publishes) != 1 {
			t.Errorf("%d addresses are remembered, want 1", len(l.publishes))
		}
		s.Close(nil)
		other.Close(nil)
	})
}

func TestBitrate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := limited(Limit{BitrateKbps: 1000})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		ends := func(kbps int) (after time.Duration) {
			s := visitor(d, t, "a")
			if _, err := s.Publish(t.Context(), stream(fmt.Sprint(kbps))); err != nil {
				t.Fatal(err)
			}
			defer s.Close(nil)
			for ; after < time.Minute && s.Context().Err() == nil; after += 40 * time.Millisecond {
				s.Count(kbps*125/25, 0)
				time.Sleep(40 * time.Millisecond)
			}
			if after < time.Minute && context.Cause(s.Context()) != ErrBitrate {
				t.Errorf("%d kbit/s: %v", kbps, context.Cause(s.Context()))
			}
			return after
		}
		if after := ends(990); after < time.Minute {
			t.Errorf("990 kbit/s was ended after %v", after)
		}
		if after := ends(1200); after > 15*time.Second {
			t.Errorf("1200 kbit/s was ended after %v", after)
		}
		cancel()
		<-done
	})
}
