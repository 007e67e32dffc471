package hls

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	pathpkg "path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store"
)

// ctxParam is the parameter by which viewers are told apart.
const ctxParam = "hls_ctx"

// viewer is one who fetches a playlist now and then.
type viewer struct {
	// Immutable.
	session *session.Session
	key     hub.Key
	quiet   time.Duration // how long it may ask for nothing

	seen atomic.Int64 // when it last asked, in Unix nanoseconds
	dead bool         // has been ended; kept for a while so that it stays ended. Guarded by server.viewing
}

// handle answers requests for playlists and segments of live streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	ext := pathpkg.Ext(r.URL.Path)
	if ext != ".m3u8" && ext != ".ts" && !s.known(r) {
		return false
	}
	vhost, ok := s.env.Conf.Load().Vhost(service.VhostName(r))
	if !ok {
		return false
	}
	at := path{vhost.Name, strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")}
	s.mu.RLock()
	st, g := s.playlists[at], s.segments[at]
	s.mu.RUnlock()
	if st == nil && g == nil {
		return false
	}
	if st != nil && len(st.index.Listed()) == 0 {
		return false // nothing finished yet
	}
	if blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	switch {
	case r.Method == http.MethodOptions:
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case st != nil:
		s.sendPlaylist(w, r, st)
	default:
		s.sendSegment(w, r, g)
	}
	return true
}

// known reports whether a path of an unusual extension is one of ours.
func (s *server) known(r *http.Request) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name := strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")
	for vhost := range map[string]bool{service.VhostName(r): true, hub.DefaultVhost: true} {
		if s.playlists[path{vhost, name}] != nil || s.segments[path{vhost, name}] != nil {
			return true
		}
	}
	return false
}

// sendPlaylist answers with the playlist, or, where viewers are counted by
// hls_ctx and this one has none yet, with one that leads to it.
func (s *server) sendPlaylist(w http.ResponseWriter, r *http.Request, st *stream) {
	conf := s.conf(st.key.Vhost)
	ctx := r.URL.Query().Get(ctxParam)
	id := ctx
	if !conf.Ctx {
		id = "@" + service.Visitor(r, "hls", "").IP + " " + st.key.String()
	}
	v, err := s.viewer(r, st, conf, id)
	if err != nil {
		refuse(w, err)
		return
	}
	query := withoutCtx(r.URL.RawQuery)
	var body []byte
	switch {
	case conf.Ctx && ctx == "":
		to := r.URL.EscapedPath() + "?" + ctxParam + "=" + v.session.ID
		if query != "" {
			to += "&" + query
		}
		body = m3u8.AppendMaster(nil, to)
	case conf.Ctx && conf.TSCtx:
		q := "?" + ctxParam + "=" + url.QueryEscape(ctx)
		if query != "" {
			q += "&" + query
		}
		body = st.playlist(q)
	default:
		body = st.playlist("")
	}
	w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
	w.Header().Set("Cache-Control", "no-cache")
	v.session.Count(len(r.URL.RequestURI()), len(body))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// withoutCtx returns a query without the parameter hls_ctx, as it was written.
func withoutCtx(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if part != "" && !strings.HasPrefix(part, ctxParam+"=") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// sendSegment answers with a segment.
func (s *server) sendSegment(w http.ResponseWriter, r *http.Request, g *store.Segment) {
	if id := r.URL.Query().Get(ctxParam); id != "" {
		s.viewing.Lock()
		v := s.viewers[id]
		dead := v != nil && v.dead
		s.viewing.Unlock()
		if dead || v != nil && v.session.Context().Err() != nil {
			refuse(w, errEOF)
			return
		}
		if v != nil {
			v.seen.Store(time.Now().UnixNano())
			v.session.Count(len(r.URL.RequestURI()), len(g.TS))
		}
	}
	w.Header().Set("Content-Type", "video/MP2T")
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
		// The whole segment in one write, straight from memory.
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", strconv.Itoa(len(g.TS)))
		w.Write(g.TS)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(g.TS))
}

// errEOF answers a viewer that was ended.
var errEOF = errors.New("HLS stream is EOF")

// viewer returns the viewer with an id, signed in if it is new. An id that we do
// not know, as after a restart, is kept.
func (s *server) viewer(r *http.Request, st *stream, conf *blocks.HLSConfig, id string) (*viewer, error) {
	s.viewing.Lock()
	v := s.viewers[id]
	if id != "" && v != nil {
		dead := v.dead || v.session.Context().Err() != nil
		s.viewing.Unlock()
		if dead {
			return nil, errEOF
		}
		v.seen.Store(time.Now().UnixNano())
		return v, nil
	}
	s.viewing.Unlock()

	// Detached on purpose: the session outlives the request.
	sess, err := s.env.Desk.Connect(context.WithoutCancel(r.Context()), service.Visitor(r, "hls", st.key.App))
	if err != nil {
		return nil, err
	}
	param := ""
	if q := withoutCtx(r.URL.RawQuery); q != "" {
		param = "?" + q
	}
	ask := session.Ask{Key: st.key, Type: "hls-play", Silent: !conf.Ctx,
		Said: session.Said{Vhost: service.VhostName(r), App: st.key.App, Stream: st.key.Stream + ".m3u8", Param: param}}
	if err := sess.Watch(r.Context(), ask); err != nil {
		sess.Close(err)
		return nil, err
	}
	v = &viewer{session: sess, key: st.key, quiet: max(2*conf.Window, time.Second)}
	v.seen.Store(time.Now().UnixNano())
	if id == "" {
		id = sess.ID
	}
	s.viewing.Lock()
	other := s.viewers[id]
	if other == nil {
		s.viewers[id] = v
	}
	s.viewing.Unlock()
	if other != nil { // two first requests at once
		sess.Close(nil)
		return other, nil
	}
	s.env.Log.Info("HLS client", slog.String("cid", sess.ID), "ip", sess.IP, "url", r.URL.RequestURI())
	return v, nil
}

// expire signs out who has asked for nothing for long or was kicked. The zero
// time signs out everybody.
func (s *server) expire(now time.Time) {
	type goner struct {
		v   *viewer
		err error
	}
	var gone []goner
	s.viewing.Lock()
	for id, v := range s.viewers {
		idle := now.Sub(time.Unix(0, v.seen.Load()))
		kicked := context.Cause(v.session.Context())
		switch {
		case now.IsZero():
			gone = append(gone, goner{v, session.ErrShutdown})
			delete(s.viewers, id)
		case v.dead:
			if idle > 2*v.quiet {
				delete(s.viewers, id)
			}
		case kicked != nil:
			v.dead = true
			gone = append(gone, goner{v, kicked})
		case idle > v.quiet:
			delete(s.viewers, id)
			gone = append(gone, goner{v, nil})
		}
	}
	s.viewing.Unlock()
	for _, g := range gone {
		g.v.session.Close(g.err)
	}
}

// refuse answers in words.
func refuse(w http.ResponseWriter, err error) {
	status, text := http.StatusForbidden, ""
	switch {
	case errors.Is(err, errEOF):
		status, text = http.StatusNotFound, err.Error()
	case errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		status = http.StatusServiceUnavailable
	case errors.Is(err, session.ErrNoVhost), errors.Is(err, session.ErrNoName):
		status = http.StatusNotFound
	}
	if text == "" {
		text = http.StatusText(status)
	}
	http.Error(w, text, status)
}
