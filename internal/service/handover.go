package service

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"weir/internal/session"
)

// A Handover is what parts have to do with an upgrade, in which another process takes
// the place of this one while it goes on with those who are there. See docs/adr/0013.
type Handover struct {
	left atomic.Bool

	mu    sync.Mutex
	elder bool                                 // the process that was before serves still; guarded by mu
	alone []func()                             // told when it has gone; guarded by mu
	ours  []func() func(*session.Session) bool // guarded by mu
}

// HasElder reports whether the process whose place this one took still serves. What
// must run once only, such as an ingest, is left to that one.
func (h *Handover) HasElder() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.elder
}

// OnAlone has f called when the process that was before has gone.
func (h *Handover) OnAlone(f func()) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alone = append(h.alone, f)
}

// SetElder says whether the process that was before serves still.
func (h *Handover) SetElder(serves bool) {
	h.mu.Lock()
	had := h.elder
	h.elder = serves
	told := h.alone
	h.mu.Unlock()
	if !had || serves {
		return
	}
	for _, f := range told {
		f()
	}
}

// Leave says that another process has taken the place of this one.
func (h *Handover) Leave() { h.left.Store(true) }

// Left reports whether another process has taken the place of this one: clients that
// can are to go there.
func (h *Handover) Left() bool { return h != nil && h.left.Load() }

// AddOurs has f tell which sessions are those of programs that this server runs, as they
// are when it is called.
func (h *Handover) AddOurs(f func() func(*session.Session) bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ours = append(h.ours, f)
}

// Clients counts those of some sessions that are no part of the server itself, which
// ends with it.
func (h *Handover) Clients(all iter.Seq[*session.Session]) (n int) {
	h.mu.Lock()
	var ours []func(*session.Session) bool
	for _, f := range h.ours {
		ours = append(ours, f())
	}
	h.mu.Unlock()
	for s := range all {
		if !s.Internal && !slices.ContainsFunc(ours, func(f func(*session.Session) bool) bool { return f(s) }) {
			n++
		}
	}
	return n
}
