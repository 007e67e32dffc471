package srt

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/service"
	wire "weir/internal/wire/srt"
)

// socket is one UDP socket and its peers.
type socket struct {
	// Immutable.
	server   *server
	conf     *blocks.SRTServerConfig
	mode     string // both, publish or play
	pc       *net.UDPConn
	listener wire.Listener
	some     chan struct{} // one wake-up for watch: there is a peer

	mu    sync.Mutex
	peers map[uint32]*peer    // by our id; guarded by mu
	asked map[caller]*request // guarded by mu
	open  int                 // of asked, those that wait for the desk; guarded by mu
}

// caller tells one attempt to connect from another: its repetitions have the same.
type caller struct {
	from    netip.AddrPort
	id, isn uint32
}

// request is what became of a caller's wish. It is kept while the connection lasts,
// and for a while if there is none.
type request struct {
	peer   *peer  // nil unless it is let in; guarded by socket.mu
	reject []byte // guarded by socket.mu
	until  time.Time
}

const (
	// maxAsking is how many callers may wait to be admitted at one time.
	maxAsking = 512
	// maxRefused is how many refusals are remembered.
	maxRefused = 4096
	// rejectAfter is how long a refusal is held back: callers repeat what they want,
	// and some begin again as soon as they are refused.
	rejectAfter = 300 * time.Millisecond
	rejectKept  = 4 * time.Second
)

func (k *socket) read(ctx context.Context) {
	buf := make([]byte, 2048)
	for {
		n, from, err := k.pc.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // what somebody's ICMP said of a datagram of ours
		}
		b := buf[:n]
		id, ok := wire.Destination(b)
		switch {
		case !ok:
		case id == 0:
			k.stranger(ctx, from, b)
		default:
			k.mu.Lock()
			p := k.peers[id]
			k.mu.Unlock()
			if p != nil && p.from == from {
				p.handle(b)
			}
		}
	}
}

// stranger takes a datagram of who has no connection, or wants another one.
func (k *socket) stranger(ctx context.Context, from netip.AddrPort, b []byte) {
	now := time.Now()
	reply, req := k.listener.Handle(now, from, b)
	if reply != nil {
		k.pc.WriteToUDPAddrPort(reply, from)
	}
	if req == nil {
		return
	}
	key := caller{from, req.PeerID, req.ISN}
	k.mu.Lock()
	if r := k.asked[key]; r != nil {
		p, reject := r.peer, r.reject
		k.mu.Unlock()
		if p != nil {
			p.answer(now)
		} else if reject != nil {
			k.pc.WriteToUDPAddrPort(reject, from)
		}
		return
	}
	k.forget(now)
	code := wire.Reject(0)
	switch {
	case k.server.shut.Load():
		code = wire.RejectClosing
	case k.open >= maxAsking || len(k.asked)-len(k.peers) >= maxRefused+maxAsking:
		code = wire.RejectBacklog
	}
	if code != 0 {
		k.mu.Unlock()
		k.pc.WriteToUDPAddrPort(req.Reject(code), from)
		return
	}
	r := &request{}
	k.asked[key] = r
	k.open++
	k.mu.Unlock()
	k.server.wg.Go(func() { k.serve(ctx, key, r, req) })
}

// forget drops refusals that are old. k.mu is held.
func (k *socket) forget(now time.Time) {
	if len(k.asked)-len(k.peers)-k.open < maxRefused/2 {
		return
	}
	for key, r := range k.asked {
		if r.reject != nil && now.After(r.until) {
			delete(k.asked, key)
		}
	}
}

// refuse tells a caller why not, after a while, and remembers it.
func (k *socket) refuse(ctx context.Context, r *request, req *wire.Request, code wire.Reject) {
	wait := time.NewTimer(rejectAfter)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	b := req.Reject(code)
	k.mu.Lock()
	k.open--
	r.reject, r.until = b, time.Now().Add(rejectKept)
	k.mu.Unlock()
	k.pc.WriteToUDPAddrPort(b, req.From)
}

// accept makes the connection.
func (k *socket) accept(key caller, r *request, req *wire.Request, keys *wire.Keys, p *peer) {
	params := k.server.params()
	params.Send = func(b []byte) {
		p.session.Count(0, len(b))
		k.pc.WriteToUDPAddrPort(b, p.from)
	}
	params.Deliver = p.take
	k.mu.Lock()
	id := newID()
	for k.peers[id] != nil {
		id = newID()
	}
	p.mu.Lock() // nobody talks to it before it is complete
	k.peers[id] = p
	r.peer = p
	k.open--
	k.mu.Unlock()
	p.conn = req.Accept(time.Now(), id, params, keys)
	p.mu.Unlock()
	select {
	case k.some <- struct{}{}:
	default:
	}
}

// leave forgets a peer whose connection has ended.
func (k *socket) leave(key caller, p *peer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.peers, p.conn.ID())
	delete(k.asked, key)
}

// watch looks after the time of all peers.
func (k *socket) watch(ctx context.Context) {
	var due []*peer
	beat := time.NewTicker(tick)
	defer beat.Stop()
	for {
		k.mu.Lock()
		for _, p := range k.peers {
			due = append(due, p)
		}
		k.mu.Unlock()
		if len(due) == 0 {
			beat.Stop()
			select {
			case <-k.some:
			case <-ctx.Done():
				return
			}
			beat.Reset(tick)
			continue
		}
		now := time.Now()
		for _, p := range due {
			p.advance(now)
		}
		clear(due)
		due = due[:0]
		<-beat.C
	}
}

// guarded runs f for a peer, whose fault ends that peer only.
func (p *peer) guarded(f func()) {
	if err := service.Guard(p.log, func() error { f(); return nil }); err != nil {
		p.fault = err
	}
}
