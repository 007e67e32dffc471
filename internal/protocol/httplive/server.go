// Package httplive sends live streams as one endless HTTP answer: FLV, and
// fragmented MP4 for Media Source Extensions.
//
// Which paths are streams is told by a template, http_remux.mount of each
// vhost: "[vhost]/[app]/[stream].flv". The same path with .mp4 is the same
// stream as MP4. A viewer of a plain TCP connection takes the connection over,
// so that what all viewers share goes from memory to the socket by writev.
package httplive

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "httplive",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.HTTPServer, blocks.HTTPRemux, blocks.Play},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		env.Media.Handle(service.OrderLive, s.handle)
		return s, nil
	},
}

type server struct{ env service.Env }

// Run implements service.Service; viewers run in the HTTP server's goroutines.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// format is how a stream is sent.
type format struct {
	ext, mime string
}

var formats = []format{
	{".flv", "video/x-flv"},
	{".mp4", "video/mp4"},
}

// mount is what a vhost's template says.
type mount struct {
	host  string // a literal host, "[vhost]" for the vhost's, "" for any
	parts []string
	ext   string
}

// parseMount reads a template: a host, or [vhost], then the path.
func parseMount(template string) mount {
	host, p, _ := strings.Cut(template, "/")
	m := mount{host: host, ext: path.Ext(p)}
	m.parts = strings.Split(strings.TrimSuffix(p, m.ext), "/")
	return m
}

// serves reports whether the template is for requests to a host.
func (m mount) serves(host string) bool {
	return m.host == "" || m.host == "[vhost]" || m.host == host
}

// match returns the app and stream of a request's path, whose extension was cut
// off. As in SRS the number of slashes must be the template's.
func (m mount) match(p string) (app, stream string, ok bool) {
	return m.fill(strings.Split(strings.TrimPrefix(p, "/"), "/"))
}

// matchDeep is match for apps of several levels, such as "a/b": [app] takes the
// slashes that are more than the template's. As in SRS such a path is a stream
// only while that is live.
func (m mount) matchDeep(p string) (app, stream string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	at, more := slices.Index(m.parts, "[app]"), len(parts)-len(m.parts)
	if at < 0 || more <= 0 {
		return "", "", false
	}
	deep := strings.Join(parts[at:at+more+1], "/")
	return m.fill(slices.Concat(parts[:at], []string{deep}, parts[at+more+1:]))
}

// fill holds the parts of a path against those of the template.
func (m mount) fill(parts []string) (app, stream string, ok bool) {
	if len(parts) != len(m.parts) {
		return "", "", false
	}
	for i, want := range m.parts {
		got := parts[i]
		switch {
		case want == "[app]":
			app = got
		case strings.Contains(want, "[stream]"):
			before, after, _ := strings.Cut(want, "[stream]")
			if len(got) < len(before)+len(after) || !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
				return "", "", false
			}
			stream = got[len(before) : len(got)-len(after)]
		case want != got:
			return "", "", false
		}
	}
	if app == "" {
		app = "live"
	}
	return app, stream, stream != ""
}

// handle answers requests for streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	ext := path.Ext(r.URL.Path)
	var f format
	for _, c := range formats {
		if c.ext == ext {
			f = c
		}
	}
	if f.ext == "" {
		return false
	}
	snap := s.env.Conf.Load()
	vhost, ok := snap.Vhost(service.VhostName(r))
	if !ok {
		return false
	}
	conf := blocks.HTTPRemux.Of(vhost)
	if !conf.Enabled {
		return false
	}
	m := parseMount(conf.Mount)
	if ext != m.ext && !(ext == ".mp4" && m.ext == ".flv") || !m.serves(service.VhostName(r)) {
		return false
	}
	app, stream, ok := m.match(strings.TrimSuffix(r.URL.Path, ext))
	mustLive := ext == ".mp4" && ext != m.ext
	if !ok {
		app, stream, ok = m.matchDeep(strings.TrimSuffix(r.URL.Path, ext))
		mustLive = true
	}
	if !ok {
		return false
	}
	key := hub.Key{Vhost: vhost.Name, App: app, Stream: stream}
	if mustLive && !s.live(key) {
		return false // a file of that name, perhaps
	}
	if r.Method == http.MethodOptions {
		if !s.cors(w.Header(), r) {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return true
	}
	if r.Method == http.MethodHead {
		s.headers(w.Header(), r, f)
		w.WriteHeader(http.StatusOK)
		return true
	}
	s.play(w, r, f, vhost, key)
	return true
}
