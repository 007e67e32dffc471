package host

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
)

const (
	sockDiag       = 4  // NETLINK_SOCK_DIAG
	sockDiagFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagInfo       = 2  // INET_DIAG_INFO
	diagHead       = 72 // size of inet_diag_msg
)

var native = binary.NativeEndian

// Connection returns what the kernel knows of a connection by its two addresses,
// whoever holds its descriptor. It returns false if there is none, or the kernel
// does not tell.
func Connection(local, remote netip.AddrPort) (t TCP, ok bool) {
	if !local.IsValid() || !remote.IsValid() || local.Addr().Is4() != remote.Addr().Is4() {
		return t, false
	}
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, sockDiag)
	if err != nil {
		return t, false
	}
	defer syscall.Close(fd)
	wait := syscall.NsecToTimeval(time.Second.Nanoseconds())
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait) // the kernel answers at once
	if syscall.Sendto(fd, diagRequest(local, remote), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}) != nil {
		return t, false
	}
	b := make([]byte, 8192)
	n, _, err := syscall.Recvfrom(fd, b, 0)
	if err != nil {
		return t, false
	}
	return parseDiag(b[:n], remote.Port())
}

// diagRequest asks for the one socket of two addresses (inet_diag_req_v2).
func diagRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, 16+56)
	native.PutUint32(b[0:], uint32(len(b)))
	native.PutUint16(b[4:], sockDiagFamily)
	native.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	r := b[16:]
	r[0] = syscall.AF_INET
	if local.Addr().Is6() {
		r[0] = syscall.AF_INET6
	}
	r[1] = syscall.IPPROTO_TCP
	r[2] = 1 << (diagInfo - 1)
	native.PutUint32(r[4:], 0xffffffff) // in every state
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	copy(r[12:28], local.Addr().AsSlice())
	copy(r[28:44], remote.Addr().AsSlice())
	native.PutUint64(r[48:], ^uint64(0)) // no cookie
	return b
}

// parseDiag reads the kernel's answer: inet_diag_msg, then attributes, of which
// one is tcp_info. For a connection that is not there the kernel answers with the
// listener, which has no remote port.
func parseDiag(b []byte, remote uint16) (t TCP, ok bool) {
	if len(b) < 16+diagHead || native.Uint16(b[4:]) != sockDiagFamily {
		return t, false
	}
	m := b[16:min(len(b), max(16, int(native.Uint32(b))))]
	if len(m) < diagHead || binary.BigEndian.Uint16(m[6:]) != remote {
		return t, false
	}
	t.RecvQueue, t.SendQueue = native.Uint32(m[56:]), native.Uint32(m[60:])
	for m = m[diagHead:]; len(m) >= 4; {
		size, kind := int(native.Uint16(m)), native.Uint16(m[2:])
		if size < 4 || size > len(m) {
			return t, false
		}
		if info := m[4:size]; kind == diagInfo && len(info) >= 104 {
			u := func(at int) uint32 { return native.Uint32(info[at:]) }
			t.Lost, t.Resent = u(32), u(100)
			t.RTT, t.RTTVar = float64(u(68))/1000, float64(u(72))/1000
			return t, true
		}
		m = m[min(len(m), (size+3)&^3):]
	}
	return t, false
}
