package rtmp

import (
	"cmp"
	"context"
	"net"
	"sync/atomic"
	"time"
)

// past interrupts whatever is blocked when it becomes a deadline.
var past = time.Unix(1, 0)

// A socket is a connection bound to a context: when the context is done, all
// that is blocked returns its cause. One goroutine reads; any may write.
type socket struct {
	// Immutable after bind.
	ctx          context.Context
	nc           net.Conn
	stop         func() bool
	writeTimeout time.Duration
	// take moves what is queued for sending behind dst, and queued says
	// whether there is anything. Both are safe for concurrent use.
	take   func(dst []byte) []byte
	queued func() bool

	received, sent atomic.Uint64

	// Owned by the reading goroutine.
	timeout time.Duration // of the present call, 0 for none
	armed   bool          // the deadline of the present call is set

	// Whoever has put a value in may write; capacity 1, never closed.
	turn chan struct{}
	// Owned by whoever has the turn.
	scratch []byte
	bufs    net.Buffers
	failed  error // what may have cut a message, so that no more can follow
}

func (s *socket) bind(ctx context.Context, nc net.Conn, writeTimeout time.Duration) {
	s.ctx, s.nc, s.writeTimeout = ctx, nc, writeTimeout
	s.turn = make(chan struct{}, 1)
	s.stop = context.AfterFunc(ctx, func() { nc.SetDeadline(past) })
}

// begin starts a call that may read for timeout, or without end if it is 0.
func (s *socket) begin(timeout time.Duration) { s.timeout, s.armed = timeout, false }

// Read reads under the deadline of the present call.
func (s *socket) Read(p []byte) (int, error) {
	if !s.armed {
		s.armed = true
		var by time.Time
		if s.timeout > 0 {
			by = time.Now().Add(s.timeout)
		}
		s.nc.SetReadDeadline(by)
		// The context may have been done before the line above, which then
		// has undone its interruption.
		if s.ctx.Err() != nil {
			return 0, context.Cause(s.ctx)
		}
	}
	n, err := s.nc.Read(p)
	s.received.Add(uint64(n))
	return n, s.explain(err)
}

// explain replaces an error that came of the context by its cause.
func (s *socket) explain(err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(context.Cause(s.ctx), err)
}

// flush sends what is queued. If somebody else is writing, they send it.
func (s *socket) flush() error {
	// Something may be queued after the writer looked and before it gave up
	// its turn, so look again after each turn.
	for s.queued() {
		select {
		case s.turn <- struct{}{}:
		default:
			return nil
		}
		err := s.put(nil, s.writeTimeout)
		<-s.turn
		if err != nil {
			return err
		}
	}
	return nil
}

// write sends what is queued, then b, which must be whole messages. It waits
// for its turn.
func (s *socket) write(b net.Buffers) error {
	select {
	case s.turn <- struct{}{}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	err := s.put(b, s.writeTimeout)
	<-s.turn
	if err != nil {
		return err
	}
	return s.flush()
}

// put writes; the caller has the turn.
func (s *socket) put(b net.Buffers, timeout time.Duration) error {
	s.scratch = s.take(s.scratch[:0])
	if s.failed != nil {
		return s.failed
	}
	// A copy, because WriteTo changes the slice, which may be a caller's.
	s.bufs = append(append(s.bufs[:0], s.scratch), b...)
	s.nc.SetWriteDeadline(time.Now().Add(timeout))
	if s.ctx.Err() != nil { // see Read
		return context.Cause(s.ctx)
	}
	all := s.bufs
	if len(s.scratch) == 0 {
		all = all[1:]
	}
	n, err := gather(s.nc, &all)
	s.sent.Add(uint64(n))
	clear(s.bufs)
	if cap(s.scratch) > maxScratch {
		s.scratch = nil
	}
	s.failed = s.explain(err)
	return s.failed
}

// dismount is called by the reader before it may have to wait for something else than
// to read: who runs it meanwhile, see Ride of package link, must not.
func (s *socket) dismount() {
	if d, ok := s.nc.(interface{ Dismount() }); ok {
		d.Dismount()
	}
}

// gather writes all buffers in one call where the connection can. net.Buffers
// knows only net's own connections; one that wraps such a connection, to count
// its bytes, says so with WriteBuffers.
func gather(nc net.Conn, all *net.Buffers) (int64, error) {
	if w, ok := nc.(interface {
		WriteBuffers(b *net.Buffers) (int64, error)
	}); ok {
		return w.WriteBuffers(all)
	}
	return all.WriteTo(nc)
}

// maxScratch is how much memory a connection keeps for small things to send.
const maxScratch = 4 << 10

func (s *socket) close() error {
	s.stop()
	return s.nc.Close()
}
