package service

import (
	"sync"

	"weir/internal/hub"
)

// OnDemand tells which streams begin when somebody plays them. Doors whose viewers are
// not in the house while a stream is not there, as those of HLS, ask it.
type OnDemand struct {
	mu  sync.RWMutex
	all []func(hub.Key) bool // guarded by mu
}

// Add has f asked, which must return at once.
func (o *OnDemand) Add(f func(hub.Key) bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, f)
}

// Has reports whether a stream begins when somebody plays it.
func (o *OnDemand) Has(key hub.Key) bool {
	if o == nil {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, f := range o.all {
		if f(key) {
			return true
		}
	}
	return false
}
