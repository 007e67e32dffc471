package webrtc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	solUDP     = 17
	udpSegment = 103
	// controlSize is room for one control message of two bytes on every platform.
	controlSize = 32
)

// sysSendmmsg is the number of sendmmsg, 0 where it is not known.
var sysSendmmsg = map[string]uintptr{"amd64": 307, "386": 345, "arm": 374, "arm64": 269, "riscv64": 269, "loong64": 269, "s390x": 358, "ppc64le": 349}[runtime.GOARCH]

// segments says how a socket can send.
type segments struct {
	raw syscall.RawConn
	six bool
	// cut says that the system cuts letters into datagrams (UDP_SEGMENT). It is
	// looked for at the start, and given up where sending so fails.
	cut *atomic.Bool
}

func probe(pc *net.UDPConn) segments {
	s := segments{cut: &atomic.Bool{}}
	s.raw, _ = pc.SyscallConn()
	s.six = pc.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6()
	s.raw.Control(func(fd uintptr) {
		_, err := syscall.GetsockoptInt(int(fd), solUDP, udpSegment)
		s.cut.Store(err == nil)
	})
	return s
}

// mailbag is what sendmmsg takes.
type mailbag struct {
	msgs     []mmsghdr
	iovs     []syscall.Iovec
	names    []syscall.RawSockaddrInet6
	controls [][controlSize]byte
	sent     int
	errno    syscall.Errno
	call     func(fd uintptr) bool
}

// flush sends all that was put in.
func (o *outbox) flush() {
	if len(o.letters) == 0 {
		return
	}
	if sysSendmmsg == 0 || o.sock.stream != nil {
		o.each(o.letters)
	} else {
		o.batch()
	}
	o.letters, o.slab = o.letters[:0], o.slab[:0]
}

// batch sends with as few system calls as it can.
func (o *outbox) batch() {
	k := &o.kernel
	if k.call == nil {
		k.call = func(fd uintptr) bool {
			n, _, errno := syscall.Syscall6(sysSendmmsg, fd, uintptr(unsafe.Pointer(&k.msgs[k.sent])), uintptr(len(k.msgs)-k.sent), syscall.MSG_DONTWAIT, 0, 0)
			if k.errno = errno; errno == 0 {
				k.sent += int(n)
			}
			return errno != syscall.EAGAIN && errno != syscall.EINTR
		}
	}
	cut := o.sock.cut.Load()
	for o.pack(cut); k.sent < len(k.msgs); {
		if o.sock.raw.Write(k.call) != nil {
			return // closed
		}
		switch {
		case k.errno == 0:
		case cut && (k.errno == syscall.EIO || k.errno == syscall.EINVAL):
			// The way to this peer does not take it after all: without it from here on.
			if o.sock.cut.Swap(false) {
				o.sock.server.env.Log.Info("the system cannot cut packets here, they are sent one by one", "err", k.errno.Error())
			}
			o.each(o.letters[k.sent:])
			return
		default:
			k.sent++ // what one peer's address does wrong is its own
		}
	}
}

// pack makes messages of the letters, one each if the system cuts them.
func (o *outbox) pack(cut bool) {
	k := &o.kernel
	n := len(o.letters)
	if !cut {
		n = 0
		for i := range o.letters {
			n += o.letters[i].n
		}
	}
	if cap(k.msgs) < n {
		k.msgs, k.iovs = make([]mmsghdr, n), make([]syscall.Iovec, n)
		k.names, k.controls = make([]syscall.RawSockaddrInet6, n), make([][controlSize]byte, n)
	}
	k.msgs, k.iovs, k.names, k.controls, k.sent = k.msgs[:n], k.iovs[:n], k.names[:n], k.controls[:n], 0
	at := 0
	for i := range o.letters {
		l := &o.letters[i]
		if cut {
			o.message(at, l.dest, o.slab[l.from:l.to])
			if l.n > 1 {
				k.segment(at, uint16(l.each))
			}
			at++
			continue
		}
		for b := o.slab[l.from:l.to]; len(b) > 0; at++ {
			size := min(len(b), l.each)
			o.message(at, l.dest, b[:size])
			b = b[size:]
		}
	}
}

// message writes one message.
func (o *outbox) message(at int, dest netip.AddrPort, b []byte) {
	k := &o.kernel
	iov := &k.iovs[at]
	iov.Base = &b[0]
	iov.SetLen(len(b))
	m := &k.msgs[at]
	*m = mmsghdr{}
	m.hdr.Iov, m.hdr.Iovlen = iov, 1
	m.hdr.Name = (*byte)(unsafe.Pointer(&k.names[at]))
	if o.sock.six {
		name := &k.names[at]
		*name = syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Addr: dest.Addr().As16()}
		putPort(&name.Port, dest.Port())
		if zone := dest.Addr().Zone(); zone != "" {
			if i, err := net.InterfaceByName(zone); err == nil {
				name.Scope_id = uint32(i.Index)
			}
		}
		m.hdr.Namelen = syscall.SizeofSockaddrInet6
		return
	}
	name := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&k.names[at]))
	*name = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: dest.Addr().Unmap().As4()}
	putPort(&name.Port, dest.Port())
	m.hdr.Namelen = syscall.SizeofSockaddrInet4
}

// segment has the system cut a message into datagrams of a size.
func (k *mailbag) segment(at int, size uint16) {
	c := &k.controls[at]
	h := (*syscall.Cmsghdr)(unsafe.Pointer(c))
	h.Level, h.Type = solUDP, udpSegment
	h.SetLen(syscall.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&c[syscall.CmsgLen(0)])) = size
	k.msgs[at].hdr.Control = &c[0]
	k.msgs[at].hdr.SetControllen(syscall.CmsgSpace(2))
}

func putPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}
