package service

import (
	"net/http"
	"time"
)

// A ReadyFunc reports whether a request can be answered from memory, without
// waiting for anything or anybody. It must not wait itself.
type ReadyFunc func(r *http.Request) bool

// HandleReady adds f, which speaks for the handler of a part: the requests that
// it accepts may be answered by a goroutine that many connections share.
func (m *Mux) HandleReady(f ReadyFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = append(m.ready[:len(m.ready):len(m.ready)], f)
}

// Ready reports whether a request can be answered from memory.
func (m *Mux) Ready(r *http.Request) bool {
	m.mu.RLock()
	fs := m.ready
	m.mu.RUnlock()
	for _, f := range fs {
		if f(r) {
			return true
		}
	}
	return false
}

// Share writes bytes that nobody will ever change, without a copy where w can.
func Share(w http.ResponseWriter, b []byte) (int, error) {
	if s, ok := w.(interface{ Share(b []byte) (int, error) }); ok {
		return s.Share(b)
	}
	return w.Write(b)
}

// A LaterFunc is for requests that will be answerable from memory when something has
// come: it has wake called, once, when that may be so, and returns how that is given up
// and when to give up waiting; ok is false for other requests. It must not wait itself,
// and wake may be called before it returns.
type LaterFunc func(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool)

// HandleLater adds f, whose requests may be kept by a goroutine that many connections
// share.
func (m *Mux) HandleLater(f LaterFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.later = append(m.later[:len(m.later):len(m.later)], f)
}

// Later is [LaterFunc] for all.
func (m *Mux) Later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool) {
	m.mu.RLock()
	fs := m.later
	m.mu.RUnlock()
	for _, f := range fs {
		if cancel, until, ok = f(r, wake); ok {
			return cancel, until, true
		}
	}
	return nil, time.Time{}, false
}

// A Growth is a body that is not whole yet. It may be read by many at once.
type Growth interface {
	// Since returns what there is from the part with number at on, and whether that is
	// all. If there is nothing, wake is called, once, when there is more, from any
	// goroutine, unless cancel was called before.
	Since(at int, wake func()) (parts [][]byte, done bool, cancel func())
}

const (
	// growthIdle is how long a body may wait for more.
	growthIdle = 30 * time.Second
	// growthStuck is how long a peer may take none of it.
	growthStuck = 30 * time.Second
)

// Grow writes a body as it grows, in chunked coding over HTTP/1.1, and returns when it
// is whole, or at once where w sees to the rest. sent is told of bytes that went.
func Grow(w http.ResponseWriter, r *http.Request, g Growth, sent func(n int)) {
	if r.Method == http.MethodHead {
		return
	}
	if s, ok := w.(interface {
		Grow(g Growth, sent func(n int))
	}); ok {
		s.Grow(g, sent)
		return
	}
	rc := http.NewResponseController(w)
	more := make(chan struct{}, 1)
	timer := time.NewTimer(growthIdle)
	defer timer.Stop()
	defer rc.SetWriteDeadline(time.Time{}) // the connection goes on
	for at := 0; ; {
		parts, done, cancel := g.Since(at, func() { more <- struct{}{} })
		for _, b := range parts {
			rc.SetWriteDeadline(time.Now().Add(growthStuck)) // where it cannot be set, tests read
			n, err := Share(w, b)
			if sent(n); err != nil {
				return
			}
		}
		if at += len(parts); done {
			return
		}
		if len(parts) > 0 {
			timer.Reset(growthIdle)
			if rc.Flush() != nil {
				return
			}
			continue
		}
		select {
		case <-more:
		case <-timer.C:
			cancel()
			panic(http.ErrAbortHandler) // the peer must not take it for whole
		case <-r.Context().Done():
			cancel()
			return
		}
	}
}
