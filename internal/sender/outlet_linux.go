package sender

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"weir/internal/session"
)

const (
	// sendMost bounds what one viewer is sent in one turn.
	sendMost = 1 << 20
	// privateMost bounds what waits to be answered to a viewer that does not read.
	privateMost = 16 << 10
	// stuckTime is how long a viewer may read nothing at all.
	stuckTime = 30 * time.Second
)

// ErrBack is returned by Handoff.Peer to get the connection back.
var ErrBack = errors.New("connection is given back")

var errSlow = errors.New("viewer does not read")

// outlet is one viewer. Everything is owned by its loop once it was added.
type outlet struct {
	// What every turn needs stands together: while a viewer is sent to, the kernel's copy
	// takes the cache, and each line of it that comes anew costs as much as the rest here.
	fd      int
	reel    *loopReel
	session *session.Session // hand's
	pos     uint64           // start of the next entry
	marks   uint64           // sequence number up to which marks were heeded
	blocked bool             // its socket is full
	batched bool             // stands in the batch
	closing bool             // ends when what waits is sent
	paused  bool
	seek    bool      // waits for an entry where it may start:
	newest  bool      // the newest one, not the next
	pending bool      // has something to send although its reel has not grown
	slow    bool      // it has been said that it is slow
	over    bool      // it is the loop's no more
	rest    []byte    // of an entry that was sent in part; before pos
	private []byte    // its own bytes, sent at an entry's boundary
	moved   time.Time // when something was sent last, or there was nothing to send

	hand   Handoff
	unhook func() bool
	form   progress
	cause  error
	index  int // in reel.viewers
}

func newOutlet(fd int, h Handoff) *outlet {
	return &outlet{fd: fd, hand: h, session: h.Session, private: h.Head, seek: true, newest: true, moved: time.Now(), form: progress{rtsp: h.RTSP}}
}

// takeDescriptor returns a duplicate of a connection's descriptor.
func takeDescriptor(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dup := -1, error(nil)
	err = raw.Control(func(old uintptr) {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			dup = errno
			return
		}
		fd = int(n)
		dup = syscall.SetNonblock(fd, true)
	})
	return fd, errors.Join(err, dup)
}

// watch says whether epoll tells when the socket has room again.
func (l *loop) watch(o *outlet, out bool) {
	ev := uint32(syscall.EPOLLIN | syscall.EPOLLRDHUP)
	if out {
		ev |= syscall.EPOLLOUT
	}
	syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_MOD, o.fd, &syscall.EpollEvent{Events: ev, Fd: int32(o.fd)})
}

// feed gives the viewer's bytes to its protocol. A fault there ends that viewer
// only.
func (l *loop) feed(o *outlet, b []byte) {
	if o.hand.Peer == nil || o.closing {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			l.all.log.Error("reader of a viewer's bytes failed", "cid", o.session.ID, "err", p)
			l.end(o, fmt.Errorf("internal error: %v", p))
		}
	}()
	answer, err := o.hand.Peer(&Control{o}, l.answer[:0], b)
	if len(answer) > 0 {
		if len(o.private)+len(answer) > privateMost && o.blocked {
			l.end(o, errSlow)
			return
		}
		o.private = append(o.private, answer...)
		l.push(o)
	}
	if o.closing {
		l.push(o)
	}
	l.answer = answer[:0]
	if err != nil {
		l.end(o, err)
	}
}

// move asks the viewer, which may be on its way to the loop still, to go on elsewhere.
func (l *loop) move(o *outlet, m session.Move) {
	if o.over || o.closing || len(o.private) > privateMost {
		return
	}
	o.private = o.hand.Move(o.private, m)
	if l.viewers[o.fd] == o {
		l.push(o)
	}
}

// Pause stops sending, or goes on where it stopped, as [Viewer.Pause] does. What
// Peer answers has the viewer looked at again.
func (c *Control) Pause(on bool) { c.o.paused = on }

// Finish ends the viewer with a cause as soon as what Peer answers is sent.
func (c *Control) Finish(cause error) { c.o.closing, c.o.cause = true, cause }

// prepare puts what o is to be sent next into the batch.
func (l *loop) prepare(o *outlet) {
	if o.batched {
		return
	}
	v := &o.reel.view
	r := o.reel.reel
	if len(o.rest) == 0 && !o.closing {
		l.place(o, v)
	}
	if o.hand.Tail != nil {
		if !o.form.headed {
			o.private, o.form.headed = append(o.private, o.hand.Tail...), true
		}
		o.hand.Tail = nil
	}
	s := send{o: o, from: o.pos}
	iov := s.pieces[:0]
	if len(o.rest) > 0 {
		iov = append(iov, o.rest)
	}
	limit := v.head
	if !o.closing && !o.seek && !o.paused {
		limit = l.heed(o, v, r)
		s.from = o.pos
	}
	if len(o.private) > 0 {
		iov = append(iov, o.private)
	}
	if !o.closing && !o.seek && !o.paused && o.pos < limit {
		iov, _ = v.slice(iov, o.pos, min(limit, o.pos+sendMost))
	}
	if len(iov) == 0 {
		o.moved = l.now
		if o.closing {
			l.end(o, o.cause)
		}
		return
	}
	s.n = len(iov)
	for _, p := range iov {
		s.total += len(p)
	}
	o.batched = true
	l.batch = append(l.batch, s)
}

// place moves a viewer that was overtaken, or that waits, to where it may start.
func (l *loop) place(o *outlet, v *view) {
	if o.paused {
		return
	}
	r := o.reel.reel
	if !o.seek && o.pos < v.tail {
		to := v.group
		if to == nowhere {
			to = v.head
		}
		n := r.lost(o.pos, to)
		o.hand.Sub.Stream().Lost(n)
		o.session.Drop(n)
		if !o.slow {
			o.slow = true
			l.all.log.Warn("viewer is too slow, frames are dropped up to the next key frame", "cid", o.session.ID, "frames", n)
		}
		o.seek, o.newest = true, true
	}
	if !o.seek {
		return
	}
	// One that waits for a place does so at no mark: it only has to hear of an
	// end.
	for o.hand.Ends && o.marks < v.mark {
		m, ok := r.nextMark(o.marks)
		if !ok {
			break
		}
		if o.marks = m.seq; m.end && !m.kept {
			l.conclude(o)
			return
		}
	}
	if v.group == nowhere || v.group < o.pos {
		return
	}
	from := o.pos
	if o.newest {
		from = v.group
	}
	if e, ok := r.accessFrom(from); ok {
		o.pos, o.seek, o.newest, o.marks = e.off, false, false, e.seq
		l.begin(o, r, e.start)
	}
}

// begin gives a viewer what it needs for what follows, or ends it if that is none that it
// can play.
func (l *loop) begin(o *outlet, r *reel, s *start) {
	if o.private = r.form.prologue(o.private, &o.form, s); o.form.over {
		o.closing, o.cause = true, ErrChanged
	}
}

// heed handles the marks at the viewer's position and returns up to where it may
// be sent now.
func (l *loop) heed(o *outlet, v *view, r *reel) (limit uint64) {
	for o.marks < v.mark {
		m, ok := r.nextMark(o.marks)
		switch {
		case !ok:
			o.marks = v.mark
		case m.off > o.pos:
			return m.off
		case m.off < o.pos:
			o.marks = m.seq
		case m.end && o.hand.Ends && !m.kept:
			o.marks = m.seq
			l.conclude(o)
			return o.pos
		case m.end:
			// The next publication begins where it may be started at.
			o.marks, o.seek = m.seq, true
			l.push(o) // it may have begun already
			return o.pos
		default:
			o.marks = m.seq
			if l.begin(o, r, m.start); o.closing {
				return o.pos
			}
		}
	}
	return v.head
}

// conclude ends an answer well, as soon as what waits is sent.
func (l *loop) conclude(o *outlet) {
	o.private = o.reel.reel.form.epilogue(o.private)
	o.closing = true
}

// sentTo moves a viewer on by what was sent to it.
func (l *loop) sentTo(s *send) {
	o := s.o
	o.batched = false
	if l.viewers[o.fd] != o {
		return
	}
	n := s.res
	if n < 0 {
		switch syscall.Errno(-n) {
		case syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS:
			// What was to be sent of the reel is still before pos.
			l.block(o)
		default:
			l.end(o, syscall.Errno(-n))
		}
		return
	}
	o.session.Count(0, n)
	o.moved = l.now
	short := n < s.total
	if k := min(n, len(o.rest)); k > 0 {
		o.rest = o.rest[k:]
		n -= k
	}
	if k := min(n, len(o.private)); k > 0 {
		if o.private = o.private[k:]; len(o.private) == 0 {
			o.private = nil
		}
		n -= k
	}
	if n > 0 {
		l.advance(o, s, uint64(n))
	}
	switch {
	case l.viewers[o.fd] != o: // it has ended
	case short:
		l.block(o)
	case o.closing && len(o.private) == 0 && len(o.rest) == 0:
		l.end(o, o.cause)
	case (o.pos < o.reel.view.head || o.marks < o.reel.view.mark) && !o.closing && !o.seek || len(o.private) > 0:
		l.push(o) // more is there than one send takes, or than the marks let through
	}
}

// advance moves o by n bytes of its reel. What was sent in part is finished from
// a slice of its own, so that the reel may drop the entry.
func (l *loop) advance(o *outlet, s *send, n uint64) {
	at := s.from + n
	end := o.reel.reel.after(at)
	o.pos = end
	if end == at {
		return
	}
	iov, stop := o.reel.view.slice(nil, at, end)
	if stop != end {
		// The entry was dropped meanwhile, since the viewer is too far behind:
		// where it ends is not known any more.
		l.end(o, errSlow)
		return
	}
	o.rest = nil
	for _, p := range iov {
		o.rest = append(o.rest, p...)
	}
}

func (l *loop) block(o *outlet) {
	if !o.blocked {
		o.blocked = true
		l.watch(o, true)
	}
}

// dismiss ends a viewer who is sent away. What is there is sent first: where the
// server stops, that is the end of the publication, and so of an answer.
func (l *loop) dismiss(o *outlet, cause error) {
	const most = 4 // the frames, a mark, and what follows each
	for range most {
		if l.viewers[o.fd] != o || o.blocked {
			break
		}
		o.reel.look()
		if l.prepare(o); len(l.batch) == 0 {
			break
		}
		l.flush()
	}
	l.end(o, cause)
}

// end takes o out of the loop and closes its descriptor, or gives it back.
func (l *loop) end(o *outlet, cause error) {
	if l.viewers[o.fd] != o {
		return
	}
	delete(l.viewers, o.fd)
	leave(l.epoll, o.fd)
	lr := o.reel
	last := len(lr.viewers) - 1
	if o.index < last {
		moved := lr.viewers[last]
		lr.viewers[o.index], moved.index = moved, o.index
		l.push(moved) // a turn that is under way may have passed its new place
	}
	lr.viewers[last] = nil
	lr.viewers = lr.viewers[:last]
	if last == 0 {
		delete(l.reels, lr)
		lr.need.Store(nowhere)
	}
	l.finish(o, cause)
}

// finish tells what became of a viewer that is in no list any more.
func (l *loop) finish(o *outlet, cause error) {
	o.unhook()
	o.over = true
	l.count.Add(-1)
	var conn net.Conn
	if errors.Is(cause, ErrBack) {
		conn = giveBack(o)
	} else {
		syscall.Close(o.fd)
	}
	all, r, done := l.all, o.reel.reel, o.hand.Done
	go func() {
		all.release(r)
		done(conn, cause)
	}()
}

// giveBack makes a connection of the viewer's descriptor again, which is then
// its own; what waits to be sent is sent first, as far as there is room. Without
// room, or without a descriptor to be had, there is none and the viewer's is
// closed all the same.
func giveBack(o *outlet) net.Conn {
	f := os.NewFile(uintptr(o.fd), "viewer")
	defer f.Close() // FileConn makes a duplicate
	if wait := append(o.rest, o.private...); len(wait) > 0 {
		if n, err := syscall.Write(o.fd, wait); err != nil || n < len(wait) {
			return nil
		}
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil
	}
	return conn
}
