package srt

import (
	"math/rand/v2"
	"testing"
	"time"
)

// What is kept of a burst is given back, encrypted or not: then a player has no buffer of
// its own.
func TestBurstIsGivenBack(t *testing.T) {
	for _, secret := range []string{"", "secretpass1"} {
		w := &way{rand: rand.New(rand.NewPCG(1, 2)), delay: 10 * time.Millisecond, loss: 0.02}
		p := newPair(t, w, Params{PeerLatency: time.Second}, Params{}, 7, secret, secret)
		p.connect()
		shared := payload(1)
		for range 2000 {
			if !p.near.WriteShared(p.now, shared) {
				t.Fatal("no room")
			}
		}
		if n := len(p.near.snd.ring); n < 2000 {
			t.Errorf("there is room for %d only", n)
		}
		p.run(p.now.Add(2 * time.Second))
		if s := p.near.snd; len(s.ring) > usualRing || len(s.pool) > 0 || len(p.got) < 1990 {
			t.Errorf("secret %q: room for %d and %d buffers are kept; %d came", secret, len(s.ring), len(s.pool), len(p.got))
		}
		for _, b := range p.got {
			if string(b) != string(shared) {
				t.Fatal("it came spoilt")
			}
		}
	}
}

// A player's packets cost no allocation, and the payload is the one that all share.
func TestSharedPayloads(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(1, 2)), delay: time.Millisecond}
	p := newPair(t, w, Params{}, Params{}, 7, "", "")
	p.connect()
	c, now := p.near, p.now
	shared := payload(1)
	sent := 0
	c.p.Send = func([]byte) {}
	c.p.SendData = func(head, body []byte) {
		if sent++; len(head) != headerSize || &body[0] != &shared[0] {
			t.Fatal("another payload")
		}
	}
	ack := appendControl(nil, ctlACK, 0, 1, 0, c.ID())
	ack = append(ack, make([]byte, 28)...)
	step := func() {
		now = now.Add(time.Millisecond)
		if !c.WriteShared(now, shared) {
			t.Fatal("no room")
		}
		be.PutUint32(ack[4:], be.Uint32(ack[4:])+1)
		be.PutUint32(ack[16:], c.snd.next)
		be.PutUint32(ack[16+4:], 20*ms)
		be.PutUint32(ack[16+12:], 8192)
		c.Handle(now, ack)
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if sent < 2000 || c.Stats().SendHeld > 0 || c.Stats().Bogus > 0 {
		t.Errorf("%d sent, %+v", sent, c.Stats())
	}
}
