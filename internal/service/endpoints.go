package service

import (
	"net/http"
	"sync"
)

// An Endpoint is a path of the API that a part of the server answers. It is one of
// weir's own, for its operator only: from the machine itself, or with a password.
type Endpoint struct {
	Method, Path string // the path is what follows /api/v1/: "dvrs/"
	Summary      string
	// Params are the parameters of the query, each a name and what it is.
	Params [][2]string
	// Reply is a value of the type that Answer returns: an object, whose members go
	// into the API's envelope.
	Reply any
	// Answer does it.
	Answer func(r *http.Request) (any, *Refusal)
}

// A Refusal is why an endpoint did not do what it was asked.
type Refusal struct {
	Status, Code int // of HTTP, and SRS's number or the same again
	Text         string
}

// Endpoints are those of all parts.
type Endpoints struct {
	mu  sync.RWMutex
	all []Endpoint // guarded by mu
}

// Add adds endpoints.
func (e *Endpoints) Add(more ...Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, more...)
}

// All returns a snapshot of them.
func (e *Endpoints) All() []Endpoint {
	if e == nil {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.all[:len(e.all):len(e.all)]
}

// Find returns the endpoint for a path, by its verb if there are several, else
// any; ok is false if the path is nobody's.
func (e *Endpoints) Find(method, path string) (found Endpoint, ok bool) {
	for _, f := range e.All() {
		if f.Path != path {
			continue
		}
		if found, ok = f, true; f.Method == method {
			return f, true
		}
	}
	return found, ok
}
