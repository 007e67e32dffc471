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
	move(Want{"one", "ONE", at, one})
	before := d.open[0].l
	come(one)
	move(Want{"two", "TWO", at, two})
	come(two)
	if d.open[0].l != before {
		t.Error("the socket was opened anew")
	}
	if got := d.Listening(); len(got) != 1 || got[0] != (Listening{"TWO", "tcp://" + at[0]}) {
		t.Errorf("open: %v", got)
	}
	if _, err := d.Prepare(t.Context(), []Want{{"one", "ONE", at, one}, {"two", "TWO", at, two}}); err == nil || !strings.Contains(err.Error(), "two: listen at "+at[0]+": one listens there too") {
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
	m, err := d.Prepare(t.Context(), []Want{{"one", "ONE", at, one}})
	if err != nil {
		t.Fatal(err)
	}
	m.Commit()
	if nc, err := net.Dial("tcp", at[0]); err == nil {
		nc.Close()
		t.Error("open after the end")
	}
}
