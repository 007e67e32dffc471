package link

import (
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// Quiet returns a connection that reads past Go's scheduler, by system calls that
// cannot sleep. An ordinary Read tells the scheduler of each, which wakes Go's
// monitor thread whenever the process was idle; a server of live streams is idle
// between any two packets, and spends more on that than on the packets. It waits
// in Go's poller as ever, and deadlines work. One goroutine reads at a time.
//
// Where the connection is none of TCP it is returned as it is.
func Quiet(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	q := &quiet{TCPConn: tcp, raw: raw}
	q.once = q.try
	return q
}

type quiet struct {
	*net.TCPConn
	raw  syscall.RawConn
	once func(uintptr) bool

	// Owned by the reader.
	buf   []byte
	n     int
	err   error
	pace  func() time.Duration
	empty bool // the last Read took all there was
}

// SetPace has Read wait before it looks for more, so that a few packets are read
// at once: until the clock comes to the next multiple of what pace returns, which
// all connections share, so that one wake-up of the process serves them all. It
// is called by the reader; nil ends it.
func (q *quiet) SetPace(pace func() time.Duration) { q.pace = pace }

// await waits for the next beat of the pace, if there is one.
func (q *quiet) await() {
	if q.pace == nil || !q.empty {
		return
	}
	if d := q.pace(); d > 0 {
		now := time.Now()
		time.Sleep(now.Truncate(d).Add(d).Sub(now))
	}
}

// TCP returns the connection below.
func (q *quiet) TCP() *net.TCPConn { return q.TCPConn }

// Read reads what there is, or waits for it.
func (q *quiet) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q.await()
	q.buf, q.n, q.err = p, 0, nil
	err := q.raw.Read(q.once)
	q.buf, q.empty = nil, q.n < len(p)
	switch {
	case err != nil:
		return 0, err
	case q.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: q.LocalAddr(), Addr: q.RemoteAddr(), Err: q.err}
	case q.n == 0:
		return 0, io.EOF
	}
	return q.n, nil
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

// WriteBuffers sends several buffers in one call.
func (q *quiet) WriteBuffers(b *net.Buffers) (int64, error) { return b.WriteTo(q.TCPConn) }
