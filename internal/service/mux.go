package service

import (
	"net/http"
	"slices"
	"sync"
)

// Order says who is asked first about a request. SRS's order is: the API, live
// streams, then files.
type Order int

// The orders.
const (
	// OrderPublic is of paths below the API's that are for everybody.
	OrderPublic Order = iota
	OrderAPI
	OrderLive
	OrderSegments
	OrderFiles
)

// A Handler answers a request, or returns false if it is not its own, having
// done nothing.
type Handler func(w http.ResponseWriter, r *http.Request) bool

// A Mux shares one HTTP server among parts, by order rather than by path: which
// paths are live streams depends on templates that an operator writes.
type Mux struct {
	mu       sync.RWMutex
	handlers []entry     // guarded by mu; in order
	ready    []ReadyFunc // guarded by mu
	later    []LaterFunc // guarded by mu
}

type entry struct {
	order Order
	h     Handler
}

// Handle adds h.
func (m *Mux) Handle(o Order, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.handlers, func(e entry) bool { return e.order > o })
	if at < 0 {
		at = len(m.handlers)
	}
	m.handlers = slices.Insert(slices.Clone(m.handlers), at, entry{o, h})
}

// ServeHTTP asks the handlers in order, and answers 404 if nobody knows.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.RLock()
	hs := m.handlers
	m.mu.RUnlock()
	for _, e := range hs {
		if e.h(w, r) {
			return
		}
	}
	http.Error(w, "Not Found", http.StatusNotFound)
}
