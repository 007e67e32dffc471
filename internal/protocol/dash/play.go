package dash

import (
	"net/http"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mpd"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/session"
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
	conf := s.env.Conf.Load()
	it, ok := s.found.Find(conf, r)
	if !ok {
		return false
	}
	file := it.file
	if file == nil && !it.clock {
		if file = it.stream.manifest(); file == nil {
			return false // nothing finished yet
		}
	}
	if blocks.HTTPServer.In(conf).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	switch {
	case r.Method == http.MethodOptions:
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case it.clock:
		shelf.New("text/plain", "no-store", "", mpd.AppendTime(nil, time.Now())).Serve(w, r)
	default:
		s.send(w, r, it, file)
	}
	return true
}

// ready reports whether a request can be answered at once: it is for a segment or the clock,
// or of a viewer who has been let in.
func (s *server) ready(r *http.Request) bool {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.file != nil || it.clock {
		return ok
	}
	return s.viewers.Has(viewerID(r, it.stream))
}

// viewerID returns what tells viewers of a stream apart: their address.
func viewerID(r *http.Request, st *stream) string {
	return service.Visitor(r, "dash", "").IP + " " + st.key.String()
}

// send answers with a file. Whoever asks for the manifest is signed in, by its
// address; callbacks hear nothing of it, as in SRS.
func (s *server) send(w http.ResponseWriter, r *http.Request, it thing, file *shelf.File) {
	st := it.stream
	id := viewerID(r, st)
	v, err := s.viewers.Get(id)
	if v == nil && err == nil && it.file == nil {
		ask := session.Ask{Key: st.key, Type: "dash-play", Silent: true, Name: st.key.Stream + ".mpd",
			Said: session.Said{Vhost: service.VhostName(r), App: st.key.App, Stream: st.key.Stream + ".mpd"}}
		var fresh bool
		v, fresh, err = s.viewers.Sign(s.env.Desk, r, "dash", id, ask, max(10*time.Second, 3*s.conf(st.key.Vhost).Fragment))
		if fresh {
			s.env.Log.Info("DASH client", "cid", v.Session.ID, "ip", v.Session.IP, "url", r.URL.RequestURI())
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
