// Package shelf answers HTTP requests for what live streams are cut into:
// manifests and segments, straight from memory.
//
// A [Shelf] tells what is found where, below the root of each vhost's HTTP. A
// [File] is ready bytes with their headers. A viewer of such files has no
// connection; [Pollers] signs those in who ask, and out when they have asked for
// nothing for long. A [Disk] puts the same bytes below a folder for those who
// serve them with another program.
package shelf

import (
	"net/http"
	"net/url"
	pathpkg "path"
	"strings"
	"sync"

	"weir/internal/config"
	"weir/internal/service"
)

// A Shelf holds things by vhost and path.
type Shelf[T any] struct {
	mu  sync.RWMutex
	all map[place]T // guarded by mu
}

// place is where something is found: below the root of a vhost's HTTP.
type place struct{ vhost, name string }

// Put places a thing; it takes the place of one that is there.
func (s *Shelf[T]) Put(vhost, name string, thing T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[place]T{}
	}
	s.all[place{vhost, name}] = thing
}

// Remove takes things away.
func (s *Shelf[T]) Remove(vhost string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		delete(s.all, place{vhost, n})
	}
}

// Get returns what is at a place.
func (s *Shelf[T]) Get(vhost, name string) (thing T, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	thing, ok = s.all[place{vhost, name}]
	return thing, ok
}

// Find returns what a request asks for, by its path or by that path as it was sent.
func (s *Shelf[T]) Find(conf *config.Snapshot, r *http.Request) (thing T, ok bool) {
	v, ok := conf.Vhost(service.VhostName(r))
	if !ok {
		return thing, false
	}
	if thing, ok = s.Get(v.Name, strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")); ok {
		return thing, true
	}
	if sent, differs := service.AsSent(r); differs {
		return s.Get(v.Name, strings.TrimPrefix(pathpkg.Clean(sent), "/"))
	}
	return thing, false
}

// Escape writes a path so that it is one in a URI, whatever a stream is called.
func Escape(path string) string {
	s := (&url.URL{Path: path}).EscapedPath()
	if first, _, _ := strings.Cut(s, "/"); strings.Contains(first, ":") {
		s = "./" + s // it would pass for a scheme
	}
	return s
}
