package hook

import (
	"context"
	"sync"
	"time"
)

const (
	// queueLimit is the most notifications that wait.
	queueLimit = 16384
	// queueWorkers is the most that are under way at once.
	queueWorkers = 64
)

// queue runs jobs in order for each name; names do not wait for one another
// while there are workers.
type queue struct {
	h *Hooks

	mu      sync.Mutex
	lines   map[string][]func(context.Context) // jobs by name; present while a worker has it; guarded by mu
	ready   []string                           // names that wait for a worker; guarded by mu
	waiting int                                // guarded by mu
	workers int                                // guarded by mu
	lost    uint64                             // guarded by mu
	closed  bool                               // guarded by mu
	idle    chan struct{}                      // closed when closed and empty
	ctx     context.Context
	cancel  context.CancelFunc
}

func (q *queue) init(h *Hooks) {
	q.h, q.lines, q.idle = h, map[string][]func(context.Context){}, make(chan struct{})
	q.ctx, q.cancel = context.WithCancel(context.Background())
}

func (q *queue) put(name string, job func(context.Context)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting >= queueLimit || q.closed && q.workers == 0 && q.isIdle() {
		q.lost++
		q.h.env.Log.Error("http: callbacks are lost, their server is too slow", "lost", q.lost, "waiting", q.waiting)
		return
	}
	q.waiting++
	line, busy := q.lines[name]
	q.lines[name] = append(line, job)
	if busy {
		return
	}
	q.ready = append(q.ready, name)
	if q.workers < queueWorkers {
		q.workers++
		go q.work()
	}
}

// work runs jobs, one of each ready name in turn, until there are none.
func (q *queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) > 0 {
		name := q.ready[0]
		q.ready = q.ready[1:]
		job := q.lines[name][0]
		q.mu.Unlock()
		job(q.ctx)
		q.mu.Lock()
		q.waiting--
		if q.lines[name] = q.lines[name][1:]; len(q.lines[name]) > 0 {
			q.ready = append(q.ready, name)
		} else {
			delete(q.lines, name)
		}
	}
	q.workers--
	if q.closed && q.workers == 0 && !q.isIdle() {
		close(q.idle)
	}
}

func (q *queue) isIdle() bool {
	select {
	case <-q.idle:
		return true
	default:
		return false
	}
}

// Run sends what is queued until ctx is done, and then what is left for at most
// a second; what remains is counted and dropped.
func (h *Hooks) Run(ctx context.Context) error {
	<-ctx.Done()
	q := &h.queue
	q.mu.Lock()
	q.closed = true
	if q.workers == 0 && !q.isIdle() {
		close(q.idle)
	}
	q.mu.Unlock()
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-q.idle:
	case <-t.C:
		q.mu.Lock()
		h.env.Log.Warn("http: callbacks are dropped at exit", "waiting", q.waiting)
		q.mu.Unlock()
	}
	q.cancel()
	h.client.CloseIdleConnections()
	return nil
}

// flushTime is how long an exit waits for notifications.
const flushTime = time.Second
