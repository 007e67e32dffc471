package sender

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"weir/internal/host"
)

// loopsPossible says that this system can run send loops.
const loopsPossible = true

const (
	// share is how much of its core a loop spends on sending before it begins to
	// gather; a turn that took d is followed by a pause of d/share.
	share = 0.01
	// impatient is the longest pause for viewers whose vhost has min_latency on, and
	// impatientShare what stands for share with them: there is none for a few dozen
	// viewers.
	impatient      = 8 * time.Millisecond
	impatientShare = 0.05
	// With them sound waits for the next picture, with which it is played, when
	// sending is dear: by as much as keeps it within soundShare, at most soundMost,
	// which is a picture's time at 25 a second.
	soundMost  = 40 * time.Millisecond
	soundShare = 0.025
	// calm is the pause below which every frame is sent when it comes.
	calm = 2 * time.Millisecond
	// step is what pauses are multiples of, from there on, and settle how long after
	// a beat they end.
	step   = 20 * time.Millisecond
	settle = 5 * time.Millisecond
	// longest is the longest pause, whatever mw_latency allows, unless the loop is
	// busy all the same.
	longest = 80 * time.Millisecond
	// busyShare is the share of its core from which a loop lets mw_latency decide.
	busyShare = 0.5
	// housekeeping is how often viewers are looked at that do not read.
	housekeeping = time.Second
	// readMost bounds what is read from a viewer at once.
	readMost = 16 << 10
	// events is how many events of epoll are taken at once.
	events = 256
)

// A loop is one goroutine that sends to its viewers.
//
// It sleeps in Go's own poller, which watches the loop's epoll, and makes its
// system calls, none of which can sleep, past the scheduler (RawSyscall). A thread
// that sleeps in a system call of its own has Go's monitor thread run to take its
// processor away: at a hundred sleeps a second that costs more than the sending.
//
// It is woken by a deadline that is over: the scheduler then runs it after whoever
// woke it, with no system call, where an eventfd takes two and another thread.
type loop struct {
	id    int
	all   *Loops
	epoll int
	file  *os.File // of epoll
	raw   syscall.RawConn
	ring  *uring

	pause atomic.Int64 // of gathering, ns

	early atomic.Int64 // from when on a beat ends the pause, ns since born
	rung  atomic.Bool  // a beat has ended the pause
	born  time.Time
	count atomic.Int64
	state atomic.Int32 // asleep, dozing or awake

	mu    sync.Mutex
	inbox []func() // guarded by mu

	// Owned by the loop.
	viewers map[int]*outlet
	reels   map[*loopReel]bool
	now     time.Time
	read    []byte
	batch   []send
	answer  []byte
	cost    time.Duration // of a turn, smoothed
	evs     []syscall.EpollEvent
	got     int                // events in evs
	poll    func(uintptr) bool // looks for events without waiting
	swept   time.Time
	busy    time.Duration // awake since swept
	load    float64       // share of the last second
	sound   time.Duration // how long sound waits for a picture
	held    time.Time     // when the first sound that waits has waited enough, zero if none does
	over    bool
	armed   time.Time // when a sleep ends at the latest, zero if that is not known
	planned time.Time // the beat at which this loop has publishers read, zero if it does not
	outs    []*outlet // with something to send besides what their reels have
}

// The states of a loop: awake; dozing until the end of a pause; asleep until
// there is something to do.
const (
	awake int32 = iota
	dozing
	asleep
)

// send is what one viewer is sent in a turn.
type send struct {
	o      *outlet
	pieces [maxPieces][]byte
	n      int
	total  int
	from   uint64 // position of the first byte that is the reel's
	res    int    // what the kernel said: bytes, or an error number below 0
}

func newLoop(all *Loops, id int, want string) (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{id: id, all: all, born: time.Now(), epoll: ep, viewers: map[int]*outlet{}, reels: map[*loopReel]bool{}, read: make([]byte, readMost),
		evs: make([]syscall.EpollEvent, events)}
	syscall.SetNonblock(ep, true) // else os.File would not use the poller
	l.file = os.NewFile(uintptr(ep), "epoll")
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.close()
		return nil, err
	}
	l.poll = func(fd uintptr) bool {
		l.got = pending(fd, l.evs)
		return l.got > 0
	}
	if want != "writev" {
		l.ring, err = newUring()
		if err != nil && want == "io_uring" {
			l.close()
			return nil, fmt.Errorf("io_uring: %w", err)
		}
		if err != nil && id == 0 {
			all.log.Info("io_uring cannot be had, viewers are sent to one by one", "err", err)
		}
	}
	return l, nil
}

func (l *loop) kind() string {
	if l.ring != nil {
		return "io_uring"
	}
	return "writev"
}

func (l *loop) close() {
	if l.ring != nil {
		l.ring.close()
	}
	l.file.Close()
}

// post has f run by the loop.
func (l *loop) post(f func()) {
	l.mu.Lock()
	l.inbox = append(l.inbox, f)
	l.mu.Unlock()
	l.wake()
}

// bygone is a deadline that is over.
var bygone = time.Unix(1, 0)

// wake ends the loop's sleep, if it sleeps.
func (l *loop) wake() {
	if l.state.Swap(awake) != awake {
		l.file.SetReadDeadline(bygone)
	}
}

// grown is told by reels. A loop that dozes looks by itself soon.
func (l *loop) grown() {
	if l.state.Load() == asleep {
		l.wake()
	}
}

// run is the loop.
func (l *loop) run() {
	l.now = time.Now()
	l.swept = l.now
	due := l.now
	for !l.over {
		woke := l.now
		due = l.takeIn(due)
		started := l.now
		if l.takeInbox(); l.over {
			break
		}
		all := !l.now.Before(due)
		sent := l.turn(all)
		if l.now = time.Now(); all {
			if sent {
				took := l.now.Sub(started)
				l.cost += (took - l.cost) / 8
			}
			// Where nothing came there is nothing to gather: sleep until there is.
			if due = l.now; sent {
				due = l.after(l.gathering())
			}
		}
		if l.now.Sub(l.swept) >= housekeeping {
			l.sweep()
		}
		l.busy += l.now.Sub(woke)
		l.sleep(due)
		if l.rung.Swap(false) {
			due = l.now
		}
	}
	// Viewers that were on their way when the loop ended.
	for l.posted() {
		l.takeInbox()
		l.stop(nil)
	}
}

// gathering is how long the loop waits until the next turn.
func (l *loop) gathering() time.Duration {
	most, of := longest, share
	if l.load > busyShare {
		most = time.Hour
	}
	// All viewers of a loop go by those who will wait least.
	for lr := range l.reels {
		g := lr.reel.gather
		if g == 0 {
			g, of = impatient, impatientShare
		}
		most = min(most, g)
	}
	p := time.Duration(float64(l.cost) / of)
	if l.load > busyShare {
		p = most
	}
	if p = min(p, most); p < calm {
		p = 0
	}
	if p >= step {
		p -= p % step
	}
	if l.sound = min(time.Duration(float64(l.cost)/soundShare), soundMost); l.sound < calm {
		l.sound = 0
	}
	l.pause.Store(int64(p))
	return p
}

// holds reports whether what a reel has that is new is sound alone, of viewers
// with min_latency, and waits for a picture.
func (l *loop) holds(lr *loopReel) bool {
	if lr.reel.gather > 0 || l.sound == 0 || lr.view.ripe > lr.seen || lr.view.mark != lr.heard {
		lr.since = time.Time{}
		return false
	}
	if lr.since.IsZero() {
		lr.since = l.now
	}
	until := lr.since.Add(l.sound)
	if !l.now.Before(until) {
		lr.since = time.Time{}
		return false
	}
	if l.held.IsZero() || until.Before(l.held) {
		l.held = until
	}
	return true
}

// after returns when a pause of p is over. Long ones end just after a beat at which
// publishers are read, so that no frame waits for both.
func (l *loop) after(p time.Duration) time.Time {
	if p < step {
		l.early.Store(math.MaxInt64)
		l.planned = time.Time{}
		return l.now.Add(p)
	}
	if in := l.all.intake.Load(); in != nil && l.id == 0 {
		l.planned = host.NextBeat(l.now, p)
		l.early.Store(int64(l.planned.Sub(l.born)))
		(*in).Plan(l.planned)
		return l.planned
	}
	beat := host.NextBeat(l.now.Add(-settle), p)
	l.early.Store(int64(beat.Sub(l.born)))
	return beat.Add(settle)
}

// beat ends a pause that was to end after the beat at which publishers have been
// read: the process need not be woken once more for it.
func (l *loop) beat() {
	if l.state.Load() == dozing && int64(time.Since(l.born)) >= l.early.Load() {
		l.rung.Store(true)
		l.wake()
	}
}

// arm sets when a sleep ends at the latest; zero is never.
func (l *loop) arm(by time.Time) {
	if by.IsZero() || !by.Equal(l.armed) {
		l.file.SetReadDeadline(by)
		l.armed = by
	}
}

// takeIn has publishers read if the pause has ended at a beat that is left to this loop,
// and returns when to send then.
func (l *loop) takeIn(due time.Time) time.Time {
	at := l.planned
	if at.IsZero() || l.now.Before(at) {
		return due
	}
	l.planned = time.Time{}
	next := host.NextBeat(l.now, time.Duration(l.pause.Load()))
	// A thread that finds nothing to do sleeps until what is due first; set later, that
	// would have to wake it.
	l.arm(next)
	through := (*l.all.intake.Load()).Look(next)
	l.now = time.Now()
	if through {
		return l.now
	}
	return at.Add(settle) // or when the last of them is, see beat
}

// sleep waits for events, for the end of the pause, or to be woken.
func (l *loop) sleep(due time.Time) {
	by, state := time.Time{}, asleep
	if len(l.viewers) > 0 {
		by = l.swept.Add(housekeeping)
	}
	if due.After(l.now) {
		by, state = due, dozing
	} else if !l.held.IsZero() && (by.IsZero() || l.held.Before(by)) {
		by = l.held
	}
	// Before it says that it sleeps: who wakes it from then on sets another.
	l.arm(by)
	l.state.Store(state)
	l.got = 0
	if len(l.outs) > 0 || state == asleep && l.behind() || l.posted() || l.raw.Read(l.poll) != nil {
		// There was no wait, or the time was over, or it was woken.
		l.poll(uintptr(l.epoll))
		l.armed = time.Time{}
	}
	if l.state.Swap(awake) == awake {
		l.armed = time.Time{} // somebody sets another, or will yet
	}
	l.now = time.Now()
	for _, e := range l.evs[:l.got] {
		if o := l.viewers[int(e.Fd)]; o != nil {
			l.ready(o, e.Events)
		}
	}
	l.got = 0
}

func (l *loop) posted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.inbox) > 0
}

// behind reports whether a reel has grown since the last turn.
func (l *loop) behind() bool {
	for lr := range l.reels {
		lr.reel.mu.Lock()
		news := lr.reel.head
		if !lr.since.IsZero() {
			news = max(lr.reel.ripe, lr.seen) // the turn has seen to the sound
		}
		grown := news != lr.seen || len(lr.reel.marks) > 0 && lr.reel.marks[len(lr.reel.marks)-1].seq > lr.heard
		lr.reel.mu.Unlock()
		if grown {
			return true
		}
	}
	return false
}

func (l *loop) takeInbox() {
	l.mu.Lock()
	in := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range in {
		f()
	}
}

// add takes a viewer over.
func (l *loop) add(o *outlet) {
	if err := tell(l.epoll, o.fd, syscall.EPOLLIN|syscall.EPOLLRDHUP); err != nil {
		l.finish(o, fmt.Errorf("epoll: %w", err))
		return
	}
	l.viewers[o.fd] = o
	l.reels[o.reel] = true
	o.index = len(o.reel.viewers)
	o.reel.viewers = append(o.reel.viewers, o)
	if ctx := o.session.Context(); ctx.Err() != nil {
		l.end(o, context.Cause(ctx)) // what was posted for that may have come too early
		return
	}
	if o.hand.Peer != nil {
		// What came before the hand-over.
		l.feed(o, nil)
	}
	l.push(o)
}

// push has o looked at in the next turn whatever its reel does.
func (l *loop) push(o *outlet) {
	if !o.pending {
		o.pending = true
		l.outs = append(l.outs, o)
	}
}

// ready handles what epoll says of a viewer's socket.
func (l *loop) ready(o *outlet, ev uint32) {
	if ev&syscall.EPOLLOUT != 0 {
		o.blocked = false
		l.watch(o, false)
		l.push(o)
	}
	if ev&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(o.fd), uintptr(unsafe.Pointer(&l.read[0])), uintptr(len(l.read)))
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
	case errno != 0:
		l.end(o, errno)
	case n > 0:
		o.session.Count(int(n), 0)
		l.feed(o, l.read[:n])
	default:
		l.end(o, nil) // it has closed its side
	}
}

// turn sends what is new: to every viewer, or only to those with something else to
// be sent.
func (l *loop) turn(all bool) (sent bool) {
	outs := l.outs
	l.outs = nil
	if all {
		l.held = time.Time{}
	}
	for lr := range l.reels {
		if !all {
			break
		}
		lr.look()
		if lr.view.head == lr.seen && lr.view.mark == lr.heard {
			continue
		}
		if l.holds(lr) {
			continue
		}
		lr.seen, lr.heard = lr.view.head, lr.view.mark
		for i := 0; i < len(lr.viewers); i++ {
			o := lr.viewers[i]
			if !o.blocked {
				l.prepare(o)
			}
			if len(l.batch) == batchMost {
				l.flush()
			}
			if i < len(lr.viewers) && lr.viewers[i] != o {
				i-- // o has ended, another stands in its place
			}
		}
		sent = true
	}
	// A viewer is in a batch once: what it is sent next depends on what it took.
	l.flush()
	for _, o := range outs {
		o.pending = false
		if l.viewers[o.fd] == o && !o.blocked {
			o.reel.look()
			l.prepare(o)
			sent = true
		}
		if len(l.batch) == batchMost {
			l.flush()
		}
	}
	l.flush()
	for lr := range l.reels {
		need := uint64(nowhere)
		for _, o := range lr.viewers {
			// Not only of those whose socket is full: what the others have not
			// been sent yet must not go with the next key frame.
			if !(o.seek && o.newest) {
				need = min(need, o.pos)
			}
		}
		lr.need.Store(need)
	}
	return sent
}

// batchMost is how many viewers are sent to in one call.
const batchMost = 1024

// flush sends the batch and sees what became of it.
func (l *loop) flush() {
	if len(l.batch) == 0 {
		return
	}
	if l.ring != nil {
		if err := l.ring.send(l.batch); err != nil {
			l.all.log.Warn("io_uring fails, viewers are sent to one by one from now on", "err", err)
			l.ring.close()
			l.ring = nil
			l.sendEach()
		}
	} else {
		l.sendEach()
	}
	for i := range l.batch {
		l.sentTo(&l.batch[i])
	}
	clear(l.batch)
	l.batch = l.batch[:0]
}

// sendEach sends the batch with a call for each viewer.
func (l *loop) sendEach() {
	var vec [maxPieces]syscall.Iovec
	for i := range l.batch {
		s := &l.batch[i]
		if s.res != 0 {
			continue
		}
		for j, p := range s.pieces[:s.n] {
			vec[j].Base = &p[0]
			vec[j].SetLen(len(p))
		}
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(s.o.fd), uintptr(unsafe.Pointer(&vec[0])), uintptr(s.n))
		s.res = int(n)
		if errno != 0 {
			s.res = -int(errno)
		}
	}
}

// sweep ends viewers that have not read for long, and measures the loop.
func (l *loop) sweep() {
	l.load = float64(l.busy) / float64(l.now.Sub(l.swept))
	l.busy, l.swept = 0, l.now
	for _, o := range l.viewers {
		if o.blocked && l.now.Sub(o.moved) > stuckTime {
			l.end(o, errSlow)
		}
	}
}

// stop ends all viewers and the loop.
func (l *loop) stop(cause error) {
	for _, o := range l.viewers {
		l.end(o, cause)
	}
	l.over = true
}
