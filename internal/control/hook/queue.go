package hook

import (
	"context"
	"sync"
	"time"
)

const (
	// queueLimit is the most notifications that wait, unless told otherwise.
	queueLimit = 16384
	// queueWorkers is the most that are under way at once.
	queueWorkers = 64
)

// A job sends a notification. It returns after how long it wants to be done again,
// 0 if it is done.
type job func(context.Context) time.Duration

// queue runs jobs in order for each name; names do not wait for one another
// while there are workers, and one whose job waits to be done again takes none.
type queue struct {
	h *Hooks

	mu      sync.Mutex
	lines   map[string][]job // jobs by name; present while the first is under way, or waits; guarded by mu
	ready   []string         // names that wait for a worker; guarded by mu
	waiting int              // jobs that are not done; guarded by mu
	workers int              // guarded by mu
	lost    uint64           // guarded by mu
	closed  bool             // guarded by mu
	idle    chan struct{}    // closed when closed and empty
	ctx     context.Context
	cancel  context.CancelFunc
}

func (q *queue) init(h *Hooks) {
	q.h, q.lines, q.idle = h, map[string][]job{}, make(chan struct{})
	q.ctx, q.cancel = context.WithCancel(context.Background())
}

// put adds a job, unless limit jobs wait already; a limit of 0 is queueLimit.
func (q *queue) put(name string, limit int, j job) {
	if limit <= 0 {
		limit = queueLimit
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting >= limit || q.closed && q.isIdle() {
		q.lost++
		q.h.env.Log.Error("http: callbacks are lost, their server is too slow", "lost", q.lost, "waiting", q.waiting)
		return
	}
	q.waiting++
	line, busy := q.lines[name]
	q.lines[name] = append(line, j)
	if !busy {
		q.start(name)
	}
}

// start has a worker take the first job of a name. q.mu is held.
func (q *queue) start(name string) {
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
		j := q.lines[name][0]
		q.mu.Unlock()
		again := j(q.ctx)
		q.mu.Lock()
		switch {
		case again > 0 && q.ctx.Err() == nil:
			time.AfterFunc(again, func() {
				q.mu.Lock()
				defer q.mu.Unlock()
				if q.ctx.Err() == nil {
					q.start(name)
				}
			})
			continue
		case again > 0:
			q.lost++
		}
		q.waiting--
		if q.lines[name] = q.lines[name][1:]; len(q.lines[name]) > 0 {
			q.ready = append(q.ready, name)
		} else {
			delete(q.lines, name)
		}
	}
	q.workers--
	q.close()
}

// close tells that the queue is closed and empty, if it is. q.mu is held.
func (q *queue) close() {
	if q.closed && q.waiting == 0 && !q.isIdle() {
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
	q.close()
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
	h.loose.CloseIdleConnections()
	h.blind.CloseIdleConnections()
	return nil
}

// flushTime is how long an exit waits for notifications.
const flushTime = time.Second
