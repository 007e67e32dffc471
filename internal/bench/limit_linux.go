//go:build linux && !386 && !s390x

package bench

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"weir/internal/sender"
)

const (
	// packetSize is a datagram's payload, as WebRTC and SRT have it.
	packetSize = 1200
	solUDP     = 17
	udpSegment = 103
	threadCPU  = 3 // CLOCK_THREAD_CPUTIME_ID
)

// sysSendmmsg is the number of the system call.
var sysSendmmsg = map[string]uintptr{"amd64": 307, "arm64": 269, "arm": 374, "riscv64": 269, "ppc64le": 349}[runtime.GOARCH]

// floor is one way under measurement.
type floor struct {
	way
	fds   []int // of the sender
	peers []int // of the viewers
	seals []cipher.AEAD
	ring  *sender.Ring
	body  []byte
	sealed
	sends, bytes int64
	refused      int64
}

// sealed is the memory of one call of sendmmsg.
type sealed struct {
	msgs    []message
	vecs    []syscall.Iovec
	control []byte
	packets [][]byte
	nonce   [12]byte
}

// measureFloor sends for a while in one way.
func measureFloor(ctx context.Context, w way, o LimitOptions) (f Floor, err error) {
	x := &floor{way: w, body: make([]byte, int(o.Mbps*1e6/8*w.every.Seconds()))}
	defer x.close()
	if err := x.open(o.Viewers); err != nil {
		return f, err
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !over.Load() {
			x.drain()
			time.Sleep(sweepEvery)
		}
	})
	defer wg.Wait()
	defer over.Store(true)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- x.run(ctx, o.Time, &f)
	}()
	return f, <-done
}

// run warms up for a quarter of the time and measures.
func (x *floor) run(ctx context.Context, d time.Duration, f *Floor) error {
	var cpu, began time.Time
	next := time.Now()
	measured := next.Add(d / 4)
	end := measured.Add(d)
	for {
		now := time.Now()
		if began.IsZero() && !now.Before(measured) {
			began, cpu = now, threadClock()
			x.sends, x.bytes = 0, 0
		}
		if !now.Before(end) || ctx.Err() != nil {
			used, took := threadClock().Sub(cpu).Seconds(), now.Sub(began).Seconds()
			if x.bytes == 0 {
				return fmt.Errorf("nothing was sent, %d sends were refused", x.refused)
			}
			f.PerGbit = used / (float64(x.bytes) * 8 / 1e9)
			f.PerSend = used * 1e6 / float64(x.sends)
			f.Mbps = float64(x.bytes) * 8 / 1e6 / took
			return nil
		}
		if err := x.turn(); err != nil {
			return err
		}
		next = next.Add(x.every)
		if pause := time.Until(next); pause > 0 {
			ts := syscall.NsecToTimespec(int64(pause))
			// By a call of its own, so that the sleep is this thread's; the
			// scheduler is told of it.
			syscall.Syscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
		}
	}
}

func threadClock() time.Time {
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Unix(0, ts.Nano())
}

// open connects as many viewers.
func (x *floor) open(n int) error {
	if x.way.ring {
		r, err := sender.NewRing()
		if err != nil {
			return err
		}
		x.ring = r
	}
	if x.crypt {
		for i := range n {
			key := [16]byte{byte(i), byte(i >> 8)}
			b, err := aes.NewCipher(key[:])
			if err != nil {
				return err
			}
			a, err := cipher.NewGCM(b)
			if err != nil {
				return err
			}
			x.seals = append(x.seals, a)
		}
	}
	if x.udp {
		return x.openUDP(n)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	for range n {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		s, err := l.Accept()
		if err != nil {
			c.Close()
			return err
		}
		for _, e := range []struct {
			nc  net.Conn
			fds *[]int
		}{{s, &x.fds}, {c, &x.peers}} {
			fd, err := duplicate(e.nc.(*net.TCPConn))
			e.nc.Close() // out of Go's poller
			if err != nil {
				return err
			}
			*e.fds = append(*e.fds, fd)
		}
	}
	return nil
}

// openUDP makes a connected pair for each viewer: connecting spares the kernel
// the address, and no way is helped more than another.
func (x *floor) openUDP(n int) error {
	loopback := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	for range n {
		var pair [2]int
		for i, fds := range []*[]int{&x.fds, &x.peers} {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			*fds = append(*fds, fd)
			if err := syscall.Bind(fd, loopback); err != nil {
				return err
			}
			pair[i] = fd
		}
		to, err := syscall.Getsockname(pair[1])
		if err != nil {
			return err
		}
		if err := syscall.Connect(pair[0], to); err != nil {
			return err
		}
	}
	return nil
}

func (x *floor) close() {
	for _, fd := range append(x.fds, x.peers...) {
		syscall.Close(fd)
	}
	if x.ring != nil {
		x.ring.Close()
	}
}

// drain drops what the viewers' sockets hold. Of a datagram, other than of a TCP
// stream, what fits is copied: one byte.
func (x *floor) drain() {
	var none [1]byte
	size := most
	if x.udp {
		size = len(none)
	}
	for _, fd := range x.peers {
		for {
			n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&none[0])), uintptr(size), syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
			if e != 0 || n == 0 || !x.udp {
				break
			}
		}
	}
}

// turn sends what was gathered to everybody.
func (x *floor) turn() error {
	switch {
	case x.ring != nil:
		n, err := x.ring.Send(x.fds, x.body)
		x.sends += int64(len(x.fds))
		x.bytes += int64(n)
		return err
	case !x.udp:
		for _, fd := range x.fds {
			n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&x.body[0])), uintptr(len(x.body)))
			x.note(int(n), e)
		}
		return nil
	case x.mmsg == 0:
		for i, fd := range x.fds {
			for off := 0; off < len(x.body); off += packetSize {
				p := x.seal(i, x.body[off:min(off+packetSize, len(x.body))], nil)
				n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT, 0, 0)
				x.note(int(n), e)
			}
		}
		return nil
	}
	return x.batches()
}

func (x *floor) note(n int, e syscall.Errno) {
	if e != 0 {
		x.refused++
		return
	}
	x.sends++
	x.bytes += int64(n)
}

// seal encrypts a packet for viewer i into dst, if this way encrypts.
func (x *floor) seal(i int, p, dst []byte) []byte {
	if !x.crypt {
		return p
	}
	if dst == nil {
		if len(x.packets) == 0 {
			x.packets = append(x.packets, make([]byte, 0, packetSize))
		}
		dst = x.packets[0][:0]
	}
	x.nonce[0]++
	return x.seals[i].Seal(dst, x.nonce[:], p[:max(0, len(p)-16)], nil)
}

// batches sends by sendmmsg. A socket of each viewer needs a call of its own; a
// server has one socket for all, and addresses. So one socket sends here too.
func (x *floor) batches() error {
	if sysSendmmsg == 0 {
		return errors.New("sendmmsg is not known for " + runtime.GOARCH)
	}
	if x.msgs == nil {
		x.prepare()
	}
	if x.crypt {
		for i := range x.packets {
			viewer, off := i/x.packetsOf(), i%x.packetsOf()*packetSize
			x.packets[i] = x.seal(viewer, x.body[off:min(off+packetSize, len(x.body))], x.packets[i][:0])
		}
	}
	for at := 0; at < len(x.msgs); {
		n := min(x.mmsg, len(x.msgs)-at)
		sent, _, e := syscall.RawSyscall6(sysSendmmsg, uintptr(x.fds[0]), uintptr(unsafe.Pointer(&x.msgs[at])), uintptr(n), syscall.MSG_DONTWAIT, 0, 0)
		if e != 0 {
			if e == syscall.EINVAL || e == syscall.EIO {
				return fmt.Errorf("the kernel has no UDP_SEGMENT: %w", e)
			}
			x.refused++
			at++
			continue
		}
		for _, m := range x.msgs[at : at+int(sent)] {
			x.sends++
			x.bytes += int64(m.n)
		}
		at += int(sent)
	}
	return nil
}

// packetsOf is how many packets a frame has.
func (x *floor) packetsOf() int { return (len(x.body) + packetSize - 1) / packetSize }

// prepare makes the messages of a frame for all viewers: one a packet, or one a
// frame, which the kernel cuts.
func (x *floor) prepare() {
	// The first socket sends to every viewer's address.
	var off syscall.RawSockaddrInet4
	off.Family = syscall.AF_UNSPEC
	syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(x.fds[0]), uintptr(unsafe.Pointer(&off)), unsafe.Sizeof(off))
	per := x.packetsOf()
	var packets [][]byte
	for range x.fds {
		for p := range per {
			b := x.body[p*packetSize : min((p+1)*packetSize, len(x.body))]
			if x.crypt {
				b = make([]byte, len(b))
			}
			packets = append(packets, b)
		}
	}
	x.packets = packets
	x.vecs = make([]syscall.Iovec, len(packets))
	for i, p := range packets {
		x.vecs[i].Base = &p[0]
		x.vecs[i].SetLen(len(p))
	}
	x.control = make([]byte, syscall.CmsgSpace(2))
	c := (*syscall.Cmsghdr)(unsafe.Pointer(&x.control[0]))
	c.Level, c.Type = solUDP, udpSegment
	c.SetLen(syscall.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&x.control[syscall.CmsgLen(0)])) = packetSize
	for v, fd := range x.peers {
		sa, err := syscall.Getsockname(fd)
		if err != nil {
			continue
		}
		to := &syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
		port := sa.(*syscall.SockaddrInet4).Port
		to.Port = uint16(port>>8 | port&0xff<<8)
		if ne := [2]byte{1, 0}; *(*uint16)(unsafe.Pointer(&ne)) != 1 {
			to.Port = uint16(port)
		}
		step := 1
		if x.gso {
			step = per
		}
		for p := 0; p < per; p += step {
			m := message{hdr: syscall.Msghdr{Name: (*byte)(unsafe.Pointer(to)), Namelen: uint32(unsafe.Sizeof(*to)), Iov: &x.vecs[v*per+p]}}
			setLength(&m.hdr.Iovlen, step)
			if x.gso {
				m.hdr.Control = &x.control[0]
				m.hdr.SetControllen(len(x.control))
			}
			x.msgs = append(x.msgs, m)
		}
	}
}

// setLength sets a field whose width is the machine's.
func setLength[T uint32 | uint64](p *T, n int) { *p = T(n) }
