package server

import (
	"net/http"
	"net/http/pprof"
	"strings"
)

// profiles answers /debug/pprof/. A Host that is a name is refused: a page of
// another site could have had it lead here.
func profiles(w http.ResponseWriter, r *http.Request) {
	if h := r.Host; !strings.HasPrefix(h, "127.") && !strings.HasPrefix(h, "[::1]") && !strings.HasPrefix(h, "localhost") {
		http.Error(w, "ask by the loopback address", http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/debug/pprof/cmdline":
		pprof.Cmdline(w, r)
	case "/debug/pprof/profile":
		pprof.Profile(w, r)
	case "/debug/pprof/symbol":
		pprof.Symbol(w, r)
	case "/debug/pprof/trace":
		pprof.Trace(w, r)
	default:
		if !strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			http.Error(w, "see /debug/pprof/", http.StatusNotFound)
			return
		}
		pprof.Index(w, r)
	}
}
