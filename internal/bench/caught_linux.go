//go:build linux && !386 && !s390x

package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// sysRecvmmsg is the number of the system call.
var sysRecvmmsg = map[string]uintptr{"amd64": 299, "arm": 365, "ppc64le": 343}[runtime.GOARCH]

const (
	sysRecvmmsgElse = 243 // where the table is the common one
	// atOnce is how many datagrams one call takes, and headMost what is copied of each:
	// the rest is dropped inside the kernel.
	atOnce   = 64
	headMost = 512
)

// caught is the sweeper for viewers of WebRTC: one goroutine for the sockets of all that
// are no probes. It looks at headers, which are not encrypted, and at checks of STUN.
type caught struct {
	mu    sync.Mutex
	fresh []*held // guarded by mu
	done  bool    // guarded by mu
}

// held is one socket; the sweeper owns it.
type held struct {
	fd int
	*caller
}

// message is struct mmsghdr; Go pads it as C does.
type message struct {
	hdr syscall.Msghdr
	n   uint32
}

// haul is the memory of one call.
type haul struct {
	msgs [atOnce]message
	iovs [atOnce]syscall.Iovec
	bufs [atOnce][headMost]byte
}

func newCaught(ctx context.Context, wg *sync.WaitGroup) *caught {
	s := &caught{}
	wg.Go(func() { s.sweep(ctx) })
	return s
}

// add takes a viewer's socket over.
func (s *caught) add(c *caller) error {
	fd, err := duplicate(c.conn)
	if err != nil {
		return fmt.Errorf("taking the socket over: %w", err)
	}
	c.send = func(b []byte) { syscall.Write(fd, b) }
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return syscall.Close(fd)
	}
	s.fresh = append(s.fresh, &held{fd: fd, caller: c})
	return nil
}

func (s *caught) sweep(ctx context.Context) {
	if sysRecvmmsg == 0 {
		sysRecvmmsg = sysRecvmmsgElse
	}
	m := &haul{}
	for i := range m.msgs {
		m.iovs[i].Base = &m.bufs[i][0]
		m.iovs[i].SetLen(headMost)
		m.msgs[i].hdr.Iov = &m.iovs[i]
		m.msgs[i].hdr.Iovlen = 1
	}
	var all []*held
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.done = true
			for _, c := range append(all, s.fresh...) {
				syscall.Close(c.fd)
			}
			return
		case now = <-tick.C:
		}
		s.mu.Lock()
		all = append(all, s.fresh...)
		s.fresh = nil
		s.mu.Unlock()
		kept := all[:0]
		for _, c := range all {
			if c.empty(m, now) {
				kept = append(kept, c)
				continue
			}
			c.v.over.Store(true)
			syscall.Close(c.fd)
		}
		clear(all[len(kept):])
		all = kept
	}
}

// empty takes what the socket holds, and reports whether the session goes on.
func (c *held) empty(m *haul, now time.Time) bool {
	if !now.Before(c.due) {
		c.keep(now)
	}
	for {
		n, _, e := syscall.RawSyscall6(sysRecvmmsg, uintptr(c.fd), uintptr(unsafe.Pointer(&m.msgs[0])), atOnce, syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
		switch {
		case e == syscall.EAGAIN || e == syscall.EINTR:
			return true
		case e != 0:
			return false
		}
		for i := range int(n) {
			size := int(m.msgs[i].n)
			if !c.packet(m.bufs[i][:min(size, headMost)], size, now) {
				return false
			}
		}
		if n < atOnce {
			return true
		}
	}
}
