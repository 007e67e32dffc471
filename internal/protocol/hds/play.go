package hds

import (
	"net/http"

	"weir/internal/service/shelf"
)

// thing is what is found at a path, of a stream: its manifest, its bootstrap, or a
// fragment.
type thing struct {
	stream *stream
	entry  bool        // the manifest
	file   *shelf.File // a fragment
}

// of returns the file of a thing, nil if nothing is finished yet.
func (it thing) of() *shelf.File {
	if it.file != nil {
		return it.file
	}
	it.stream.mu.Lock()
	defer it.stream.mu.Unlock()
	if it.entry {
		return it.stream.manifest
	}
	return it.stream.bootstrap
}

// handle answers requests for manifests, bootstraps and fragments of live streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok {
		return false
	}
	file := it.of()
	if file == nil {
		return false
	}
	if shelf.Reads(s.env, w, r) {
		key := it.stream.key
		s.gate.Serve(w, r, key, file, it.file == nil, 2*s.conf(key.Vhost).Window)
	}
	return true
}

// ready reports whether a request can be answered at once: it is for a fragment,
// or of a viewer who has been let in.
func (s *server) ready(r *http.Request) bool {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	return ok && (it.file != nil || s.gate.Has(r, it.stream.key))
}
