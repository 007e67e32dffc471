package dash

import (
	"net/http"
	"time"

	"weir/internal/format/mpd"
	"weir/internal/service/shelf"
)

// thing is what is found at a path, of a stream: its manifest, its clock, or a
// file.
type thing struct {
	stream *stream
	clock  bool
	file   *shelf.File // nil for the manifest and the clock
}

// handle answers requests for manifests and segments of live streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	if s.past(w, r) {
		return true
	}
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok {
		return false
	}
	file := it.file
	if file == nil && !it.clock {
		if file = it.stream.manifest(); file == nil {
			return false // nothing finished yet
		}
	}
	if !shelf.Reads(s.env, w, r) {
		return true
	}
	if it.clock {
		shelf.New("text/plain", "no-store", "", mpd.AppendTime(nil, time.Now())).Serve(w, r)
		return true
	}
	if g := file.Growing(); g != nil && !s.begun(w, r, it.stream, g) {
		return true
	}
	key := it.stream.key
	s.gate.Serve(w, r, key, file, it.file == nil, max(10*time.Second, 3*s.conf(key.Vhost).Fragment))
	return true
}

// ready reports whether a request can be answered at once: it is for a segment or
// the clock, or of a viewer who has been let in.
func (s *server) ready(r *http.Request) bool {
	if s.pastWay.Asks(r) {
		return false // a disk may have to be read
	}
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok {
		return false
	}
	if it.file != nil {
		g := it.file.Growing()
		return g == nil || g.Begun()
	}
	return it.clock || s.gate.Has(r, it.stream.key)
}
