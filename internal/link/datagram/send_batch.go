//go:build linux && (386 || amd64 || arm || arm64 || riscv64 || ppc64le || loong64 || s390x)

package datagram

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"
)

// A Batch is what is sent by a [Socket] in one call. It belongs to one goroutine, which
// need not be the socket's; the socket must outlive it.
type Batch struct {
	sock    *Socket
	msgs    [outBatch]mmsghdr
	addrs   [outBatch][addrSize]byte
	control [outBatch]controls
	whom    [outBatch]netip.AddrPort
	from    [outBatch]netip.Addr
	size    [outBatch]int  // of a segment
	count   [outBatch]int  // of segments
	total   [outBatch]int  // of bytes
	closed  [outBatch]bool // a shorter segment has ended it
	first   [outBatch]int  // its first iovec
	n       int
	iovs    []syscall.Iovec
	arena   []byte // heads, which are copied
	heads   []span // where each iovec of a head stands in arena
}

// span is a part of the arena, for the iovec with that index.
type span struct{ iov, from, to int }

// NewBatch returns a Batch that sends by the socket.
func (s *Socket) NewBatch() *Batch { return &Batch{sock: s} }

// Queue is [Batch.Queue] of the socket's own batch.
func (s *Socket) Queue(from netip.Addr, to netip.AddrPort, head, payload []byte) {
	s.out.Queue(from, to, head, payload)
}

// Flush is [Batch.Flush] of the socket's own batch.
func (s *Socket) Flush() { s.out.Flush() }

// Send sends one datagram at once, from an address of ours; the zero address is for the
// system to choose. Anybody may call it.
func (s *Socket) Send(from netip.Addr, to netip.AddrPort, b []byte) {
	var c controls
	if s.wild {
		c.source(from, s.six)
	}
	if c.n == 0 {
		syscall.Sendto(s.fd, b, syscall.MSG_DONTWAIT, sockaddr(to, s.six))
		return
	}
	syscall.SendmsgN(s.fd, b, c.b[:c.n], sockaddr(to, s.six), syscall.MSG_DONTWAIT)
}

// Queue adds a datagram of two parts, either of which may be empty, which is sent from an
// address of ours; the zero address is for the system to choose. The head is copied; the
// payload must not change before Flush.
func (o *Batch) Queue(from netip.Addr, to netip.AddrPort, head, payload []byte) {
	size := len(head) + len(payload)
	if size == 0 {
		return
	}
	if !o.joins(from, to, size) {
		if o.n == outBatch || len(o.arena) > maxArena {
			o.Flush()
		}
		o.open(from, to, size)
	}
	if len(head) > 0 {
		at := len(o.arena)
		o.arena = append(o.arena, head...) // may move: the iovec is filled in by Flush
		o.heads = append(o.heads, span{len(o.iovs), at, len(o.arena)})
		o.iovs = append(o.iovs, syscall.Iovec{})
	}
	if len(payload) > 0 {
		v := syscall.Iovec{Base: &payload[0]}
		v.SetLen(len(payload))
		o.iovs = append(o.iovs, v)
	}
}

// Room returns n bytes, no more than a datagram has, to write one to, which Post then
// adds; nothing else may be asked of the Batch before. What it holds may be sent first.
func (o *Batch) Room(n int) []byte {
	if o.arena == nil {
		o.arena = make([]byte, 0, maxArena)
	}
	if at := len(o.arena); o.n < outBatch && at+n <= cap(o.arena) {
		return o.arena[at : at+n : at+n]
	}
	o.Flush()
	return o.arena[:n:n]
}

// Post adds the datagram of the first n bytes that Room returned; otherwise it is as
// Queue.
func (o *Batch) Post(from netip.Addr, to netip.AddrPort, n int) {
	at := len(o.arena)
	o.arena = o.arena[:at+n]
	if o.joins(from, to, n) {
		if last := &o.heads[len(o.heads)-1]; last.to == at && last.iov == len(o.iovs)-1 {
			last.to += n // one piece with the one before
			return
		}
	} else {
		o.open(from, to, n)
	}
	o.heads = append(o.heads, span{len(o.iovs), at, at + n})
	o.iovs = append(o.iovs, syscall.Iovec{})
}

// joins reports whether a datagram is one more segment of the newest message, and counts
// it there.
func (o *Batch) joins(from netip.Addr, to netip.AddrPort, size int) bool {
	i := o.n - 1
	if i < 0 || o.closed[i] || !o.sock.segments.Load() || o.whom[i] != to || o.from[i] != from || size > o.size[i] || o.count[i] == maxSegments || o.total[i]+size > maxMessage {
		return false
	}
	o.count[i]++
	o.total[i] += size
	o.closed[i] = size < o.size[i]
	return true
}

// open begins a message with a datagram.
func (o *Batch) open(from netip.Addr, to netip.AddrPort, size int) {
	i := o.n
	o.n++
	o.whom[i], o.from[i], o.size[i], o.count[i], o.total[i], o.closed[i], o.first[i] = to, from, size, 1, size, false, len(o.iovs)
}

// Flush sends what was added. What the system has no room for is lost, as on the way.
func (o *Batch) Flush() {
	if o.n == 0 {
		return
	}
	s := o.sock
	for _, h := range o.heads {
		o.iovs[h.iov].Base = &o.arena[h.from]
		o.iovs[h.iov].SetLen(h.to - h.from)
	}
	for i := range o.n {
		end := len(o.iovs)
		if i+1 < o.n {
			end = o.first[i+1]
		}
		h := &o.msgs[i].hdr
		*h = syscall.Msghdr{Name: &o.addrs[i][0], Iov: &o.iovs[o.first[i]]}
		h.Namelen = uint32(putAddr(o.addrs[i][:], o.whom[i], s.six))
		setIovlen(h, end-o.first[i])
		o.describe(i, s.wild, s.six)
	}
	for at := 0; at < o.n; {
		n, errno := o.send(at)
		switch {
		case errno == 0:
			at += max(1, n)
		case errno == syscall.EINTR:
		case o.count[at] > 1 && (errno == syscall.EIO || errno == syscall.EINVAL || errno == syscall.EOPNOTSUPP):
			s.segments.Store(false) // the way out cannot do it
			o.singly(at)
			at++
		default:
			at++ // a peer that cannot be reached, or no room: it is lost
		}
	}
	clear(o.iovs)
	o.n, o.iovs, o.heads, o.arena = 0, o.iovs[:0], o.heads[:0], o.arena[:0]
}

// describe tells the system of a message what its bytes do not say.
func (o *Batch) describe(i int, wild, six bool) {
	c := &o.control[i]
	c.n = 0
	if o.count[i] > 1 {
		binary.NativeEndian.PutUint16(c.add(solUDP, udpSegment, 2), uint16(o.size[i]))
	}
	if wild {
		c.source(o.from[i], six)
	}
	if c.n > 0 {
		h := &o.msgs[i].hdr
		h.Control = &c.b[0]
		h.SetControllen(c.n)
	}
}

// controls are the control messages of one message.
type controls struct {
	b [cmsgSize]byte
	n int
}

// add adds one of a size, and returns its data.
func (c *controls) add(level, typ int32, size int) []byte {
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&c.b[c.n]))
	h.Level, h.Type = level, typ
	h.SetLen(syscall.CmsgLen(size))
	data := c.b[c.n+syscall.CmsgLen(0):][:size]
	clear(data)
	c.n += syscall.CmsgSpace(size)
	return data
}

// source adds from where a message is sent, if that is known.
func (c *controls) source(from netip.Addr, six bool) {
	switch from = from.Unmap(); {
	case !from.IsValid():
	case six && from.Is6():
		a := from.As16()
		copy(c.add(syscall.IPPROTO_IPV6, ipv6Pktinfo, 20), a[:])
	case !six && from.Is4():
		a := from.As4()
		copy(c.add(syscall.IPPROTO_IP, ipPktinfo, 12)[4:], a[:])
	}
}

// send sends messages from one on, and returns how many went.
func (o *Batch) send(at int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(sysSendmmsg, uintptr(o.sock.fd), uintptr(unsafe.Pointer(&o.msgs[at])), uintptr(o.n-at), syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// singly sends the segments of a message one by one.
func (o *Batch) singly(i int) {
	end := len(o.iovs)
	if i+1 < o.n {
		end = o.first[i+1]
	}
	var all []byte
	for _, v := range o.iovs[o.first[i]:end] {
		all = append(all, unsafe.Slice(v.Base, int(v.Len))...)
	}
	sa := sockaddr(o.whom[i], o.sock.six)
	for len(all) > 0 {
		n := min(o.size[i], len(all))
		syscall.Sendto(o.sock.fd, all[:n], syscall.MSG_DONTWAIT, sa)
		all = all[n:]
	}
}

func sockaddr(to netip.AddrPort, six bool) syscall.Sockaddr {
	if !six {
		return &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	}
	sa := &syscall.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if z := to.Addr().Zone(); z != "" {
		sa.ZoneId = zoneIndex(z)
	}
	return sa
}

// setIovlen sets a field whose width is the machine's.
func setIovlen(m *syscall.Msghdr, n int) { setWord(&m.Iovlen, n) }

func setWord[T uint32 | uint64](p *T, n int) { *p = T(n) }
