package hds

import (
	"net/http"

	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/session"
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
	if it.entry && it.stream.bootstrap != nil {
		return it.stream.manifest
	}
	return it.stream.bootstrap
}

// handle answers requests for manifests, bootstraps and fragments of live streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	conf := s.env.Conf.Load()
	it, ok := s.found.Find(conf, r)
	if !ok {
		return false
	}
	file := it.of()
	if file == nil {
		return false
	}
	if blocks.HTTPServer.In(conf).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	switch {
	case r.Method == http.MethodOptions:
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	default:
		s.send(w, r, it, file)
	}
	return true
}

// ready reports whether a request can be answered at once: it is for a fragment,
// or of a viewer who has been let in.
func (s *server) ready(r *http.Request) bool {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.file != nil {
		return ok
	}
	return s.viewers.Has(viewerID(r, it.stream))
}

// viewerID returns what tells viewers of a stream apart: their address.
func viewerID(r *http.Request, st *stream) string {
	return service.Visitor(r, "hds", "").IP + " " + st.key.String()
}

// send answers with a file. Whoever asks for the manifest or the bootstrap is
// signed in, by its address; callbacks hear nothing of it, as in SRS.
func (s *server) send(w http.ResponseWriter, r *http.Request, it thing, file *shelf.File) {
	st := it.stream
	id := viewerID(r, st)
	v, err := s.viewers.Get(id)
	if v == nil && err == nil && it.file == nil {
		ask := session.Ask{Key: st.key, Type: "hds-play", Silent: true, Name: st.key.Stream + ".f4m",
			Said: session.Said{Vhost: service.VhostName(r), App: st.key.App, Stream: st.key.Stream + ".f4m"}}
		var fresh bool
		v, fresh, err = s.viewers.Sign(s.env.Desk, r, "hds", id, ask, 2*s.conf(st.key.Vhost).Window)
		if fresh {
			s.env.Log.Info("HDS client", "cid", v.Session.ID, "ip", v.Session.IP, "url", r.URL.RequestURI())
		}
	}
	if err != nil {
		shelf.Refuse(w, err)
		return
	}
	if v != nil {
		v.Session.Count(len(r.URL.RequestURI()), file.Size)
	}
	file.Serve(w, r)
}
