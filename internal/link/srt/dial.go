// Package srt joins the caller's side of SRT to a socket: what pulls a stream from
// another server, and what sends one there.
package srt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	wire "weir/internal/wire/srt"
)

const (
	// maxInbox bounds what the reader may be behind, in bytes.
	maxInbox = 16 << 20
	// maxUnsent is how many packets may wait for their turn.
	maxUnsent = 512
	// tick is how long we wait at most before we look at the time.
	tick = 10 * time.Millisecond
	// socketBuffer is what the system is asked to hold, in bytes.
	socketBuffer = 4 << 20
)

// Conn is one connection. Read and Write may be called by a goroutine each.
type Conn struct {
	pc   *net.UDPConn
	done chan struct{} // closed when the socket is read no more
	came chan struct{} // one wake-up for Read
	room chan struct{} // one wake-up for Write, and for Flush

	mu sync.Mutex
	// All below is guarded by mu.
	conn    *wire.Conn
	inbox   []byte
	waiting bool
	in, out int64
}

// Dial connects. The error is a [wire.Reject] if the listener said no; the context
// bounds the attempt only.
func Dial(ctx context.Context, t Target) (*Conn, error) {
	d := net.Dialer{}
	nc, err := d.DialContext(ctx, "udp", t.Addr)
	if err != nil {
		return nil, err
	}
	pc := nc.(*net.UDPConn)
	pc.SetReadBuffer(socketBuffer) // less will do
	pc.SetWriteBuffer(socketBuffer)
	c := &Conn{pc: pc, done: make(chan struct{}), came: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	t.Params.Rand = rand.Reader
	t.Params.Send = func(b []byte) {
		c.out += int64(len(b))
		pc.Write(b)
	}
	t.Params.Deliver = c.deliver
	if err := c.call(ctx, t); err != nil {
		pc.Close()
		return nil, fmt.Errorf("SRT to %s: %w", t.Addr, err)
	}
	go c.read()
	return c, nil
}

// call is the handshake. Nobody else has the connection yet.
func (c *Conn) call(ctx context.Context, t Target) error {
	defer context.AfterFunc(ctx, func() { c.pc.SetReadDeadline(time.Unix(1, 0)) })()
	var b [8]byte
	rand.Read(b[:])
	id := max(1, binary.BigEndian.Uint32(b[:])&0x3fffffff)
	caller, err := wire.NewCaller(time.Now(), t.Params, id, binary.BigEndian.Uint32(b[4:]), t.StreamID, t.Passphrase, t.Wait)
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for {
		c.pc.SetReadDeadline(caller.Next())
		if ctx.Err() != nil { // after the line above, which may have undone an interruption
			return context.Cause(ctx)
		}
		n, err := c.pc.Read(buf)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, syscall.ECONNREFUSED):
			return err // nobody is there, as ICMP says
		case err != nil:
			return err
		}
		now := time.Now()
		if dst, ok := wire.Destination(buf[:n]); err == nil && ok && dst == id {
			if c.conn, err = caller.Handle(now, buf[:n]); c.conn != nil || err != nil {
				return err
			}
		}
		if err := caller.Advance(now); err != nil {
			return err
		}
	}
}

// read takes what comes, and looks after the time.
func (c *Conn) read() {
	defer close(c.done)
	buf := make([]byte, 2048)
	raw, err := c.pc.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	for {
		c.mu.Lock()
		c.drain(raw, buf)
		now := time.Now()
		c.conn.Advance(now)
		if c.waiting && c.conn.Unsent() < maxUnsent/2 {
			c.waiting = false
			wake(c.room)
		}
		err, next := c.conn.Err(), c.conn.Next()
		c.mu.Unlock()
		if err != nil {
			break
		}
		if most := now.Add(tick); next.After(most) {
			next = most
		}
		c.pc.SetReadDeadline(next)
		n, err := c.pc.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err == nil {
			c.mu.Lock()
			c.handle(time.Now(), buf[:n])
			c.mu.Unlock()
		}
	}
	wake(c.came)
	wake(c.room)
}

// maxDrain bounds how many datagrams are read at once.
const maxDrain = 1000

// drain takes all that has come, before the connection looks at the time: who was kept
// from reading would give up for lost what is there. c.mu is held.
func (c *Conn) drain(raw syscall.RawConn, buf []byte) {
	raw.Control(func(fd uintptr) {
		for range maxDrain {
			n, err := receive(fd, buf)
			if err != nil {
				return
			}
			c.handle(time.Now(), buf[:n])
		}
	})
}

// handle takes a datagram. c.mu is held.
func (c *Conn) handle(now time.Time, b []byte) {
	if dst, ok := wire.Destination(b); ok && dst == c.conn.ID() {
		c.in += int64(len(b))
		c.conn.Handle(now, b)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// deliver keeps a payload. c.mu is held.
func (c *Conn) deliver(b []byte) {
	if len(c.inbox)+len(b) > maxInbox {
		return
	}
	c.inbox = append(c.inbox, b...)
	wake(c.came)
}

// Read returns what has come, at least one payload, and keeps p for what comes next.
// The error says why nothing will come any more.
func (c *Conn) Read(ctx context.Context, p []byte) ([]byte, error) {
	for {
		c.mu.Lock()
		if len(c.inbox) > 0 {
			b := c.inbox
			c.inbox = p[:0]
			c.mu.Unlock()
			return b, nil
		}
		err := c.conn.Err()
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-c.came:
		case <-c.done:
			c.mu.Lock()
			err := c.conn.Err()
			c.mu.Unlock()
			if err == nil {
				return nil, net.ErrClosed
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Write sends a payload as soon as there is room for it.
func (c *Conn) Write(ctx context.Context, b []byte) error {
	for {
		c.mu.Lock()
		if err := c.conn.Err(); err != nil {
			c.mu.Unlock()
			return err
		}
		if c.conn.Unsent() < maxUnsent && c.conn.Write(time.Now(), b) {
			c.mu.Unlock()
			return nil
		}
		c.waiting = true
		c.mu.Unlock()
		select {
		case <-c.room:
		case <-c.done:
			return net.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Flush waits until the peer has all that was written, or given up on it.
func (c *Conn) Flush(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		c.mu.Lock()
		left := c.conn.Stats().SendHeld
		c.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-t.C:
		case <-c.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Err()
}

// Bytes returns how many bytes of datagrams have come and gone.
func (c *Conn) Bytes() (in, out int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in, c.out
}

// Stats returns the connection's totals.
func (c *Conn) Stats() wire.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Stats()
}

// Remote returns the listener's address.
func (c *Conn) Remote() netip.AddrPort {
	at := c.pc.RemoteAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// Close ends the connection; the peer is told.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.conn.Close(time.Now())
	c.mu.Unlock()
	c.pc.Close()
	<-c.done
	return nil
}
