package interop

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay passes datagrams on between clients and a server, less 5 % or as many as is said,
// with 20 ms each way.
type relay struct {
	addr    string
	percent atomic.Int64
	dropped atomic.Int64
	stalled atomic.Int64 // datagrams that came much later than they should: the machine is too busy

	front *net.UDPConn
	to    string
	// usual and late hold what is on its way, in order, as ways keep it.
	usual, late chan parcel

	mu     sync.Mutex
	random *rand.Rand          // guarded by mu
	back   map[string]net.Conn // by client; guarded by mu
	seen   int                 // guarded by mu
}

func newRelay(t *testing.T, to string, seed uint64) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: front.LocalAddr().String(), front: front, to: to, random: rand.New(rand.NewPCG(seed, seed)), back: map[string]net.Conn{}, usual: make(chan parcel, 4096), late: make(chan parcel, 4096)}
	r.percent.Store(5)
	t.Cleanup(func() {
		front.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.back {
			c.Close()
		}
	})
	go r.run()
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	for _, way := range []chan parcel{r.usual, r.late} {
		go r.deliver(way, done)
	}
	return r
}

// parcel is a datagram on its way.
type parcel struct {
	due  time.Time
	send func()
}

func (r *relay) deliver(way chan parcel, done chan struct{}) {
	for {
		select {
		case p := <-way:
			time.Sleep(time.Until(p.due))
			if time.Since(p.due) > wayDelay {
				r.stalled.Add(1)
			}
			p.send()
		case <-done:
			return
		}
	}
}

func (r *relay) run() {
	b := make([]byte, 2048)
	for {
		n, from, err := r.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		if back := r.way(from); back != nil {
			r.pass(b[:n], func(b []byte) { back.Write(b) })
		}
	}
}

// way returns a client's own way to the server, nil if there can be none.
func (r *relay) way(from *net.UDPAddr) net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.back[from.String()]
	if c == nil {
		var err error
		if c, err = net.Dial("udp4", r.to); err != nil {
			return nil
		}
		r.back[from.String()] = c
		go r.carry(c, from)
	}
	return c
}

// carry carries what comes from the server.
func (r *relay) carry(c net.Conn, to *net.UDPAddr) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		r.pass(b[:n], func(b []byte) { r.front.WriteToUDP(b, to) })
	}
}

func (r *relay) pass(b []byte, send func(b []byte)) {
	r.mu.Lock()
	lose, late := r.random.Int64N(100) < r.percent.Load(), r.random.Float64() < 0.01
	r.seen++
	early := r.seen <= 20
	r.mu.Unlock()
	if early { // libsrt's caller complains aloud if data overtakes its handshake
		send(b)
		return
	}
	if lose {
		r.dropped.Add(1)
		return
	}
	b = append([]byte(nil), b...)
	way, delay := r.usual, wayDelay
	if late {
		way, delay = r.late, wayDelay+4*time.Millisecond
	}
	select {
	case way <- parcel{time.Now().Add(delay), func() { send(b) }}:
	default: // as full ways do
		r.dropped.Add(1)
	}
}

// wayDelay is how long a datagram takes through a relay.
const wayDelay = 20 * time.Millisecond
