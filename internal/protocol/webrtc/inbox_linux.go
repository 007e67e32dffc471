package webrtc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"
)

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr syscall.Msghdr
	len uint32
}

const (
	// receiveMost is how many datagrams are taken at once, each of at most
	// receiveSize bytes.
	receiveMost = 32
	receiveSize = 2048
)

// An inbox receives datagrams, as many at once as there are (recvmmsg).
type inbox struct {
	raw   syscall.RawConn
	msgs  [receiveMost]mmsghdr
	iovs  [receiveMost]syscall.Iovec
	names [receiveMost]syscall.RawSockaddrInet6
	bytes [receiveMost][receiveSize]byte
	n     int
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func newInbox(pc *net.UDPConn) *inbox {
	in := &inbox{}
	in.raw, _ = pc.SyscallConn() // of a UDP socket there always is one
	for i := range in.msgs {
		in.iovs[i].Base = &in.bytes[i][0]
		in.iovs[i].SetLen(receiveSize)
		in.msgs[i].hdr.Iov, in.msgs[i].hdr.Iovlen = &in.iovs[i], 1
		in.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&in.names[i]))
	}
	in.call = func(fd uintptr) bool {
		for i := range in.msgs {
			in.msgs[i].hdr.Namelen = syscall.SizeofSockaddrInet6
		}
		n, _, errno := syscall.Syscall6(syscall.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.msgs[0])), receiveMost, syscall.MSG_DONTWAIT, 0, 0)
		in.n, in.errno = int(n), errno
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	}
	return in
}

// receive waits for datagrams and returns how many came.
func (in *inbox) receive() (n int, err error) {
	if err := in.raw.Read(in.call); err != nil {
		return 0, net.ErrClosed
	}
	if in.errno != 0 {
		return 0, in.errno
	}
	return in.n, nil
}

// datagram returns one of them, and where it came from.
func (in *inbox) datagram(i int) ([]byte, netip.AddrPort) {
	return in.bytes[i][:min(in.msgs[i].len, receiveSize)], address(&in.names[i])
}

// address reads a socket's address, of either family.
func address(name *syscall.RawSockaddrInet6) netip.AddrPort {
	if name.Family == syscall.AF_INET {
		four := (*syscall.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port(&four.Port))
	}
	ip := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 && ip.IsLinkLocalUnicast() {
		if i, err := net.InterfaceByIndex(int(name.Scope_id)); err == nil {
			ip = ip.WithZone(i.Name)
		}
	}
	return netip.AddrPortFrom(ip, port(&name.Port))
}

// port reads a port, which is in network byte order.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }
