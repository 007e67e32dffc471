package webrtc

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/service"
	"weir/internal/wire/stun"
)

// A socket is one UDP port, or one TCP connection, at which all peers are: by their address once a check of
// STUN has proved it, and by the name in the check before.
type socket struct {
	// Immutable.
	server *server
	pc     *net.UDPConn // nil if it is a stream
	stream *stream      // a connection that stands for a socket of its own, or nil

	mu    sync.RWMutex
	peers map[netip.AddrPort]*peer // guarded by mu

	segments // of sending
}

func newSocket(s *server, pc *net.UDPConn) *socket {
	pc.SetReadBuffer(socketBuffer) // less will do
	pc.SetWriteBuffer(socketBuffer)
	return &socket{server: s, pc: pc, peers: map[netip.AddrPort]*peer{}, segments: probe(pc)}
}

func (k *socket) close() { k.pc.Close() }

// port is the one that the socket is at.
func (k *socket) port() uint16 {
	return uint16(k.pc.LocalAddr().(*net.UDPAddr).Port)
}

// read takes what comes until the socket is closed.
func (k *socket) read() {
	in := newInbox(k.pc)
	for {
		n, err := in.receive()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // what somebody's ICMP said of a datagram of ours
		}
		now := time.Now()
		for i := range n {
			b, from := in.datagram(i)
			k.take(b, from, now)
		}
	}
}

// take takes a datagram.
func (k *socket) take(b []byte, from netip.AddrPort, now time.Time) {
	if stun.Is(b) {
		k.check(b, from)
		return
	}
	k.mu.RLock()
	p := k.peers[from]
	k.mu.RUnlock()
	if p == nil {
		return // nobody's
	}
	err := service.Guard(p.log, func() error {
		p.handle(b, now)
		return nil
	})
	if err != nil {
		p.end(err)
	}
}

// check takes a message of STUN. Before it is known who is meant, and has signed, it
// costs no memory.
func (k *socket) check(b []byte, from netip.AddrPort) {
	m, err := stun.Parse(b)
	if err != nil || m.Type != stun.BindingRequest {
		return
	}
	ours, theirs, ok := bytes.Cut(m.Username, []byte{':'})
	if !ok {
		return
	}
	p := k.server.find(ours)
	if p == nil || !p.signed(&m, ours, theirs) {
		return
	}
	if answer := p.checked(k, from, &m); answer != nil {
		p.session.Count(len(b), len(answer))
		k.write(answer, from)
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

func (k *socket) forget(from netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.peers, from)
}

// write sends one datagram.
func (k *socket) write(b []byte, to netip.AddrPort) {
	if k.stream != nil {
		k.stream.send(b)
		return
	}
	k.pc.WriteToUDPAddrPort(b, to)
}
