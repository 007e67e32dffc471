//go:build linux && !386 && !s390x

package bench

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// sweepEvery is how often the sockets are looked at.
const sweepEvery = 10 * time.Millisecond

// A sweeper empties the sockets of the cheap viewers, all from one goroutine.
// None of them is in any poller: a reader that waits is woken by the kernel in
// the sender's time, which a viewer on another machine would not be. What the
// socket holds is dropped inside the kernel (MSG_TRUNC, tcp(7)) and never
// copied.
type sweeper struct {
	mu    sync.Mutex
	fresh []*swept // guarded by mu
	done  bool     // guarded by mu; nobody sweeps any more
}

// swept is one socket; the sweeper owns it.
type swept struct {
	fd int
	v  *viewer
	acks
}

// newSweeper starts one; it closes all sockets when ctx is done.
func newSweeper(ctx context.Context, wg *sync.WaitGroup) *sweeper {
	s := &sweeper{}
	wg.Go(func() { s.sweep(ctx) })
	return s
}

// add takes a viewer's socket over. window is what the server wants to have
// acknowledged.
func (s *sweeper) add(t *tap, window uint32) error {
	c := t.take()
	defer c.Close() // ours is a copy, out of Go's poller
	fd, err := duplicate(c)
	if err != nil {
		return fmt.Errorf("taking the socket over: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return syscall.Close(fd)
	}
	s.fresh = append(s.fresh, &swept{fd: fd, v: t.v, acks: acks{window: window, got: t.got, ack: t.got}})
	return nil
}

func duplicate(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	fail := raw.Control(func(old uintptr) {
		n, _, e := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if e != 0 {
			err = e
			return
		}
		fd = int(n)
	})
	if fail != nil {
		return -1, fail
	}
	return fd, err
}

func (s *sweeper) sweep(ctx context.Context) {
	var all []*swept
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.done = true
			for _, c := range append(all, s.fresh...) {
				syscall.Close(c.fd)
			}
			return
		case <-tick.C:
		}
		s.mu.Lock()
		all = append(all, s.fresh...)
		s.fresh = nil
		s.mu.Unlock()
		kept := all[:0]
		for _, c := range all {
			if c.empty() {
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

// most is how much one call drops.
const most = 16 << 20

// empty drops what the socket holds, and reports whether it is still open.
func (c *swept) empty() bool {
	var none [1]byte
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&none[0])),
		most, syscall.MSG_TRUNC|syscall.MSG_DONTWAIT, 0, 0)
	switch {
	case e == syscall.EAGAIN || e == syscall.EINTR:
		return true
	case e != 0 || n == 0:
		return false
	}
	c.v.came(int(n), time.Now().UnixNano())
	if ack := c.acks.came(int(n)); ack != nil {
		// A socket that takes not even this is full of acknowledgements that
		// the server does not read; the next one says it all.
		syscall.Write(c.fd, ack)
	}
	return true
}
