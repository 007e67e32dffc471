package service

import (
	"sync"

	"weir/internal/hub"
)

// Expected is what is known of a stream that has not begun; 0 is not known.
type Expected struct{ Kbps, Width, Height int }

// OnDemand tells which streams begin when somebody plays them. Doors whose viewers are
// not in the house while a stream is not there, as those of HLS, ask it.
type OnDemand struct {
	mu  sync.RWMutex
	all []func(hub.Key) (Expected, bool) // guarded by mu
}

// Add has f asked, which must return at once.
func (o *OnDemand) Add(f func(hub.Key) (Expected, bool)) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, f)
}

// Has reports whether a stream begins when somebody plays it.
func (o *OnDemand) Has(key hub.Key) bool {
	_, ok := o.Of(key)
	return ok
}

// Of is Has, and tells what to expect.
func (o *OnDemand) Of(key hub.Key) (Expected, bool) {
	if o == nil {
		return Expected{}, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, f := range o.all {
		if e, ok := f(key); ok {
			return e, true
		}
	}
	return Expected{}, false
}
