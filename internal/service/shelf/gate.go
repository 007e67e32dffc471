package shelf

import (
	"net/http"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// A Gate lets viewers in by their address: to streams whose manifests name no
// viewer. Callbacks hear nothing of them, as in SRS; rules hold.
type Gate struct {
	// Immutable.
	Env service.Env
	// Protocol is the door's name, "dash", and Ext the manifest's ending, ".mpd".
	Protocol, Ext string

	Viewers Pollers
}

func (g *Gate) id(r *http.Request, key hub.Key) string {
	return service.Visitor(r, g.Protocol, "").IP + " " + key.String()
}

// Has reports whether who sends a request has been let in to a stream.
func (g *Gate) Has(r *http.Request, key hub.Key) bool { return g.Viewers.Has(g.id(r, key)) }

// Serve answers with a file of a stream. Who asks for an entry, a manifest, is let
// in, or refused, and is signed out when it has asked for nothing for quiet.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, key hub.Key, f *File, entry bool, quiet time.Duration) {
	v, err := g.Enter(r, key, entry, quiet)
	if err != nil {
		Refuse(w, err)
		return
	}
	if v != nil {
		v.Session.Count(len(r.URL.RequestURI()), f.Size)
		f = f.counted(func(n int) { v.Session.Count(0, n) })
	}
	serve := Lend
	if entry {
		serve = Give
	}
	serve(g.Env.Conf.Load(), w, r, key, f)
}

// Enter returns who sends a request, nil if that is not known: who asks for an entry is let
// in, or refused.
func (g *Gate) Enter(r *http.Request, key hub.Key, entry bool, quiet time.Duration) (*Poller, error) {
	id := g.id(r, key)
	v, err := g.Viewers.Get(id)
	if v == nil && err == nil && entry {
		name, param := key.Stream+g.Ext, ""
		if r.URL.RawQuery != "" {
			param = "?" + r.URL.RawQuery
		}
		ask := session.Ask{Key: key, Type: g.Protocol + "-play", Silent: true, Name: name,
			Said: session.Said{Vhost: service.VhostName(r), App: key.App, Stream: name, Param: param}}
		var fresh bool
		v, fresh, err = g.Viewers.Sign(g.Env.Desk, r, g.Protocol, id, ask, quiet)
		if fresh {
			g.Env.Log.Info(strings.ToUpper(g.Protocol)+" client", "cid", v.Session.ID, "ip", v.Session.IP, "url", r.URL.RequestURI())
		}
	}
	return v, err
}

// Reads reports whether a request wants to read, with the headers by which pages
// of other sites may. Others it has answered.
func Reads(env service.Env, w http.ResponseWriter, r *http.Request) bool {
	if blocks.HTTPServer.In(env.Conf.Load()).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost: // SRS answers a POST, too
		return true
	case http.MethodOptions:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
	return false
}
