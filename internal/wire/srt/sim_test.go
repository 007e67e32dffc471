package srt

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A way carries datagrams between two ends in simulated time.
type way struct {
	rand    *rand.Rand
	now     time.Time
	loss    float64
	reorder float64
	delay   time.Duration
	jitter  time.Duration // at most, besides
	slack   time.Duration // the ends are looked after at multiples of it only
	queue   flying
	n       int
}

type datagram struct {
	at time.Time
	n  int
	b  []byte
	to func(now time.Time, b []byte)
}

type flying []datagram

func (f flying) Len() int { return len(f) }
func (f flying) Less(i, j int) bool {
	return f[i].at.Before(f[j].at) || f[i].at.Equal(f[j].at) && f[i].n < f[j].n
}
func (f flying) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flying) Push(x any)   { *f = append(*f, x.(datagram)) }
func (f *flying) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}

func (w *way) send(b []byte, to func(time.Time, []byte)) {
	if w.rand.Float64() < w.loss {
		return
	}
	d := w.delay
	if w.rand.Float64() < w.reorder {
		d += 5 * time.Millisecond
	}
	if w.jitter > 0 {
		d += time.Duration(w.rand.Int64N(int64(w.jitter)))
	}
	w.n++
	heap.Push(&w.queue, datagram{w.now.Add(d), w.n, bytes.Clone(b), to})
}

// A pair is a caller and a listener's connection, joined.
type pair struct {
	*way
	t        testing.TB
	caller   *Caller
	listener Listener
	near     *Conn // the caller's
	far      *Conn
	rejected error
	got      [][]byte // at far
	requests int
	secret   string // the listener's passphrase
	p        Params // of far
	stalled  bool   // nobody looks after far, and what comes for it is kept
	kept     [][]byte
}

var epoch = time.Unix(1_700_000_000, 0)

func newPair(t testing.TB, w *way, near, far Params, isn uint32, secret, ours string) *pair {
	w.now = epoch
	p := &pair{way: w, t: t, listener: Listener{Secret: []byte("secret")}, secret: ours, p: far}
	near.Rand, p.p.Rand = rng(w.rand), rng(w.rand)
	near.Send = func(b []byte) { w.send(b, p.toFar) }
	p.p.Send = func(b []byte) { w.send(b, p.toNear) }
	p.p.Deliver = func(b []byte) { p.got = append(p.got, bytes.Clone(b)) }
	var err error
	p.caller, err = NewCaller(w.now, near, 77, isn, "#!::r=live/a,m=publish", secret, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type rngReader struct{ r *rand.Rand }

func rng(r *rand.Rand) rngReader { return rngReader{r} }

func (r rngReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.r.Uint32())
	}
	return len(b), nil
}

var callerAddr = netip.MustParseAddrPort("127.0.0.1:5000")

func (p *pair) toFar(now time.Time, b []byte) {
	id, ok := Destination(b)
	if !ok {
		p.t.Fatal("a datagram of a bad length")
	}
	if id != 0 {
		if p.stalled {
			p.kept = append(p.kept, b)
		} else if p.far != nil && id == p.far.ID() {
			p.far.Handle(now, b)
		}
		return
	}
	reply, req := p.listener.Handle(now, callerAddr, b)
	if reply != nil {
		p.send(reply, p.toNear)
	}
	if req == nil {
		return
	}
	p.requests++
	if p.far != nil {
		p.far.Answer(now)
		return
	}
	keys, err := req.Unlock(p.secret)
	if err != nil {
		var code Reject
		errors.As(err, &code)
		p.send(req.Reject(code), p.toNear)
		return
	}
	p.far = req.Accept(now, 99, p.p, keys)
}

func (p *pair) toNear(now time.Time, b []byte) {
	if p.near != nil {
		p.near.Handle(now, b)
		return
	}
	c, err := p.caller.Handle(now, b)
	if err != nil {
		p.rejected = err
	}
	if c != nil {
		p.near = c
	}
}

// run lets time pass until end.
func (p *pair) run(end time.Time) {
	for {
		next := end
		if len(p.queue) > 0 && p.queue[0].at.Before(next) {
			next = p.queue[0].at
		}
		if p.near == nil {
			if at := p.caller.Next(); at.Before(next) {
				next = at
			}
		}
		for _, c := range p.ends() {
			if c.Err() == nil {
				if at := p.round(c.Next()); at.Before(next) {
					next = at
				}
			}
		}
		p.now = next
		if !next.Before(end) {
			p.now = end
			return
		}
		for len(p.queue) > 0 && !p.queue[0].at.After(p.now) {
			d := heap.Pop(&p.queue).(datagram)
			d.to(p.now, d.b)
		}
		if p.near == nil && !p.caller.Next().After(p.now) {
			if err := p.caller.Advance(p.now); err != nil {
				p.rejected = err
				p.now = end
				return
			}
		}
		for _, c := range p.ends() {
			if !p.round(c.Next()).After(p.now) {
				c.Advance(p.now)
			}
		}
	}
}

// round returns when an end is looked after that wants to be at a time.
func (w *way) round(at time.Time) time.Time {
	if w.slack == 0 {
		return at
	}
	return at.Add(w.slack - 1).Truncate(w.slack)
}

// ends are those that somebody looks after.
func (p *pair) ends() (all []*Conn) {
	if p.near != nil {
		all = append(all, p.near)
	}
	if p.far != nil && !p.stalled {
		all = append(all, p.far)
	}
	return all
}

func (p *pair) connect() {
	p.t.Helper()
	for range 100 {
		p.run(p.now.Add(50 * time.Millisecond))
		if p.near != nil || p.rejected != nil {
			return
		}
	}
	p.t.Fatal("no connection")
}

func payload(n uint32) []byte {
	b := bytes.Repeat([]byte{0x47}, 1316)
	binary.BigEndian.PutUint32(b, n)
	return b
}

func TestLossyWay(t *testing.T) {
	for _, c := range []struct {
		name          string
		loss, reorder float64
		latency       time.Duration
		secret        string
		isn           uint32
		lose          int // of 20,000 at most
	}{
		{"clean", 0, 0, 120 * time.Millisecond, "", 1, 0},
		{"reordered", 0, 0.05, 120 * time.Millisecond, "", maxSeq - 500, 0},
		{"2 %", 0.02, 0.01, 160 * time.Millisecond, "", maxSeq, 2},
		{"10 %", 0.10, 0.01, 400 * time.Millisecond, "", 12345, 2},
		{"30 %", 0.30, 0, 400 * time.Millisecond, "", 12345, 40},
		{"10 %, secret", 0.10, 0.01, 400 * time.Millisecond, "secretpass1", maxSeq - 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &way{rand: rand.New(rand.NewPCG(1, 2)), loss: c.loss, reorder: c.reorder, delay: 20 * time.Millisecond}
			p := newPair(t, w, Params{PeerLatency: c.latency, Refresh: 1000, KeyLength: 24}, Params{RecvLatency: 10 * time.Millisecond}, c.isn, c.secret, c.secret)
			p.connect()
			if p.near == nil {
				t.Fatal(p.rejected)
			}
			if recv, _ := p.far.Latency(); recv != c.latency {
				t.Errorf("agreed on %v, want %v", recv, c.latency)
			}
			const packets = 20000
			for i := range uint32(packets) {
				if !p.near.Write(p.now, payload(i)) {
					t.Fatalf("no room for packet %d", i)
				}
				p.run(p.now.Add(2 * time.Millisecond))
			}
			p.run(p.now.Add(2 * time.Second))
			s := p.far.Stats()
			t.Logf("sender %+v", p.near.Stats())
			t.Logf("receiver %+v", s)
			if lost := packets - len(p.got); lost > c.lose || lost < 0 {
				t.Errorf("%d packets are missing, at most %d may be", lost, c.lose)
			}
			last := -1
			for _, b := range p.got {
				n := int(binary.BigEndian.Uint32(b))
				if n <= last || !bytes.Equal(b[4:], payload(0)[4:]) {
					t.Fatalf("packet %d after %d, or spoilt", n, last)
				}
				last = n
			}
			if p.near.Err() != nil || p.far.Err() != nil || s.Undecrypt > 0 || s.Bogus > 0 || p.near.Stats().Bogus > 0 {
				t.Errorf("ends: %v, %v; %+v", p.near.Err(), p.far.Err(), s)
			}
			if c.loss == 0 && s.RecvDrop > 0 {
				t.Errorf("%d dropped on a way that loses nothing", s.RecvDrop)
			}
			if c.loss > 0 && p.near.Stats().Rexmit == 0 {
				t.Error("nothing was sent again")
			}
		})
	}
}

// At 30 % things are given up, and all goes on.
func TestHeavyLoss(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(3, 4)), loss: 0.3, delay: 20 * time.Millisecond}
	p := newPair(t, w, Params{PeerLatency: 120 * time.Millisecond}, Params{}, 7, "", "")
	p.connect()
	const packets = 10000
	for i := range uint32(packets) {
		p.near.Write(p.now, payload(i))
		p.run(p.now.Add(2 * time.Millisecond))
	}
	p.run(p.now.Add(2 * time.Second))
	s := p.far.Stats()
	t.Logf("%+v", s)
	// The very last ones may be lost without a trace.
	if n := len(p.got); n < packets*8/10 || int64(packets-n) < s.RecvDrop || int64(packets-n) > s.RecvDrop+5 {
		t.Errorf("%d of %d came, %d were counted as given up", n, packets, s.RecvDrop)
	}
	if s.RecvHeld > 500 || p.near.Stats().SendHeld > 2000 {
		t.Errorf("%+v, %+v", s, p.near.Stats())
	}
}

// An end that was kept from reading for longer than its latency loses nothing that has come
// meanwhile.
func TestStall(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(5, 6)), delay: 20 * time.Millisecond}
	p := newPair(t, w, Params{}, Params{RecvLatency: 120 * time.Millisecond}, 7, "", "")
	p.connect()
	const packets = 300
	for i := range uint32(packets) {
		if w.loss = 0; i == 100 || i == 110 {
			w.loss = 1 // asked for again, as long as somebody listens
		}
		p.near.Write(p.now, payload(i))
		w.loss = 0
		p.run(p.now.Add(2 * time.Millisecond))
		if i == 124 {
			p.stalled = true
		}
	}
	p.stalled = false
	for _, b := range p.kept {
		p.far.Handle(p.now, b)
	}
	p.run(p.now.Add(time.Second))
	if s := p.far.Stats(); len(p.got) != packets || s.RecvDrop > 0 || s.RecvLoss != 2 || len(p.kept) < 100 {
		t.Errorf("%d of %d came: %+v", len(p.got), packets, s)
	}
}

// Three hours pass: stamps wrap twice, and a silent connection is kept alive.
func TestHours(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(5, 6)), loss: 0.01, delay: 10 * time.Millisecond}
	p := newPair(t, w, Params{PeerLatency: 120 * time.Millisecond}, Params{}, 7, "", "")
	p.connect()
	n := uint32(0)
	for end := p.now.Add(3 * time.Hour); p.now.Before(end); {
		if p.now.Sub(epoch)/time.Hour == 1 {
			p.run(p.now.Add(time.Hour)) // silence
			continue
		}
		p.near.Write(p.now, payload(n))
		n++
		p.run(p.now.Add(50 * time.Millisecond))
	}
	if p.near.Err() != nil || p.far.Err() != nil {
		t.Fatalf("ended: %v, %v", p.near.Err(), p.far.Err())
	}
	if lost := int(n) - len(p.got); lost < 0 || lost > 20 {
		t.Errorf("%d of %d are missing", lost, n)
	}
	p.near.Close(p.now)
	p.loss = 0
	p.run(p.now.Add(10 * time.Second))
	if !errors.Is(p.far.Err(), ErrShutdown) && !errors.Is(p.far.Err(), ErrIdle) {
		t.Errorf("after the end: %v", p.far.Err())
	}
}

func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		theirs, ours string
		want         error
	}{
		{"secretpass1", "secretpass1", nil},
		{"wrongpass99", "secretpass1", RejectBadSecret},
		{"", "secretpass1", RejectUnsecure},
		{"secretpass1", "", RejectUnsecure},
	} {
		w := &way{rand: rand.New(rand.NewPCG(5, 6)), delay: 10 * time.Millisecond}
		p := newPair(t, w, Params{}, Params{}, 7, c.theirs, c.ours)
		p.connect()
		if p.rejected != c.want {
			t.Errorf("%q against %q: %v, want %v", c.theirs, c.ours, p.rejected, c.want)
		}
	}
}

func TestSilence(t *testing.T) {
	w := &way{rand: rand.New(rand.NewPCG(5, 6)), delay: 10 * time.Millisecond}
	p := newPair(t, w, Params{}, Params{Idle: 10 * time.Second}, 7, "", "")
	p.connect()
	p.near.Write(p.now, payload(1))
	w.loss = 1
	p.run(p.now.Add(9 * time.Second))
	if p.far.Err() != nil {
		t.Fatal("ended too early")
	}
	p.run(p.now.Add(2 * time.Second))
	if !errors.Is(p.far.Err(), ErrIdle) {
		t.Errorf("after 11 s of silence: %v", p.far.Err())
	}
}
