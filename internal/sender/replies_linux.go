package sender

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	// callerIdle is how long a caller may be silent between two requests, and in
	// the middle of one (SRS's 15 s).
	callerIdle = 15 * time.Second
	// lastReplies is how long answers under way may take when the server stops.
	lastReplies = time.Second
	// growthIdle is how long an answer that is not whole may wait for more.
	growthIdle = 30 * time.Second
	// turnMost is how much one connection may do before the others have theirs.
	turnMost = 16
	// A turn that took d is followed by a pause of up to d/repliesShare and
	// repliesPause, in which more can come, so that the process is not woken for
	// each request. Nobody who fetches segments notices, but who has just come would
	// see the first picture later.
	repliesShare = 0.005
	repliesPause = 40 * time.Millisecond
	// freshAnswers is how many answers a new connection gets without such pauses: the
	// playlists, the initialization segment and the first segments of a player.
	freshAnswers = 6
)

// Replies is one goroutine that answers those requests of many HTTP connections
// whose answers lie ready in memory, such as the segments of HLS. For net/http
// such a connection is two goroutines, buffers, and some seven wake-ups of the
// process a request; here it is a descriptor, and sending is one call for what
// there is room for.
//
// It sleeps and makes its calls as the send loops do.
type Replies struct {
	log     *slog.Logger
	lookout *lookout // immutable
	mu      sync.Mutex
	inbox   []*caller // guarded by mu
	woken   []*caller // parked ones that are to be answered; guarded by mu
	over    bool      // guarded by mu

	// Owned by Run.
	callers map[int]*caller
	read    []byte
	now     time.Time
	swept   time.Time
	cost    time.Duration // of a turn, smoothed
	share   float64       // repliesShare
	pause   time.Duration
	most    time.Duration // repliesPause
	again   []*caller     // that have more to say than one turn takes
}

// caller is one connection. It is owned by Run.
type caller struct {
	Caller
	fd    int
	fresh int      // how many answers it gets without a pause
	in    []byte   // read and not answered
	out   [][]byte // not sent
	close bool     // when out is sent
	moved time.Time

	wake func()                                                     // asks it again
	next func(wake func()) (parts [][]byte, done bool, more func()) // of an answer that is not whole

	// While its request waits for an answer, or its answer for more:
	unpark func()
	until  time.Time
}

// NewReplies returns Replies, nil if the system has not what they need or it is
// told not to use send loops.
func NewReplies(log *slog.Logger) *Replies {
	if os.Getenv(senderEnv) == "goroutine" {
		return nil
	}
	r, err := newReplies(log)
	if err != nil {
		log.Warn("answers from memory go through net/http", "err", err)
		return nil
	}
	return r
}

func newReplies(log *slog.Logger) (*Replies, error) {
	w, err := newLookout()
	if err != nil {
		return nil, err
	}
	return &Replies{log: log, lookout: w, callers: map[int]*caller{}, read: make([]byte, readMost), share: repliesShare, most: repliesPause}, nil
}

// Take gives a connection to the goroutine. It returns false, and has done
// nothing, if that is not possible.
func (r *Replies) Take(c Caller) bool {
	if r == nil {
		return false
	}
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	fd, err := takeDescriptor(tcp)
	if err != nil {
		return false
	}
	tcp.Close() // the descriptor is a duplicate
	c.Conn = nil
	k := &caller{Caller: c, fd: fd, fresh: freshAnswers, in: c.Read, out: c.First.Parts, close: c.First.Close, next: c.First.Next}
	k.First, k.Read = Reply{}, nil
	k.wake = func() { r.wakeUp(k) }
	r.inbox = append(r.inbox, k)
	raise(r.lookout.came)
	return true
}

// Run answers until ctx is done, and then sends what is under way for a second.
func (r *Replies) Run(ctx context.Context) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.over { // else the descriptor is closed, and may be another's
			raise(r.lookout.came)
		}
	})
	defer stop()
	r.now = time.Now()
	r.swept = r.now
	var until time.Time // set when the server stops
	for {
		r.takeInbox()
		r.takeWoken()
		if ctx.Err() != nil && until.IsZero() {
			until = r.now.Add(lastReplies)
		}
		if r.now.Sub(r.swept) >= housekeeping || !until.IsZero() {
			r.sweep(until)
		}
		if !until.IsZero() && len(r.callers) == 0 {
			break
		}
		r.sleep(until)
	}
	r.mu.Lock()
	r.over = true
	late := r.inbox
	r.inbox = nil
	r.mu.Unlock()
	for _, c := range late {
		syscall.Close(c.fd)
	}
	r.lookout.close()
	return nil
}

// sleep waits for events and handles them.
func (r *Replies) sleep(until time.Time) {
	by := until
	if by.IsZero() && len(r.callers) > 0 {
		by = r.swept.Add(housekeeping)
	}
	again := r.again
	r.again = nil
	var evs []syscall.EpollEvent
	all := true
	if len(again) > 0 {
		evs = r.lookout.look(r.lookout.epoll)
	} else {
		evs, all = r.lookout.await(r.now, r.pause, by)
	}
	r.now = time.Now()
	for _, c := range again {
		if r.callers[c.fd] == c {
			r.serve(c)
		}
	}
	r.handle(evs)
	if all {
		took := time.Since(r.now)
		r.cost += (took - r.cost) / 8
		r.pause = min(time.Duration(float64(r.cost)/r.share), r.most)
	}
}

// handle handles events.
func (r *Replies) handle(evs []syscall.EpollEvent) {
	fresh := false
	for _, e := range evs {
		switch fd := int(e.Fd); fd {
		case r.lookout.event, r.lookout.came:
			lower(fd)
		case r.lookout.fresh:
			fresh = true
		default:
			switch c := r.callers[fd]; {
			case c == nil:
			case c.unpark != nil:
				r.listen(c)
			default:
				r.serve(c)
			}
		}
	}
	if fresh {
		r.handle(r.lookout.look(r.lookout.fresh))
	}
}

// listen looks whether the peer of a parked request is gone.
func (r *Replies) listen(c *caller) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&r.read[0])), uintptr(len(r.read)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
	case errno != 0 || n == 0 || len(c.in)+int(n) > 2*headMost:
		r.drop(c)
	default:
		c.in = append(c.in, r.read[:n]...)
	}
}

// wakeUp has a parked request asked again.
func (r *Replies) wakeUp(c *caller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over { // and the descriptor is closed, and may be another's
		return
	}
	if r.woken = append(r.woken, c); len(r.woken) == 1 {
		raise(r.lookout.event)
	}
}

// takeWoken goes on with requests that were parked.
func (r *Replies) takeWoken() {
	r.mu.Lock()
	woken := r.woken
	r.woken = nil
	r.mu.Unlock()
	for _, c := range woken {
		if r.callers[c.fd] == c && c.unpark != nil {
			c.unpark()
			c.unpark = nil
			r.serve(c)
		}
	}
}

func (r *Replies) takeInbox() {
	r.mu.Lock()
	in := r.inbox
	r.inbox = nil
	r.mu.Unlock()
	for _, c := range in {
		if err := join(r.lookout.fresh, c.fd); err != nil {
			syscall.Close(c.fd)
			continue
		}
		c.moved = r.now
		r.callers[c.fd] = c
		r.serve(c)
	}
}

// age has a caller that has got what a new one needs wait as all others do. What happened
// in between the other epoll tells at once. It returns false if the connection is closed.
func (r *Replies) age(c *caller) bool {
	if c.fresh == 0 {
		return true
	}
	if c.fresh--; c.fresh > 0 {
		return true
	}
	leave(r.lookout.fresh, c.fd)
	if err := join(r.lookout.epoll, c.fd); err != nil {
		r.drop(c)
		return false
	}
	return true
}

// serve goes on with a connection as far as it goes: sends what waits, reads the
// next request and answers it, until there is no room to send or nothing to read.
func (r *Replies) serve(c *caller) {
	for n := 0; r.send(c); n++ {
		if n == turnMost {
			r.again = append(r.again, c)
			return
		}
		if c.next != nil {
			if !r.grow(c) {
				return
			}
			continue
		}
		if c.close {
			r.drop(c)
			return
		}
		if i := bytes.Index(c.in, emptyLine); i >= 0 {
			if !r.answer(c, i+len(emptyLine)) {
				return
			}
			continue
		}
		if len(c.in) > headMost {
			r.giveBack(c)
			return
		}
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&r.read[0])), uintptr(len(r.read)))
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return
		case errno != 0 || n == 0:
			r.drop(c)
			return
		default:
			if len(c.in) == 0 {
				c.moved = r.now // the time for the rest of a request counts from its first bytes
			}
			c.in = append(c.in, r.read[:n]...)
		}
	}
}

// grow goes on with an answer that is not whole, or has it wait for more and returns
// false. A fault in it ends that connection only.
func (r *Replies) grow(c *caller) (more bool) {
	defer r.survive(c, &more)
	parts, done, cancel := c.next(c.wake)
	if c.out = parts; done {
		c.next = nil
		return true
	}
	if len(parts) == 0 {
		c.unpark, c.until, c.moved = cancel, r.now.Add(growthIdle), r.now
	}
	return len(parts) > 0
}

// survive ends the connection in whose behalf something panicked; it is deferred.
func (r *Replies) survive(c *caller, ok *bool) {
	if p := recover(); p != nil {
		r.log.Error("answering a request failed", "err", p)
		r.drop(c)
		*ok = false
	}
}

var emptyLine = []byte("\r\n\r\n")

// answer answers the request that the first n bytes of in are, or gives the
// connection back and returns false. A fault in it ends that connection only.
func (r *Replies) answer(c *caller, n int) (done bool) {
	defer r.survive(c, &done)
	rep, ok := c.Reply(c.in[:n], c.wake)
	if !ok {
		r.giveBack(c)
		return false
	}
	if rep.Cancel != nil {
		c.unpark, c.until, c.moved = rep.Cancel, rep.Until, r.now
		return false
	}
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil
	}
	c.out, c.close, c.next, c.moved = rep.Parts, rep.Close, rep.Next, r.now
	return r.age(c)
}

// send sends what waits and reports whether all is sent. If not, epoll tells when
// there is room, or the connection is closed already.
func (r *Replies) send(c *caller) bool {
	for len(c.out) > 0 {
		var vec [maxPieces]syscall.Iovec
		n := min(len(c.out), len(vec))
		for i, p := range c.out[:n] {
			vec[i].Base = unsafe.SliceData(p)
			vec[i].SetLen(len(p))
		}
		sent, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(c.fd), uintptr(unsafe.Pointer(&vec[0])), uintptr(n))
		switch errno {
		case 0:
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		default:
			r.drop(c)
			return false
		}
		c.moved = r.now
		left := int(sent)
		for len(c.out) > 0 && left >= len(c.out[0]) {
			left -= len(c.out[0])
			c.out = c.out[1:]
		}
		if left > 0 {
			c.out[0] = c.out[0][left:]
		}
	}
	c.out = nil
	return true
}

// sweep ends the connections that have been silent or stuck for too long; while
// the server stops, those that nothing is under way to.
func (r *Replies) sweep(until time.Time) {
	r.swept = r.now
	for _, c := range r.callers {
		limit := callerIdle
		switch {
		case len(c.out) > 0:
			limit = stuckTime
		case c.unpark != nil && until.IsZero():
			switch {
			case !r.now.After(c.until):
			case c.next != nil:
				r.drop(c)
			default:
				r.giveBack(c)
			}
			continue
		}
		if r.now.Sub(c.moved) >= limit || !until.IsZero() && (len(c.out) == 0 || !r.now.Before(until)) {
			r.drop(c)
		}
	}
}

func (r *Replies) drop(c *caller) {
	if r.callers[c.fd] != c {
		return
	}
	r.forget(c)
	syscall.Close(c.fd)
}

func (r *Replies) forget(c *caller) {
	delete(r.callers, c.fd)
	if c.unpark != nil {
		c.unpark()
		c.unpark = nil
	}
}

// giveBack gives the connection to the HTTP server; nothing waits to be sent.
func (r *Replies) giveBack(c *caller) {
	r.forget(c)
	epoll := r.lookout.epoll
	if c.fresh > 0 {
		epoll = r.lookout.fresh
	}
	leave(epoll, c.fd)
	f := os.NewFile(uintptr(c.fd), "caller")
	nc, err := net.FileConn(f) // makes a duplicate
	f.Close()
	if err != nil {
		return // out of descriptors: the client has to come again
	}
	go c.Back(nc, c.in)
}
