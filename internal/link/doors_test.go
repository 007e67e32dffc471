package link

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
)

// A socket that another part gets is never closed, and connections go to who has
// it when they come.
func TestDoorsChangeHands(t *testing.T) {
	d := NewDoors(slog.New(slog.DiscardHandler))
	one, two := NewEntrance(), NewEntrance()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := []string{l.Addr().String()}
	l.Close()
	move := func(wants ...Want) {
		t.Helper()
		m, err := d.Prepare(t.Context(), wants)
		if err != nil {
			t.Fatal(err)
		}
		m.Commit()
	}
	come := func(e *Entrance) {
		t.Helper()
		nc, err := net.Dial("tcp", at[0])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		in, err := e.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	move(Want{"one", "ONE", at, one, false})
	before := d.open[0].l
	come(one)
	move(Want{"two", "TWO", at, two, false})
	come(two)
	if d.open[0].l != before {
		t.Error("the socket was opened anew")
	}
	if got := d.Listening(); len(got) != 1 || got[0] != (Listening{"TWO", "tcp://" + at[0]}) {
		t.Errorf("open: %v", got)
	}
	if _, err := d.Prepare(t.Context(), []Want{{"one", "ONE", at, one, false}, {"two", "TWO", at, two, false}}); err == nil || !strings.Contains(err.Error(), "two: listen at "+at[0]+": one listens there too") {
		t.Errorf("both at one address: %v", err)
	}
	// One who is let in when nobody accepts any more is not left hanging.
	nc, err := net.Dial("tcp", at[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	d.Close()
	if _, err := io.ReadAll(nc); errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	two.Close()
	if _, err := two.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept at a closed entrance: %v", err)
	}
	// A move that was prepared before the end opens nothing after it.
	m, err := d.Prepare(t.Context(), []Want{{"one", "ONE", at, one, false}})
	if err != nil {
		t.Fatal(err)
	}
	m.Commit()
	if nc, err := net.Dial("tcp", at[0]); err == nil {
		nc.Close()
		t.Error("open after the end")
	}
}

// Two parts have one address where one of them is told by how its connections begin.
func TestDoorsShareAnAddress(t *testing.T) {
	d := NewDoors(slog.New(slog.DiscardHandler))
	defer d.Close()
	web, media := NewEntrance(), NewEntrance()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := []string{l.Addr().String()}
	l.Close()
	for _, wants := range [][]Want{
		{{"web", "WEB", at, web, false}, {"media", "MEDIA", at, media, true}},
		{{"media", "MEDIA", at, media, true}, {"web", "WEB", at, web, false}},
	} {
		m, err := d.Prepare(t.Context(), wants)
		if err != nil {
			t.Fatal(err)
		}
		m.Commit()
		if got := d.Listening(); len(got) != 2 || got[0].Name != "WEB" || got[1].Name != "MEDIA" {
			t.Errorf("open: %v", got)
		}
		// One that says nothing holds nobody up.
		silent, err := net.Dial("tcp", at[0])
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		for word, e := range map[string]*Entrance{"GET / HTTP/1.1": web, "\x00\x14\x00\x01": media, "\x16\x03\x01": web} {
			nc, err := net.Dial("tcp", at[0])
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.Write([]byte(word))
			in, err := e.Accept()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(word))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != word {
				t.Errorf("%q reads %q, %v", word, got, err)
			}
			if _, ok := in.(*net.TCPConn); !ok {
				t.Errorf("%q came as %T: what needs its descriptor has none", word, in)
			}
			in.Close()
		}
	}
	for _, wants := range [][]Want{
		{{"web", "WEB", at, web, false}, {"more", "MORE", at, web, false}},
		{{"media", "MEDIA", at, media, true}, {"more", "MORE", at, media, true}},
		{{"web", "WEB", at, web, false}, {"media", "MEDIA", at, media, true}, {"more", "MORE", at, web, false}},
	} {
		if _, err := d.Prepare(t.Context(), wants); err == nil {
			t.Errorf("%d parts at one address", len(wants))
		}
	}
}

// A connection that cannot be looked into loses no byte by it.
func TestPeekCopy(t *testing.T) {
	a, b := net.Pipe()
	go a.Write([]byte("hello"))
	first, nc, err := peek(b)
	got := make([]byte, 5)
	if _, e := io.ReadFull(nc, got); err != nil || e != nil || first != 'h' || string(got) != "hello" {
		t.Errorf("%q, then %q: %v %v", first, got, err, e)
	}
	a.Close()
	if _, _, err := peek(b); err == nil {
		t.Error("a byte of nothing")
	}
}
