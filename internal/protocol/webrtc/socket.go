package webrtc

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/link/datagram"
	"weir/internal/service"
	"weir/internal/wire/stun"
)

// A socket is one UDP port, or one TCP connection, at which all peers are: by their address once a check of
// STUN has proved it, and by the name in the check before.
type socket struct {
	// Immutable.
	server *server
	sock   *datagram.Socket // nil if it is a stream
	stream *stream          // a connection that stands for a socket of its own, or nil
	over   atomic.Bool      // nothing is read any more

	mu    sync.RWMutex
	peers map[netip.AddrPort]*peer // guarded by mu
}

func newSocket(s *server, u *datagram.Socket) *socket {
	return &socket{server: s, sock: u, peers: map[netip.AddrPort]*peer{}}
}

// read takes what comes until stop is called.
func (k *socket) read() {
	var now time.Time
	take := func(from netip.AddrPort, b []byte) { k.take(b, path{k, from, k.sock.At()}, now) }
	for !k.over.Load() {
		k.sock.Wait(datagram.Never)
		for more := true; more; {
			now = time.Now()
			more = k.sock.Read(take) == datagram.Burst && !k.over.Load()
		}
	}
}

// stop has read return.
func (k *socket) stop() {
	k.over.Store(true)
	k.sock.Wake()
}

// take takes a datagram.
func (k *socket) take(b []byte, from path, now time.Time) {
	if stun.Is(b) {
		k.check(b, from)
		return
	}
	k.mu.RLock()
	p := k.peers[from.addr]
	k.mu.RUnlock()
	if p == nil {
		k.pass(b, from)
		return
	}
	err := service.Guard(p.log, func() error {
		p.handle(b, from, now)
		return nil
	})
	if err != nil {
		p.end(err)
	}
}

// check takes a message of STUN. Before it is known who is meant, and has signed, it
// costs no memory.
func (k *socket) check(b []byte, from path) {
	m, err := stun.Parse(b)
	if err != nil || m.Type != stun.BindingRequest {
		return
	}
	ours, theirs, ok := bytes.Cut(m.Username, []byte{':'})
	if !ok {
		return
	}
	p := k.server.find(ours)
	if p == nil {
		k.pass(b, from)
		return
	}
	if !p.signed(&m, ours, theirs) {
		return
	}
	if answer := p.checked(from, &m, time.Now()); answer != nil {
		p.session.Count(len(b), len(answer))
		from.write(answer)
	}
}

// pass passes on what is nobody's here: after an upgrade the process that was before may
// know whose it is.
func (k *socket) pass(b []byte, from path) {
	if k.sock != nil {
		k.sock.Pass(from.addr, b)
	}
}

// signed reports whether a check is the peer's.
func (p *peer) signed(m *stun.Message, ours, theirs []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if string(ours) != p.ufrag || p.conf.STUNStrictCheck && string(theirs) != p.theirs {
		return false
	}
	return m.Verify([]byte(p.pwd))
}

// remember has datagrams of an address go to a peer. A peer that was there before had
// it, and has it no more: the newcomer has proved that it is his.
func (k *socket) remember(from netip.AddrPort, p *peer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.peers[from] = p
}

// forget ends that, unless somebody else is there now.
func (k *socket) forget(from netip.AddrPort, p *peer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.peers[from] == p {
		delete(k.peers, from)
	}
}

// A path is the way to a peer: by a socket, to an address, from one of ours.
type path struct {
	sock *socket
	addr netip.AddrPort
	own  netip.Addr // zero if it is the socket's
}

// write sends one datagram.
func (w *path) write(b []byte) {
	if w.sock.stream != nil {
		w.sock.stream.send(b)
		return
	}
	w.sock.sock.Send(w.own, w.addr, b)
}
