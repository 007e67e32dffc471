package shelf

import (
	"hash/fnv"
	"net/http"
	pathpkg "path"
	"strconv"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/store"
)

// Parameters of requests for what a stream was: where time_shift keeps it.
const (
	StartParam  = "start"
	BehindParam = "behind"
	WindowParam = "window"
	// PastMark ends the folder in which segments of the past are found.
	PastMark = ".past"
)

// Asks reports whether a request may be for the past: for a manifest with one of the
// parameters, or for a file.
func (p *PastWay) Asks(r *http.Request) bool {
	if strings.Contains(r.URL.Path, PastMark+"/") {
		return true
	}
	q := r.URL.RawQuery
	return q != "" && (strings.Contains(q, StartParam+"=") || strings.Contains(q, BehindParam+"=") || strings.Contains(q, WindowParam+"=")) && pathpkg.Ext(r.URL.Path) == p.Ext
}

// A PastWay is how a protocol finds what a request for the past is for.
type PastWay struct {
	Ext    string // of manifests
	Prefix string // of its files
	// Of says whether a vhost has the protocol, and the template of its manifests' names.
	Of func(v *config.Vhost) (enabled bool, template string)
	// Live returns the stream whose manifest the request is for, as long as there is one.
	Live func(r *http.Request) (key hub.Key, ok bool)
}

// Past returns the stream of a request for the past, and the file that it is for, "" for the
// manifest; ok is false for other requests.
func (p *PastWay) Past(env service.Env, r *http.Request) (v *config.Vhost, key hub.Key, file string, ok bool) {
	if !p.Asks(r) {
		return nil, key, "", false
	}
	v, ok = env.Conf.Load().Vhost(service.VhostName(r))
	if !ok || !env.Past.Keeps(v.Name) {
		return nil, key, "", false
	}
	enabled, template := p.Of(v)
	path := strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")
	dir, name := pathpkg.Split(path)
	if dir, ok = strings.CutSuffix(dir, PastMark+"/"); ok {
		return v, hub.Key{Vhost: v.Name, App: pathpkg.Dir(dir), Stream: pathpkg.Base(dir)}, name, enabled && strings.HasPrefix(name, p.Prefix)
	}
	if key, ok = p.Live(r); ok {
		return v, key, "", true
	}
	key = hub.Key{Vhost: v.Name, App: pathpkg.Dir(path), Stream: strings.TrimSuffix(name, p.Ext)}
	return v, key, "", enabled && pathpkg.Clean(store.Expand(template, key, time.Time{})) == path
}

// SumOf tells bytes from others, in few characters that may stand in a name.
func SumOf(b []byte) string {
	h := fnv.New32a()
	h.Write(b)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}
