package service

import (
	"net/http"
	"sync"
)

// An Endpoint answers a path of the API that is a part's own, below /api/v1/NAME/;
// path is what follows that. The body is an object that goes into the API's
// envelope; a code other than 0 is answered alone. Who asks has been let in.
type Endpoint func(r *http.Request, path string) (body any, code int)

// Endpoints are the endpoints of the parts, by name.
type Endpoints struct {
	mu  sync.RWMutex
	all map[string]Endpoint // guarded by mu
}

// Set gives a name to an endpoint.
func (e *Endpoints) Set(name string, f Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all == nil {
		e.all = map[string]Endpoint{}
	}
	e.all[name] = f
}

// Get returns an endpoint, nil if nobody answers.
func (e *Endpoints) Get(name string) Endpoint {
	if e == nil {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.all[name]
}
