package child

import (
	"os"
	"strings"
	"sync"
	"time"
)

// Programs are started at most so fast, whatever asks for them: burst at once, then
// one every pace.
const (
	pace  = 50 * time.Millisecond
	burst = 10
)

// An order is a program to start.
type order struct {
	path string
	argv []string
	attr *os.ProcAttr
	done chan started
}

type started struct {
	process *os.Process
	err     error
}

// yard is where programs are started: one goroutine on an OS thread of its own that
// both live as long as the process. The kernel sends the signal of a parent's death
// when the thread that started a child ends, and Go ends threads.
var yard = sync.OnceValue(func() chan<- order {
	orders := make(chan order)
	go work(orders)
	return orders
})

func work(orders <-chan order) {
	stay()
	var free time.Time // when the next may start, were there no burst
	for o := range orders {
		now := time.Now()
		if oldest := now.Add(-burst * pace); free.Before(oldest) {
			free = oldest
		}
		free = free.Add(pace)
		time.Sleep(free.Sub(now))
		var s started
		s.process, s.err = fork(o)
		o.done <- s
	}
}

// family are the processes whose end somebody waits for, by id.
var family = struct {
	sync.Mutex
	ids map[int]bool
}{ids: map[int]bool{}}

// fork starts a program. It holds the family's lock so that nobody reaps a child
// before it is known to be ours.
func fork(o order) (*os.Process, error) {
	seal()
	family.Lock()
	defer family.Unlock()
	p, err := os.StartProcess(o.path, o.argv, o.attr)
	if err == nil {
		family.ids[p.Pid] = true
	}
	return p, err
}

// gone forgets a process that has been waited for.
func gone(pid int) {
	family.Lock()
	defer family.Unlock()
	delete(family.ids, pid)
}

// launch starts a program in a process group of its own, with the standard files
// given and no other. It returns errStopped if stop is closed before its turn.
func launch(path string, argv []string, files [3]*os.File, stop <-chan struct{}) (*os.Process, error) {
	o := order{path, argv, &os.ProcAttr{Env: environ(), Files: files[:], Sys: attributes()}, make(chan started, 1)}
	select {
	case yard() <- o:
	case <-stop:
		return nil, errStopped
	}
	s := <-o.done
	if s.err == nil {
		guard.add(s.process.Pid)
	}
	return s.process, s.err
}

// environ is our environment without what configures this server, which may hold
// its passwords, and what belongs to it alone, but with the watcher's mark.
func environ() (kept []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SRS_") && !strings.HasPrefix(e, "WEIR_") && !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
			kept = append(kept, e)
		}
	}
	return append(kept, guard.environment()...)
}
