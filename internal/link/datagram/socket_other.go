//go:build !(linux && (386 || amd64 || arm || arm64 || riscv64 || ppc64le || loong64 || s390x))

package datagram

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// shares says that several sockets can have one address.
const shares = false

// Socket is one UDP socket.
type Socket struct {
	pc    *net.UDPConn
	local netip.AddrPort
	woken atomic.Bool
	first []byte // a datagram that Wait has read
	from  netip.AddrPort
	n     int
	out   []byte

	passing
	at       netip.Addr // of a datagram that was passed on
	diverted atomic.Pointer[net.UnixConn]
}

// Divert has Read return what another process passes on by a connection, rather than
// what comes by the socket, which that process reads; nil ends that. It takes the
// connection.
func (s *Socket) Divert(uc *net.UnixConn) error {
	if old := s.diverted.Swap(uc); old != nil {
		old.Close()
	}
	s.pc.SetReadDeadline(time.Unix(1, 0))
	return nil
}

// SyscallConn implements syscall.Conn.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return s.pc.SyscallConn() }

// A Batch is what is sent by a [Socket]: one datagram here.
type Batch struct {
	sock *Socket
	b    []byte
}

// NewBatch returns a Batch that sends by the socket.
func (s *Socket) NewBatch() *Batch { return &Batch{sock: s} }

// Room returns n bytes to write a datagram to, which Post then adds.
func (o *Batch) Room(n int) []byte {
	if cap(o.b) < n {
		o.b = make([]byte, n)
	}
	return o.b[:n:n]
}

// Post sends the datagram of the first n bytes that Room returned.
func (o *Batch) Post(from netip.Addr, to netip.AddrPort, n int) { o.sock.Send(from, to, o.b[:n]) }

// Flush sends what was added.
func (o *Batch) Flush() {}

// Send sends one datagram at once. From where is for the system to choose. Anybody may
// call it.
func (s *Socket) Send(_ netip.Addr, to netip.AddrPort, b []byte) { s.pc.WriteToUDPAddrPort(b, to) }

func adopt(pc *net.UDPConn, _ bool) (*Socket, error) {
	pc.SetReadBuffer(buffer)
	pc.SetWriteBuffer(buffer)
	return &Socket{pc: pc, local: unmapped(pc.LocalAddr().(*net.UDPAddr).AddrPort()), first: make([]byte, MaxSize)}, nil
}

func open(bool, netip.AddrPort) (*Socket, error) { return nil, errors.ErrUnsupported }

// LocalAddr returns where it is.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Batching says how many datagrams go in one call: one.
func (s *Socket) Batching() string { return "one" }

// Wake has Wait return. Anybody may call it.
func (s *Socket) Wake() {
	if !s.woken.Swap(true) {
		if uc := s.diverted.Load(); uc != nil {
			uc.SetReadDeadline(time.Unix(1, 0))
		}
		s.pc.SetReadDeadline(time.Unix(1, 0))
	}
}

// Wait waits until there are datagrams, until Wake was called, or until a time.
func (s *Socket) Wait(until time.Time) {
	if s.n > 0 {
		return
	}
	if soon := time.Now().Add(time.Millisecond); until.Before(soon) {
		until = soon // what is there is read in any case
	}
	if uc := s.diverted.Load(); uc != nil {
		s.waitPassed(uc, until)
		return
	}
	s.pc.SetReadDeadline(until)
	if s.woken.Swap(false) {
		return
	}
	n, from, err := s.pc.ReadFromUDPAddrPort(s.first)
	if err == nil {
		s.n, s.from = n, from
	}
	s.woken.Store(false)
}

// waitPassed is Wait for what is passed on.
func (s *Socket) waitPassed(uc *net.UnixConn, until time.Time) {
	uc.SetReadDeadline(until)
	if s.woken.Swap(false) {
		return
	}
	n, err := uc.Read(s.first)
	if err == nil {
		from, at, b, ok := parsePassed(s.first[:n])
		if ok {
			s.n, s.from, s.at = copy(s.first, b), from, at
		}
	}
	s.woken.Store(false)
}

// Pause waits until a time, whatever comes.
func (s *Socket) Pause(until time.Time) { time.Sleep(time.Until(until)) }

// Read calls each with datagrams that have come, and returns how many there were. The
// bytes are valid until it returns.
func (s *Socket) Read(each func(from netip.AddrPort, b []byte)) int {
	if s.n == 0 {
		return 0
	}
	n := s.n
	s.n = 0
	each(s.from, s.first[:n])
	return 1
}

// At returns the address of ours that the datagram came to, as far as it is known.
func (s *Socket) At() netip.Addr {
	if s.diverted.Load() != nil {
		return s.at
	}
	if a := s.local.Addr(); !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

// Queue writes a datagram of two parts, either of which may be empty. From where is for
// the system to choose.
func (s *Socket) Queue(_ netip.Addr, to netip.AddrPort, head, payload []byte) {
	s.out = append(append(s.out[:0], head...), payload...)
	s.pc.WriteToUDPAddrPort(s.out, to)
}

// Flush sends what was queued.
func (s *Socket) Flush() {}

// Close closes it.
func (s *Socket) Close() error { return s.pc.Close() }

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
