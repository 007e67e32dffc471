package sender

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// epollET is EPOLLET; package syscall has it as a negative number.
const epollET = 1 << 31

// lookout is what one goroutine waits with for many sockets, of which most may wait until
// others have news too, and fresh ones may not. Go's poller does the waiting. All but the
// eventfds belongs to that goroutine.
type lookout struct {
	epoll int // of all sockets but fresh ones, of event and of fresh
	event int // eventfd, of what may wait
	fresh int // epoll of fresh sockets and of came
	came  int // eventfd, of what may not

	whole  *os.File // of epoll, in Go's poller; nil in pauses
	door   *os.File // of fresh, in Go's poller
	evs    []syscall.EpollEvent
	got    int
	poll   func(uintptr) bool
	resume time.Time // when the pause that has begun ends; zero if none has
}

func newLookout() (_ *lookout, err error) {
	w := &lookout{epoll: -1, event: -1, fresh: -1, came: -1, evs: make([]syscall.EpollEvent, events)}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for _, set := range []struct{ epoll, event *int }{{&w.fresh, &w.came}, {&w.epoll, &w.event}} {
		if *set.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
		ev, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
		if errno != 0 {
			return nil, fmt.Errorf("eventfd: %w", errno)
		}
		*set.event = int(ev)
		if err := tell(*set.epoll, *set.event, syscall.EPOLLIN); err != nil {
			return nil, fmt.Errorf("epoll: %w", err)
		}
	}
	if err := tell(w.epoll, w.fresh, syscall.EPOLLIN); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if w.door, err = polled(w.fresh); err != nil {
		return nil, err
	}
	w.poll = func(fd uintptr) bool {
		w.got = pending(fd, w.evs)
		return w.got > 0
	}
	return w, nil
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

func (w *lookout) close() {
	w.forget()
	if w.door != nil {
		w.door.Close()
	}
	for _, fd := range []int{w.epoll, w.event, w.fresh, w.came} {
		if fd >= 0 {
			syscall.Close(fd)
		}
	}
}

// await waits for events until a time, for ever if that is zero, after a pause in which
// only fresh sockets are heeded, and reports whether the events are of all. Go's poller
// would be woken for every event in the pauses too, so it only knows the epoll of all while
// there are none. The events are valid until the next call.
func (w *lookout) await(now time.Time, pause time.Duration, by time.Time) (evs []syscall.EpollEvent, all bool) {
	if pause >= calm {
		w.forget()
		if w.resume.IsZero() {
			w.resume = now.Add(pause)
		}
		if evs := w.wait(w.door, w.resume); len(evs) > 0 {
			return evs, false
		}
		return w.look(w.epoll), true
	}
	if w.whole == nil {
		var err error
		if w.whole, err = polled(w.epoll); err != nil { // out of descriptors
			time.Sleep(repliesPause)
			return w.look(w.epoll), true
		}
	}
	w.resume = time.Time{}
	return w.wait(w.whole, by), true
}

// look returns what events an epoll has now. With those of all a pause is over.
func (w *lookout) look(epoll int) []syscall.EpollEvent {
	if epoll == w.epoll {
		w.resume = time.Time{}
	}
	w.poll(uintptr(epoll))
	return w.evs[:w.got]
}

// wait returns the events of an epoll as soon as there are any, none if the time is over.
func (w *lookout) wait(epoll *os.File, by time.Time) []syscall.EpollEvent {
	raw, err := epoll.SyscallConn()
	if err != nil {
		return nil
	}
	w.got = 0
	epoll.SetReadDeadline(by)
	raw.Read(w.poll) // an error is that the time is over
	return w.evs[:w.got]
}

// forget has Go's poller know nothing of all.
func (w *lookout) forget() {
	if w.whole != nil {
		w.whole.Close()
		w.whole = nil
	}
}

// pending returns how many events an epoll has, which stand in evs, without waiting.
func pending(epoll uintptr, evs []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&evs[0])), uintptr(len(evs)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

func tell(epoll, fd int, events uint32) error {
	return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// join has an epoll tell of a socket: of changes only, so that it is one call for long.
func join(epoll, fd int) error {
	return tell(epoll, fd, syscall.EPOLLIN|syscall.EPOLLOUT|syscall.EPOLLRDHUP|epollET)
}

func leave(epoll, fd int) { syscall.EpollCtl(epoll, syscall.EPOLL_CTL_DEL, fd, nil) }

// raise raises an eventfd, and lower takes it back.
func raise(event int) {
	one := [8]byte{1}
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(event), uintptr(unsafe.Pointer(&one)), 8)
}

func lower(event int) {
	var count [8]byte
	syscall.RawSyscall(syscall.SYS_READ, uintptr(event), uintptr(unsafe.Pointer(&count)), 8)
}
