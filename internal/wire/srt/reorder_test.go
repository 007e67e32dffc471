package srt

import (
	"math/rand/v2"
	"testing"
	"time"
)

// On a way that turns packets around and loses none, who tolerates that asks for nothing;
// where some are lost too all come all the same.
func TestReorderTolerance(t *testing.T) {
	run := func(most int, loss float64) (reports, missing int64) {
		w := &way{rand: rand.New(rand.NewPCG(1, 2)), loss: loss, reorder: 0.1, delay: 20 * time.Millisecond}
		p := newPair(t, w, Params{PeerLatency: 300 * time.Millisecond}, Params{Reorder: most}, 12345, "", "")
		p.connect()
		const packets = 5000
		for i := range uint32(packets) {
			p.near.Write(p.now, payload(i))
			p.run(p.now.Add(2 * time.Millisecond))
		}
		p.run(p.now.Add(2 * time.Second))
		if s := p.far.Stats(); s.Bogus > 0 {
			t.Errorf("%+v", s)
		}
		return p.near.Stats().SendLoss, packets - int64(len(p.got))
	}
	hasty, missing := run(0, 0)
	if hasty < 100 || missing != 0 {
		t.Errorf("without tolerance %d reports, %d missing", hasty, missing)
	}
	if patient, missing := run(50, 0); patient > hasty/10 || missing != 0 {
		t.Errorf("with tolerance %d reports where there were %d, %d missing", patient, hasty, missing)
	}
	if _, missing := run(50, 0.05); missing != 0 {
		t.Errorf("%d missing where some are lost", missing)
	}
}

// The tolerance grows to what is seen, up to its bound, and shrinks in calm.
func TestTolerance(t *testing.T) {
	c := &Conn{p: Params{Reorder: 10}}
	see := func(behind ...int) int {
		for _, b := range behind {
			c.reordered(b)
		}
		return c.rcv.order.tolerance
	}
	if got := see(3); got != 3 {
		t.Errorf("after 3: %d", got)
	}
	if got := see(25); got != 10 {
		t.Errorf("after 25: %d", got)
	}
	for range 100 {
		see(0)
	}
	if got := see(); got != 8 {
		t.Errorf("after a hundred in order: %d", got)
	}
	if got := see(1, 1, 1, 1, 1, 1, 1, 1, 1, 1); got != 7 {
		t.Errorf("after ten that were early: %d", got)
	}
}
