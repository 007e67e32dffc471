package srt

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// A sender whose clock jumps, forward or back, loses nothing while nothing is missing, and
// soon has what is missing waited for again.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * time.Second, -10 * time.Second, 500 * time.Millisecond} {
		w := &way{rand: rand.New(rand.NewPCG(1, 2)), delay: 20 * time.Millisecond}
		p := newPair(t, w, Params{}, Params{RecvLatency: 160 * time.Millisecond}, 7, "", "")
		p.connect()
		var by uint32
		send := p.near.p.Send
		p.near.p.Send = func(b []byte) {
			if b = bytes.Clone(b); !isControl(b) {
				be.PutUint32(b[8:], be.Uint32(b[8:])+by)
			}
			send(b)
		}
		n := uint32(0)
		play := func(span time.Duration) {
			for end := p.now.Add(span); p.now.Before(end); n++ {
				p.near.Write(p.now, payload(n))
				p.run(p.now.Add(2 * time.Millisecond))
			}
		}
		play(2 * time.Second)
		by = uint32(jump.Microseconds())
		play(3 * time.Second)
		if s := p.far.Stats(); s.RecvDrop > 0 || p.far.Err() != nil {
			t.Errorf("jump of %v: %v, %+v", jump, p.far.Err(), s)
		}
		w.loss = 0.02
		play(4 * time.Second)
		w.loss = 0
		play(time.Second)
		if s := p.far.Stats(); s.RecvDrop > 1 || s.RecvLoss == 0 {
			t.Errorf("after a jump of %v: %+v", jump, s)
		}
	}
}

// What comes twice, packets of media and of control, changes nothing.
func TestReplay(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(1, 2)), delay: 20 * time.Millisecond, loss: 0.02}
	p := newPair(t, w, Params{}, Params{RecvLatency: 400 * time.Millisecond}, 7, "secretpass1", "secretpass1")
	p.connect()
	for _, c := range []*Conn{p.near, p.far} {
		send := c.p.Send
		var old [][]byte
		c.p.Send = func(b []byte) {
			send(b)
			if typ, _ := controlType(b); !isControl(b) || typ != ctlShutdown {
				old = append(old, bytes.Clone(b))
			}
			if len(old) > 200 {
				old = old[1:]
			}
			send(old[w.rand.IntN(len(old))])
			send(b)
		}
	}
	const packets = 5000
	for i := range uint32(packets) {
		p.near.Write(p.now, payload(i))
		p.run(p.now.Add(2 * time.Millisecond))
	}
	p.loss = 0
	p.run(p.now.Add(time.Second))
	if p.near.Err() != nil || p.far.Err() != nil || len(p.got) != packets {
		t.Errorf("%d of %d came; %v, %v", len(p.got), packets, p.near.Err(), p.far.Err())
	}
	for i, b := range p.got {
		if be.Uint32(b) != uint32(i) {
			t.Fatalf("packet %d is %d", i, be.Uint32(b))
		}
	}
}

// A peer that never acknowledges is held for its latency only, however long it is there.
func TestNeverAcknowledges(t *testing.T) {
	s := newScript(t, 0xbf, 5)
	most := 0
	for i := range 30_000 {
		s.c.Write(s.now, payload(uint32(i)))
		s.pass(2 * time.Millisecond)
		if i%100 == 0 {
			s.ctl(ctlKeepAlive, 0, "")
		}
		s.sent = nil
		most = max(most, s.c.Stats().SendHeld)
	}
	if s.c.Err() != nil || most > 600 || s.c.Stats().SendDrop < 29_000 {
		t.Errorf("%v; %d were held, %+v", s.c.Err(), most, s.c.Stats())
	}
}
