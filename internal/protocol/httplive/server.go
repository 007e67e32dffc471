// Package httplive sends live streams as one endless HTTP answer: FLV, MPEG-TS,
// fragmented MP4 for Media Source Extensions, and sound alone as AAC or MP3. The
// same paths answer WebSocket, a message for each frame or several.
//
// Which paths are streams is told by templates, http_remux.mount of each vhost:
// "[vhost]/[app]/[stream].flv". Where .flv is mounted, the same path with .mp4 is
// the same stream as MP4. A viewer of a plain TCP connection takes the connection
// over, so that what all viewers share goes from memory to the socket at once; over
// HTTP/2 it is one of the connection's streams.
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
	Conf:  []config.Spec{blocks.HTTPServer, blocks.HTTPRemux, blocks.Play, blocks.HLS, blocks.TimeShift},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		env.Hub.OnPublish(s.keepSound)
		env.Media.Handle(service.OrderLive, s.handle)
		return s, nil
	},
}

type server struct {
	env    service.Env
	sounds sounds
}

// Run implements service.Service; viewers run in the HTTP server's goroutines.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
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
	f, ok := formats[path.Ext(r.URL.Path)]
	if !ok {
		return false
	}
	vhost, ok := s.env.Conf.Load().Vhost(service.VhostName(r))
	if !ok {
		return false
	}
	key, ok := s.find(r, f, vhost)
	if !ok {
		return false
	}
	switch {
	case r.Method == http.MethodOptions:
		if !s.cors(w.Header(), r) {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	case r.Method == http.MethodHead:
		s.headers(w.Header(), r, f)
		w.WriteHeader(http.StatusOK)
	case asksWebSocket(r) && !s.mayUpgrade(w, r):
	default:
		s.play(w, r, f, vhost, key)
	}
	return true
}

// find returns the stream that a request is for, if one of the vhost's mounts has
// it: by its path, or, if only that is live, by the path as it was sent.
func (s *server) find(r *http.Request, f format, vhost *config.Vhost) (key hub.Key, ok bool) {
	key, ok = s.at(r, r.URL.Path, f, vhost)
	if sent, differs := service.AsSent(r); differs && (!ok || !s.live(key)) {
		if k, there := s.at(r, sent, f, vhost); there && s.live(k) {
			return k, true
		}
	}
	return key, ok
}

// at returns the stream that a path names, if one of the vhost's mounts has it.
func (s *server) at(r *http.Request, sent string, f format, vhost *config.Vhost) (key hub.Key, ok bool) {
	conf := blocks.HTTPRemux.Of(vhost)
	if !conf.Enabled {
		return key, false
	}
	host, p := service.VhostName(r), strings.TrimSuffix(sent, f.ext)
	for _, template := range conf.Mount {
		m := parseMount(template)
		// The same path as MP4 may be a file's, and where HLS is on, that of a
		// segment ends in .ts.
		mustLive := f.ext != m.ext || f.ext == ".ts" && blocks.HLS.Of(vhost).Enabled
		if f.ext != m.ext && !(f.ext == ".mp4" && m.ext == ".flv") || !m.serves(host) {
			continue
		}
		app, stream, ok := m.match(p)
		if !ok {
			app, stream, ok = m.matchDeep(p)
			mustLive = true
		}
		if !ok {
			continue
		}
		if key = (hub.Key{Vhost: vhost.Name, App: app, Stream: stream}); !mustLive || s.live(key) {
			return key, true
		}
	}
	return key, false
}
