package sender

import (
	"bytes"
	"context"
	"fmt"
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

// epollET is EPOLLET; package syscall has it as a negative number.
const epollET = 1 << 31

// Replies is one goroutine that answers those requests of many HTTP connections
// whose answers lie ready in memory, such as the segments of HLS. For net/http
// such a connection is two goroutines, buffers, and some seven wake-ups of the
// process a request; here it is a descriptor, and sending is one call for what
// there is room for.
//
// It sleeps and makes its calls as the send loops do.
type Replies struct {
	log   *slog.Logger
	epoll int // of all callers but fresh ones, of event and of fresh
	event int // eventfd
	fresh int // epoll of the callers that may not wait, and of came
	came  int // eventfd: there is somebody in inbox

	mu    sync.Mutex
	inbox []*caller // guarded by mu
	woken []*caller // parked ones that are to be answered; guarded by mu
	over  bool      // guarded by mu

	// Owned by Run.
	callers map[int]*caller
	watch   *os.File // of epoll, in Go's poller; nil while it makes pauses
	door    *os.File // of fresh, in Go's poller
	evs     []syscall.EpollEvent
	got     int
	poll    func(uintptr) bool
	read    []byte
	now     time.Time
	swept   time.Time
	cost    time.Duration // of a turn, smoothed
	share   float64       // repliesShare
	pause   time.Duration
	most    time.Duration // repliesPause
	resume  time.Time     // when the pause that has begun ends; zero if none has
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

func newReplies(log *slog.Logger) (_ *Replies, err error) {
	r := &Replies{log: log, epoll: -1, event: -1, fresh: -1, came: -1, callers: map[int]*caller{}, evs: make([]syscall.EpollEvent, events), read: make([]byte, readMost), share: repliesShare, most: repliesPause}
	defer func() {
		if err != nil {
			r.closeAll()
		}
	}()
	for _, set := range []struct{ epoll, event *int }{{&r.fresh, &r.came}, {&r.epoll, &r.event}} {
		ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
		*set.epoll = ep
		ev, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
		if errno != 0 {
			return nil, fmt.Errorf("eventfd: %w", errno)
		}
		*set.event = int(ev)
		if err := syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, int(ev), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(ev)}); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
	}
	if err := syscall.EpollCtl(r.epoll, syscall.EPOLL_CTL_ADD, r.fresh, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(r.fresh)}); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if r.door, err = polled(r.fresh); err != nil {
		return nil, err
	}
	r.poll = func(fd uintptr) bool {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&r.evs[0])), uintptr(len(r.evs)), 0, 0, 0)
		if errno != 0 {
			n = 0
		}
		r.got = int(n)
		return n > 0
	}
	return r, nil
}

// polled returns an epoll as a file that Go's poller waits for, of a descriptor of its own.
func polled(epoll int) (*os.File, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(epoll), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, fmt.Errorf("dup: %w", errno)
	}
	syscall.SetNonblock(int(fd), true) // else os.File would not use the poller
	return os.NewFile(fd, "epoll"), nil
}

func (r *Replies) closeAll() {
	r.unwatch()
	if r.door != nil {
		r.door.Close()
	}
	for _, fd := range []int{r.epoll, r.event, r.fresh, r.came} {
		if fd >= 0 {
			syscall.Close(fd)
		}
	}
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
	wake(r.came)
	return true
}

// wake raises an eventfd.
func wake(event int) {
	one := [8]byte{1}
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(event), uintptr(unsafe.Pointer(&one)), 8)
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
			wake(r.came)
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
	r.closeAll()
	return nil
}

// await waits for events until a time, for ever if that is zero, and reports whether
// they are of all callers: in a pause they may be of fresh ones. Go's poller does it,
// which is told of the epoll: it would be woken for every event in the pauses too, so
// it only knows the epoll while there are none.
func (r *Replies) await(by time.Time) (all bool) {
	if r.pause >= calm {
		r.unwatch()
		if r.resume.IsZero() {
			r.resume = r.now.Add(r.pause)
		}
		if r.pollAt(r.door, r.resume); r.got > 0 {
			return false
		}
		r.poll(uintptr(r.epoll))
		return true
	}
	if r.watch == nil {
		var err error
		if r.watch, err = polled(r.epoll); err != nil { // out of descriptors
			time.Sleep(repliesPause)
			r.poll(uintptr(r.epoll))
			return true
		}
	}
	r.pollAt(r.watch, by)
	return true
}

// pollAt polls an epoll when Go's poller has news of it; an error is that the time is over.
func (r *Replies) pollAt(epoll *os.File, by time.Time) {
	raw, err := epoll.SyscallConn()
	if err != nil {
		return
	}
	epoll.SetReadDeadline(by)
	raw.Read(r.poll)
}

func (r *Replies) unwatch() {
	if r.watch != nil {
		r.watch.Close()
		r.watch = nil
	}
}

// sleep waits for events and handles them.
func (r *Replies) sleep(until time.Time) {
	by := until
	if by.IsZero() && len(r.callers) > 0 {
		by = r.swept.Add(housekeeping)
	}
	r.got = 0
	again := r.again
	r.again = nil
	all := true
	if len(again) > 0 {
		r.poll(uintptr(r.epoll))
	} else {
		all = r.await(by)
	}
	r.now = time.Now()
	for _, c := range again {
		if r.callers[c.fd] == c {
			r.serve(c)
		}
	}
	r.handle()
	if all {
		took := time.Since(r.now)
		r.cost += (took - r.cost) / 8
		r.pause, r.resume = min(time.Duration(float64(r.cost)/r.share), r.most), time.Time{}
	}
}

// handle handles the events that the last poll had.
func (r *Replies) handle() {
	fresh := false
	for _, e := range r.evs[:r.got] {
		switch fd := int(e.Fd); fd {
		case r.event, r.came:
			var count [8]byte
			syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&count)), 8)
		case r.fresh:
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
		r.poll(uintptr(r.fresh))
		r.handle()
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
		wake(r.event)
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
		if err := c.join(r.fresh); err != nil {
			syscall.Close(c.fd)
			continue
		}
		c.moved = r.now
		r.callers[c.fd] = c
		r.serve(c)
	}
}

// join has an epoll tell of a caller: of changes only, so that it is one call for long.
func (c *caller) join(epoll int) error {
	return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, c.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollET, Fd: int32(c.fd)})
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
	syscall.EpollCtl(r.fresh, syscall.EPOLL_CTL_DEL, c.fd, nil)
	if err := c.join(r.epoll); err != nil {
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
	epoll := r.epoll
	if c.fresh > 0 {
		epoll = r.fresh
	}
	syscall.EpollCtl(epoll, syscall.EPOLL_CTL_DEL, c.fd, nil)
	f := os.NewFile(uintptr(c.fd), "caller")
	nc, err := net.FileConn(f) // makes a duplicate
	f.Close()
	if err != nil {
		return // out of descriptors: the client has to come again
	}
	go c.Back(nc, c.in)
}
