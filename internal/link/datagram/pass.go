package datagram

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// A socket may be had by two processes of this server, of which one reads and passes on
// what is for the other: see [Socket.Divert].

// passHead is what stands before a datagram that is passed on: from where it came, the
// port, where to, and which of these are of IPv4 or there at all.
const passHead = 16 + 2 + 16 + 1

const (
	passFrom4 = 1 << iota
	passAt4
	passAt
)

// Listed returns the sockets that an earlier process has handed over, as Listen would.
func Listed(files []*os.File, network string) (all []*Socket, err error) {
	for _, f := range files {
		var s *Socket
		pc, err := net.FilePacketConn(f)
		if err == nil {
			u, ok := pc.(*net.UDPConn)
			if !ok {
				pc.Close()
				err = os.ErrInvalid
			} else {
				s, err = adopt(u, network == "udp6")
			}
		}
		if err != nil {
			for _, o := range all {
				o.Close()
			}
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// PassTo has Pass send by a connection that keeps the bounds of what is written. It is
// called before the socket is read. It takes the connection.
func (s *Socket) PassTo(uc *net.UnixConn) error {
	fd, err := dup(uc)
	if err != nil {
		return err
	}
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, buffer) // less will do
	s.pass = os.NewFile(uintptr(fd), "pass")
	s.passFD = fd
	return nil
}

// Pass passes the datagram on that is being handled, which is none of ours. It never
// waits; where nobody takes it, it is lost, as datagrams are. Only the goroutine that
// reads calls it.
func (s *Socket) Pass(from netip.AddrPort, b []byte) {
	if s.pass == nil {
		return
	}
	head := s.passBuf[:0]
	a, flags := from.Addr().As16(), byte(0)
	if from.Addr().Unmap().Is4() {
		flags |= passFrom4
	}
	head = binary.BigEndian.AppendUint16(append(head, a[:]...), from.Port())
	var at [16]byte
	if to := s.At(); to.IsValid() {
		at = to.As16()
		if flags |= passAt; to.Unmap().Is4() {
			flags |= passAt4
		}
	}
	head = append(append(head, at[:]...), flags)
	s.passBuf = append(head, b...)
	syscall.Sendto(s.passFD, s.passBuf, syscall.MSG_DONTWAIT, nil)
}

// parsePassed takes apart what Pass has sent.
func parsePassed(b []byte) (from netip.AddrPort, at netip.Addr, rest []byte, ok bool) {
	if len(b) < passHead {
		return from, at, nil, false
	}
	flags := b[passHead-1]
	addr := func(b []byte, four bool) netip.Addr {
		a := netip.AddrFrom16([16]byte(b))
		if four {
			return a.Unmap()
		}
		return a
	}
	from = netip.AddrPortFrom(addr(b[:16], flags&passFrom4 != 0), binary.BigEndian.Uint16(b[16:]))
	if flags&passAt != 0 {
		at = addr(b[18:34], flags&passAt4 != 0)
	}
	return from, at, b[passHead:], true
}

// dup returns a descriptor of our own of a connection, which it closes.
func dup(uc *net.UnixConn) (fd int, err error) {
	defer uc.Close()
	raw, err := uc.SyscallConn()
	if err != nil {
		return -1, err
	}
	control := raw.Control(func(its uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, err = syscall.Dup(int(its)); err == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if control != nil {
		return -1, control
	}
	return fd, err
}

// passing is what a Socket has of this.
type passing struct {
	pass    *os.File // where Pass writes, or nil
	passFD  int
	passBuf []byte
}
