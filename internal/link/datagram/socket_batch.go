//go:build linux && (386 || amd64 || arm || arm64 || riscv64 || ppc64le || loong64 || s390x)

package datagram

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// shares says that several sockets can have one address.
const shares = true

// What package syscall has not.
const (
	soReusePort     = 15
	solUDP          = 17
	udpSegment      = 103
	ipPktinfo       = 8
	ipv6RecvPktinfo = 49
	ipv6Pktinfo     = 50
)

// The numbers of the system calls.
var (
	sysRecvmmsg = map[string]uintptr{"386": 337, "amd64": 299, "arm": 365, "arm64": 243, "riscv64": 243, "ppc64le": 343, "loong64": 243, "s390x": 357}[runtime.GOARCH]
	sysSendmmsg = map[string]uintptr{"386": 345, "amd64": 307, "arm": 374, "arm64": 269, "riscv64": 269, "ppc64le": 349, "loong64": 269, "s390x": 358}[runtime.GOARCH]
)

const (
	// inBatch and outBatch are how many messages one call has at most.
	inBatch, outBatch = 32, 64
	// maxSegments is how many datagrams a message is made into (the kernel's bound is
	// 64), and maxMessage how long it may be.
	maxSegments, maxMessage = 48, 60000
	// maxReads bounds how many calls read before others have their turn.
	maxReads = Burst / inBatch
	// maxArena is how many bytes are copied before all is sent, but for one message.
	maxArena = 256 << 10
	addrSize = syscall.SizeofSockaddrInet6
	cmsgSize = 96
)

// mmsghdr is struct mmsghdr; Go pads it as C does.
type mmsghdr struct {
	hdr syscall.Msghdr
	n   uint32
}

// Socket is one UDP socket. It sleeps in Go's poller, which watches an epoll of its own:
// a thread that slept in a system call would have Go's monitor run to take its processor
// away, and a socket that Go's poller watched itself would wake it for each datagram.
type Socket struct {
	fd, event int
	six       bool
	local     netip.AddrPort
	wild      bool       // bound to no address of its own
	at        netip.Addr // where the datagram came to that is being handled
	poller    int
	epoll     *os.File // of poller
	raw       syscall.RawConn
	look      func(fd uintptr) bool
	asleep    atomic.Bool
	woken     atomic.Bool // Wake was called since the last Wait returned
	signalled atomic.Bool // the eventfd was written

	until    time.Time   // the deadline that epoll has
	segments atomic.Bool // the kernel has UDP_SEGMENT

	in  inbound
	out *Batch

	passing
	diverted atomic.Pointer[diversion] // nil while the socket itself is read
	diverts  []*diversion              // all that there were
}

// diversion is where what another process passes on is read.
type diversion struct{ fd int }

// Divert has Read return what another process passes on by a connection, rather than
// what comes by the socket, which that process reads; nil ends that. It takes the
// connection. Anybody may call it, but one at a time.
func (s *Socket) Divert(uc *net.UnixConn) error {
	defer s.Wake()
	if uc == nil {
		s.diverted.Store(nil)
		return nil
	}
	fd, err := dup(uc)
	if err != nil {
		return err
	}
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer)
	if err := syscall.EpollCtl(s.poller, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(fd)}); err != nil {
		syscall.Close(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	d := &diversion{fd}
	s.diverts = append(s.diverts, d)
	s.diverted.Store(d)
	return nil
}

// reads returns the descriptor that is read.
func (s *Socket) reads() int {
	if d := s.diverted.Load(); d != nil {
		return d.fd
	}
	return s.fd
}

// inbound is the memory of one recvmmsg.
type inbound struct {
	msgs  [inBatch]mmsghdr
	iovs  [inBatch]syscall.Iovec
	addrs [inBatch][addrSize]byte
	bufs  [inBatch][MaxSize]byte
	info  [inBatch][cmsgSize]byte
}

// adopt takes the socket of a connection of Go's.
func adopt(pc *net.UDPConn, six bool) (*Socket, error) {
	defer pc.Close()
	raw, err := pc.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	err = raw.Control(func(its uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if fd, err = syscall.Dup(int(its)); err == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("duplicate a socket: %w", err)
	}
	return newSocket(fd, six, pc.LocalAddr().(*net.UDPAddr).AddrPort())
}

// open opens a socket that shares its address.
func open(six bool, at netip.AddrPort) (*Socket, error) {
	family := syscall.AF_INET
	if six {
		family = syscall.AF_INET6
	}
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	fail := func(what string, err error) (*Socket, error) {
		syscall.Close(fd)
		return nil, os.NewSyscallError(what, err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		return fail("setsockopt SO_REUSEPORT", err)
	}
	if six {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1); err != nil {
			return fail("setsockopt IPV6_V6ONLY", err)
		}
	}
	if err := syscall.Bind(fd, sockaddr(at, six)); err != nil {
		return fail("bind", err)
	}
	return newSocket(fd, six, at)
}

func newSocket(fd int, six bool, local netip.AddrPort) (*Socket, error) {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	ev, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		syscall.Close(fd)
		return nil, os.NewSyscallError("eventfd", errno)
	}
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err == nil {
		err = syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, int(ev), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(ev)})
	}
	if err == nil {
		err = syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(fd)})
	}
	if err != nil {
		syscall.Close(fd)
		syscall.Close(int(ev))
		if ep >= 0 {
			syscall.Close(ep)
		}
		return nil, os.NewSyscallError("epoll", err)
	}
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer) // less will do
	syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, buffer)
	syscall.SetNonblock(ep, true) // else os.File would not use the poller
	s := &Socket{fd: fd, event: int(ev), six: six, local: local, poller: ep, epoll: os.NewFile(uintptr(ep), "epoll")}
	if s.raw, err = s.epoll.SyscallConn(); err != nil {
		s.Close()
		return nil, err
	}
	var evs [2]syscall.EpollEvent
	s.look = func(fd uintptr) bool {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), 0, 0, 0)
		return errno == 0 && int(n) > 0
	}
	for i := range s.in.msgs {
		s.in.iovs[i].Base = &s.in.bufs[i][0]
		s.in.iovs[i].SetLen(MaxSize)
		h := &s.in.msgs[i].hdr
		h.Iov = &s.in.iovs[i]
		setIovlen(h, 1)
		h.Name = &s.in.addrs[i][0]
	}
	if s.wild = local.Addr().IsUnspecified(); s.wild {
		if six {
			err = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, ipv6RecvPktinfo, 1)
		} else {
			err = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipPktinfo, 1)
		}
		s.wild = err == nil
	}
	_, err = syscall.GetsockoptInt(fd, solUDP, udpSegment)
	s.segments.Store(err == nil)
	s.out = s.NewBatch()
	return s, nil
}

// LocalAddr returns where it is.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Batching says how datagrams are written.
func (s *Socket) Batching() string {
	if s.segments.Load() {
		return "sendmmsg, segments"
	}
	return "sendmmsg"
}

// Wake has Wait return. Anybody may call it.
func (s *Socket) Wake() {
	s.woken.Store(true)
	if s.asleep.Load() && !s.signalled.Swap(true) {
		one := [8]byte{1} // an eventfd counts in the machine's byte order; any count will do
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(s.event), uintptr(unsafe.Pointer(&one)), 8)
	}
}

// Wait waits until there are datagrams, until Wake was called, or until a time.
func (s *Socket) Wait(until time.Time) {
	if !time.Now().Before(until) {
		s.woken.Store(false)
		return
	}
	// Told once of what comes: not again for each datagram until the next Wait.
	fd := s.reads()
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(fd)}
	syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(s.poller), syscall.EPOLL_CTL_MOD, uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	s.asleep.Store(true)
	if !s.woken.Load() {
		if until != s.until {
			s.epoll.SetReadDeadline(until)
			s.until = until
		}
		s.raw.Read(s.look) // an error is that the time is over
	}
	s.asleep.Store(false)
	s.woken.Store(false)
	if s.signalled.Swap(false) {
		var count [8]byte
		syscall.RawSyscall(syscall.SYS_READ, uintptr(s.event), uintptr(unsafe.Pointer(&count)), 8)
	}
}

// Pause waits until a time, whatever comes.
func (s *Socket) Pause(until time.Time) { time.Sleep(time.Until(until)) }

// Read calls each with datagrams that have come, and returns how many there were. The
// bytes are valid until it returns.
func (s *Socket) Read(each func(from netip.AddrPort, b []byte)) (total int) {
	for range maxReads {
		fd := s.reads()
		n := s.receive(fd)
		for i := range n {
			if fd != s.fd {
				if from, at, b, ok := parsePassed(s.in.bufs[i][:min(int(s.in.msgs[i].n), MaxSize)]); ok {
					s.at = at
					each(from, b)
				}
				continue
			}
			if from, ok := parseAddr(s.in.addrs[i][:], s.six); ok {
				s.at = s.reached(i)
				each(from, s.in.bufs[i][:min(int(s.in.msgs[i].n), MaxSize)])
			}
		}
		if total += n; n < inBatch {
			break
		}
	}
	return total
}

func (s *Socket) receive(fd int) int {
	for i := range s.in.msgs {
		h := &s.in.msgs[i].hdr
		h.Namelen = addrSize
		if s.wild {
			h.Control = &s.in.info[i][0]
			h.SetControllen(cmsgSize)
		}
	}
	n, _, errno := syscall.RawSyscall6(sysRecvmmsg, uintptr(fd), uintptr(unsafe.Pointer(&s.in.msgs[0])), inBatch, syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0 // nothing there, or what ICMP said of a datagram of ours
	}
	return int(n)
}

// At returns the address of ours that the datagram came to that is being handled: whoever
// answers has to do it from there.
func (s *Socket) At() netip.Addr { return s.at }

// reached reads it.
func (s *Socket) reached(i int) netip.Addr {
	if !s.wild {
		return s.local.Addr()
	}
	b := s.in.info[i][:min(cmsgSize, int(s.in.msgs[i].hdr.Controllen))]
	if len(b) < syscall.CmsgLen(12) {
		return netip.Addr{}
	}
	c, data := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0])), b[syscall.CmsgLen(0):]
	switch {
	case !s.six && c.Level == syscall.IPPROTO_IP && c.Type == ipPktinfo:
		return netip.AddrFrom4([4]byte(data[4:8]))
	case s.six && c.Level == syscall.IPPROTO_IPV6 && c.Type == ipv6Pktinfo && len(data) >= 16:
		return netip.AddrFrom16([16]byte(data[:16]))
	}
	return netip.Addr{}
}

// Addresses stand in memory as the system has them: family, port, address.
func parseAddr(b []byte, six bool) (netip.AddrPort, bool) {
	switch family := binary.NativeEndian.Uint16(b); {
	case family == syscall.AF_INET && !six:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), true
	case family == syscall.AF_INET6 && six:
		a := netip.AddrFrom16([16]byte(b[8:24]))
		if zone := binary.NativeEndian.Uint32(b[24:]); zone != 0 {
			a = a.WithZone(zoneName(zone))
		}
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[2:])), true
	}
	return netip.AddrPort{}, false
}

func putAddr(b []byte, to netip.AddrPort, six bool) (size int) {
	clear(b)
	binary.BigEndian.PutUint16(b[2:], to.Port())
	if !six {
		binary.NativeEndian.PutUint16(b, syscall.AF_INET)
		a := to.Addr().Unmap().As4()
		copy(b[4:], a[:])
		return syscall.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(b, syscall.AF_INET6)
	a := to.Addr().As16()
	copy(b[8:], a[:])
	if z := to.Addr().Zone(); z != "" {
		binary.NativeEndian.PutUint32(b[24:], zoneIndex(z))
	}
	return syscall.SizeofSockaddrInet6
}

// Close closes it. Nobody may use it any more.
func (s *Socket) Close() error {
	for _, d := range s.diverts {
		syscall.Close(d.fd)
	}
	if s.pass != nil {
		s.pass.Close()
	}
	s.epoll.Close()
	syscall.Close(s.event)
	return syscall.Close(s.fd)
}

// Zones are names in addresses, and numbers to the system.
func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return fmt.Sprint(index)
}

func zoneIndex(name string) uint32 {
	if i, err := net.InterfaceByName(name); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// SyscallConn implements syscall.Conn: only Control of what it returns is of use.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return rawFD(s.fd), nil }

// rawFD is a descriptor that is used as it is.
type rawFD int

// Control implements syscall.RawConn.
func (fd rawFD) Control(f func(fd uintptr)) error {
	f(uintptr(fd))
	return nil
}

// Read implements syscall.RawConn.
func (rawFD) Read(func(fd uintptr) bool) error { return os.ErrInvalid }

// Write implements syscall.RawConn.
func (rawFD) Write(func(fd uintptr) bool) error { return os.ErrInvalid }
