package link

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Quiet returns a connection that reads past Go's scheduler, by system calls that
// cannot sleep. An ordinary Read tells the scheduler of each, which wakes Go's
// monitor thread whenever the process was idle; a server of live streams is idle
// between any two packets, and spends more on that than on the packets. It waits
// in Go's poller, or at a [Beat] where [SetPace] says so; deadlines work in both.
// One goroutine reads at a time; any may write.
//
// Where the connection is none of TCP it is returned as it is.
func Quiet(nc net.Conn, b *Beat) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	q := &quiet{beat: b, local: tcp.LocalAddr(), remote: tcp.RemoteAddr(), fd: -1, woken: make(chan struct{}, 1)}
	if q.use(tcp) != nil {
		return nc
	}
	q.once = q.try
	return q
}

type quiet struct {
	// Immutable.
	beat          *Beat
	local, remote net.Addr
	once          func(uintptr) bool
	woken         chan struct{} // capacity 1; the Beat has an answer

	// Owned by the reader; by the Beat while the reader waits for it.
	buf   []byte
	n     int
	err   error
	pace  func() time.Duration
	empty bool // the last Read took all there was
	since int  // bytes since the last beat
	due   time.Time
	every time.Duration

	// The connection is in Go's poller (tcp is set) or outside of it, with a
	// descriptor of its own (fd is not below 0).
	mu      sync.Mutex
	tcp     *net.TCPConn    // guarded by mu
	raw     syscall.RawConn // guarded by mu
	fd      int             // guarded by mu
	writing int             // writes through tcp under way; guarded by mu
	closed  bool            // guarded by mu
	readBy  time.Time       // guarded by mu
	writeBy time.Time       // guarded by mu
	waiting bool            // stands in the Beat's list; guarded by Beat.mu
	owing   bool            // counts in Beat.out; guarded by Beat.mu

	ride ride
}

// use puts the connection into Go's poller. mu is held, or nobody else knows q.
func (q *quiet) use(tcp *net.TCPConn) error {
	raw, err := tcp.SyscallConn()
	if err == nil {
		q.tcp, q.raw = tcp, raw
	}
	return err
}

// SetPace has Read wait for the next beat before it looks for more, so that a few
// packets are read at once: until the clock comes to the next multiple of what
// pace returns, which all connections share. It is called by the reader; nil ends
// it.
func (q *quiet) SetPace(pace func() time.Duration) {
	if q.pace = pace; pace == nil {
		q.settle(0)
	}
}

// beatMost is how many bytes should come between two beats at most.
const beatMost = 32 << 10

// Look has the Beat read at once, if the reader waits for it.
func (q *quiet) Look() { q.beat.interrupt(q) }

// settle takes the connection out of Go's poller, which wakes the process for
// every packet whether somebody waits for it or not, if it is to be read at a
// pace; and back.
func (q *quiet) settle(pace time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
	case pace > 0 && q.tcp != nil && q.writing == 0:
		fd, err := duplicate(q.raw)
		if err != nil {
			return // it goes on as it is
		}
		q.tcp.Close()
		q.tcp, q.raw, q.fd = nil, nil, fd
	case pace <= 0 && q.tcp == nil:
		nc, err := connOf(q.fd)
		if err != nil || q.use(nc) != nil {
			return // out of descriptors, perhaps: it goes on at the beat
		}
		syscall.Close(q.fd)
		q.fd = -1
		q.tcp.SetReadDeadline(q.readBy)
		q.tcp.SetWriteDeadline(q.writeBy)
	}
}

// duplicate returns a descriptor of its own for a connection.
func duplicate(raw syscall.RawConn) (fd int, err error) {
	fd = -1
	if e := raw.Control(func(old uintptr) {
		n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			err = errno
			return
		}
		fd = int(n)
	}); e != nil {
		return -1, e
	}
	return fd, err
}

// connOf returns a connection for a duplicate of a descriptor, in Go's poller.
func connOf(fd int) (*net.TCPConn, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, errno
	}
	f := os.NewFile(n, "peer")
	defer f.Close()
	nc, err := net.FileConn(f) // makes a duplicate once more
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		nc.Close()
		return nil, syscall.ENOTSOCK
	}
	return tcp, nil
}

// TCP returns the connection below, in Go's poller.
func (q *quiet) TCP() *net.TCPConn {
	q.settle(0)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tcp
}

// Read reads what there is, or waits for it.
func (q *quiet) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	pace := time.Duration(0)
	if q.pace != nil {
		pace = q.pace()
		q.settle(pace)
	}
	q.buf, q.n, q.err = p, 0, nil
	q.mu.Lock()
	raw, closed := q.raw, q.closed
	q.mu.Unlock()
	var err error
	switch {
	case closed:
		err = net.ErrClosed
	case raw == nil:
		q.wait(max(pace, time.Millisecond))
	default:
		q.ride.leave()
		err = raw.Read(q.once)
	}
	q.buf, q.empty = nil, q.n < len(p)
	q.since += q.n
	switch {
	case err != nil:
		return 0, err
	case q.err != nil:
		return 0, q.fault("read", q.err)
	case q.n == 0:
		return 0, io.EOF
	}
	return q.n, nil
}

// wait reads outside of the poller: at once if more was there, else at a beat.
func (q *quiet) wait(pace time.Duration) {
	if !q.empty && q.attempt(time.Now()) {
		q.ride.has(q.n)
		return
	}
	// What comes between two beats has to fit into the kernel's buffer, which is
	// small at first; a peer that fills it is read more often.
	for n := q.since; n > beatMost && pace > 2*time.Millisecond; n /= 2 {
		pace /= 2
	}
	q.every, q.since = pace, 0
	q.beat.await(q)
}

// over reports whether waiting makes no sense any more.
func (q *quiet) over(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed || !q.readBy.IsZero() && !now.Before(q.readBy)
}

// attempt reads outside of the poller and reports whether there is an answer:
// bytes, the end, or a fault, which a deadline is.
func (q *quiet) attempt(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed || q.fd < 0:
		q.err = net.ErrClosed
		return true
	case !q.readBy.IsZero() && !now.Before(q.readBy):
		q.err = os.ErrDeadlineExceeded
		return true
	}
	return q.try(uintptr(q.fd))
}

func (q *quiet) try(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&q.buf[0])), uintptr(len(q.buf)))
		switch errno {
		case 0:
			q.n = int(n)
			return true
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			q.err = errno
			return true
		}
	}
}

func (q *quiet) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: q.local, Addr: q.remote, Err: err}
}

// Write implements net.Conn.
func (q *quiet) Write(p []byte) (int, error) {
	n, err := q.WriteBuffers(&net.Buffers{p})
	return int(n), err
}

// fullPause is how long a write outside of the poller waits for room, before it
// tries again.
const fullPause = 5 * time.Millisecond

// WriteBuffers sends several buffers, in one call where the connection is in the
// poller. Outside of it little is ever written: a publisher's acknowledgements.
func (q *quiet) WriteBuffers(b *net.Buffers) (int64, error) {
	q.mu.Lock()
	if tcp := q.tcp; tcp != nil {
		q.writing++
		q.mu.Unlock()
		n, err := b.WriteTo(tcp)
		q.mu.Lock()
		q.writing--
		q.mu.Unlock()
		return n, err
	}
	q.mu.Unlock()
	var all int64
	for _, p := range *b {
		for len(p) > 0 {
			n, err := q.put(p)
			all += int64(n)
			if p = p[n:]; err != nil {
				return all, q.fault("write", err)
			}
			if n == 0 {
				time.Sleep(fullPause)
			}
		}
	}
	return all, nil
}

// put writes once; 0 bytes without an error means that there was no room.
func (q *quiet) put(p []byte) (int, error) {
	q.mu.Lock()
	tcp := q.tcp
	if tcp == nil {
		defer q.mu.Unlock()
		switch {
		case q.closed:
			return 0, net.ErrClosed
		case !q.writeBy.IsZero() && !time.Now().Before(q.writeBy):
			return 0, os.ErrDeadlineExceeded
		}
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(q.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EAGAIN, syscall.EINTR:
			return 0, nil
		}
		return 0, errno
	}
	q.writing++ // it has come back meanwhile
	q.mu.Unlock()
	n, err := tcp.Write(p)
	q.mu.Lock()
	q.writing--
	q.mu.Unlock()
	return n, err
}

// Close implements net.Conn.
func (q *quiet) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return net.ErrClosed
	}
	q.closed = true
	var err error
	if q.tcp != nil {
		err = q.tcp.Close()
	} else {
		err = syscall.Close(q.fd)
		q.fd = -1
	}
	q.mu.Unlock()
	q.beat.interrupt(q)
	return err
}

// CloseWrite ends our direction.
func (q *quiet) CloseWrite() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return net.ErrClosed
	case q.tcp != nil:
		return q.tcp.CloseWrite()
	}
	return syscall.Shutdown(q.fd, syscall.SHUT_WR)
}

// LocalAddr implements net.Conn.
func (q *quiet) LocalAddr() net.Addr { return q.local }

// RemoteAddr implements net.Conn.
func (q *quiet) RemoteAddr() net.Addr { return q.remote }

// SetDeadline implements net.Conn.
func (q *quiet) SetDeadline(t time.Time) error {
	q.SetWriteDeadline(t)
	return q.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (q *quiet) SetReadDeadline(t time.Time) error {
	q.mu.Lock()
	q.readBy = t
	if q.tcp != nil {
		defer q.mu.Unlock()
		return q.tcp.SetReadDeadline(t)
	}
	q.mu.Unlock()
	if !t.IsZero() && !time.Now().Before(t) {
		q.beat.interrupt(q)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (q *quiet) SetWriteDeadline(t time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writeBy = t
	if q.tcp != nil {
		return q.tcp.SetWriteDeadline(t)
	}
	return nil
}
