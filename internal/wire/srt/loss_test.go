package srt

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var lossPackets = flag.Int("packets", 5_000, "packets of each seed of TestLossIsRare")

// lose sends packets over a lossy way of 20 ms, each way, and returns how many were given
// up. The time that a packet takes varies by jitter, and the ends look after themselves
// each slack only.
func lose(t testing.TB, seed uint64, loss float64, latency, jitter, slack time.Duration, secret string, packets int) int {
	w := &way{rand: rand.New(rand.NewPCG(seed, 9)), delay: 20 * time.Millisecond, jitter: jitter, slack: slack}
	p := newPair(t, w, Params{PeerLatency: latency, KeyLength: 16}, Params{}, w.rand.Uint32()&maxSeq, secret, secret)
	p.connect()
	if p.near == nil {
		t.Fatal(p.rejected)
	}
	w.loss = loss
	came, last := 0, -1
	p.far.p.Deliver = func(b []byte) {
		n := int(binary.BigEndian.Uint32(b))
		if n <= last {
			t.Fatalf("packet %d after %d", n, last)
		}
		if last = n; n < packets {
			came++
		}
	}
	b := payload(0)
	for i := range packets + 500 { // what comes later shows that these are missing
		binary.BigEndian.PutUint32(b, uint32(i))
		if !p.near.Write(p.now, b) {
			t.Fatalf("no room for packet %d", i)
		}
		p.run(p.now.Add(2 * time.Millisecond))
	}
	p.run(p.now.Add(2 * time.Second))
	if p.near.Err() != nil || p.far.Err() != nil || p.far.Stats().Bogus+p.near.Stats().Bogus+p.far.Stats().Undecrypt > 0 {
		t.Fatalf("ends: %v, %v; %+v", p.near.Err(), p.far.Err(), p.far.Stats())
	}
	return packets - came
}

// A latency of 4 round trips is enough for a way that loses 2 %, and one of 10 for 10 %: at
// most one packet in 10,000 is given up, on ways and by ends that scheduling makes uneven. What 30 % lose is bounded too. The long form is -packets 200000.
func TestLossIsRare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		loss    float64
		latency time.Duration
		most    int // of 10,000
	}{{0.02, 160 * time.Millisecond, 1}, {0.10, 400 * time.Millisecond, 1}, {0.30, 400 * time.Millisecond, 5}} {
		const seeds = 10
		lost := 0
		for seed := range uint64(seeds) {
			secret := []string{"", "secretpass1"}[seed&1]
			lost += lose(t, seed, c.loss, c.latency, time.Millisecond, 4*time.Millisecond, secret, *lossPackets)
		}
		all := seeds * *lossPackets
		t.Logf("%.0f %% at %v: %d of %d are missing", 100*c.loss, c.latency, lost, all)
		if lost*10_000 > c.most*all {
			t.Errorf("with %.0f %% at %v, %d of %d are missing, at most %d of 10,000 may be", 100*c.loss, c.latency, lost, all, c.most)
		}
	}
}
