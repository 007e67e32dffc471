package hls

import (
	"log/slog"
	"net/http"
	"net/url"
	pathpkg "path"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/session"
)

// ctxParam is the parameter by which viewers are told apart.
const ctxParam = "hls_ctx"

// handle answers requests for playlists and segments of live streams.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	if s.past(w, r) {
		return true
	}
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.of != nil && it.of.listed() == nil {
		if key, demanded := s.demanded(r); demanded {
			if shelf.Reads(s.env, w, r) {
				s.summon(w, r, key)
			}
			return true
		}
	}
	if !ok {
		c := s.choiceOf(r)
		if len(c.entries) == 0 {
			return false
		}
		if shelf.Reads(s.env, w, r) {
			s.sendChoice(w, r, c)
		}
		return true
	}
	if it.of != nil && it.of.listed() == nil {
		return false // nothing finished yet
	}
	switch {
	case !shelf.Reads(s.env, w, r):
	case it.hint != nil:
		s.sendHinted(w, r, it)
	case it.of != nil:
		s.sendPlaylist(w, r, it)
	default:
		s.sendFile(w, r, it)
	}
	return true
}

// ready reports whether a request can be answered at once: it is for a file, or
// for the playlist of a viewer who has been let in.
func (s *server) ready(r *http.Request) bool {
	if s.pastWay.Asks(r) {
		return false // a disk may have to be read
	}
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.of == nil {
		return ok
	}
	if it.hint != nil || it.of.waits(r) {
		return false
	}
	return s.admitted(r, it.of.stream.key)
}

// admitted reports whether who asks is a viewer of the stream who has been let in.
func (s *server) admitted(r *http.Request, key hub.Key) bool {
	conf := s.conf(key.Vhost)
	id := viewerID(r, key, conf)
	return id != "" && s.viewers.Has(id) && s.left(id, key, conf) == nil && (!s.strays(id, key) || s.viewers.Has(wishID(id, key)))
}

// viewerID returns what tells viewers of a stream apart: their hls_ctx, "" if
// they have none yet, or else their address.
func viewerID(r *http.Request, key hub.Key, conf *blocks.HLSConfig) string {
	if conf.Ctx && !conf.Cacheable {
		ctx, _ := service.Param(r, ctxParam)
		return ctx
	}
	return "@" + service.Visitor(r, "hls", "").IP + " " + key.String()
}

// sendPlaylist answers with the playlist, or, where viewers are counted by
// hls_ctx and this one has none yet, with one that leads to it.
func (s *server) sendPlaylist(w http.ResponseWriter, r *http.Request, it thing) {
	st := it.of.stream
	conf := s.conf(st.key.Vhost)
	ctx, _ := service.Param(r, ctxParam)
	v, err := s.viewer(r, st.key, conf, viewerID(r, st.key, conf))
	if err != nil {
		shelf.Refuse(w, err)
		return
	}
	if err := s.wish(r, v, st.key, conf); err != nil {
		shelf.Refuse(w, err)
		return
	}
	l, ok := s.updated(w, r, it)
	if !ok {
		return
	}
	f := s.playlistFor(r, conf, v, it, l, ctx)
	v.Session.Count(len(r.URL.RequestURI()), f.Size)
	shelf.Give(s.env.Conf.Load(), w, r, st.key, f)
}

// playlistFor returns what a viewer is answered with.
func (s *server) playlistFor(r *http.Request, conf *blocks.HLSConfig, v *shelf.Poller, it thing, l *list, ctx string) *shelf.File {
	query := withoutCtx(r.URL.RawQuery)
	if ladder := it.of.stream.ladderFor(it, conf.Ctx && !conf.Cacheable && ctx == ""); ladder != nil {
		return ladder.file(r, conf, v, ctx)
	}
	if it.iframes && l.iframes != nil {
		if l = l.iframes; ctx == "" {
			ctx = v.Session.ID
		}
	}
	switch {
	case conf.Cacheable:
		f := *l.file
		f.Cache = shelf.CacheShared(max(conf.Fragment/2, time.Second))
		if l.low != nil {
			f.Cache = l.low.cache(r)
		}
		return &f
	case conf.Ctx && ctx == "":
		q := "?" + ctxParam + "=" + v.Session.ID
		if query != "" {
			q += "&" + query
		}
		to := func(v m3u8.Variant, path string) m3u8.Variant {
			if v.URI = path; conf.MasterPathRelative {
				v.URI = pathpkg.Base(path)
			}
			v.URI += q
			return v
		}
		master := m3u8.Ladder{Independent: l.key, Variants: []m3u8.Variant{to(l.variant, r.URL.EscapedPath())}}
		if l.iframes != nil {
			master.IFrames = []m3u8.Variant{to(l.iframes.variant, marked(r.URL.EscapedPath(), ".iframes"))}
		}
		return shelf.Text(typeM3U8, shelf.CacheManifest, master.Append(nil))
	case conf.Ctx && conf.TSCtx:
		q := "?" + ctxParam + "=" + url.QueryEscape(ctx)
		if query != "" {
			q += "&" + query
		}
		// Of the list with a query nothing else is to be known.
		return shelf.Tagged(typeM3U8, shelf.CacheManifest, strings.Trim(l.file.ETag, `"`)+"-"+shelf.SumOf([]byte(q)), l.with(q))
	}
	return l.file
}

// withoutCtx returns a query without the parameter hls_ctx and those of low latency, as
// it was written.
func withoutCtx(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if part != "" && !strings.HasPrefix(part, ctxParam+"=") && !strings.HasPrefix(part, lowParams) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// sendFile answers with a segment, an initialization segment or a key.
func (s *server) sendFile(w http.ResponseWriter, r *http.Request, it thing) {
	if id, _ := service.Param(r, ctxParam); id != "" {
		v, err := s.viewers.Get(id)
		if err != nil {
			shelf.Refuse(w, err)
			return
		}
		if v != nil {
			v.Session.Count(len(r.URL.RequestURI()), it.file.Size)
		}
	}
	shelf.Lend(s.env.Conf.Load(), w, r, it.key, it.file)
}

// viewer returns the viewer with an id, signed in if it is new or has left the stream it
// was signed in for. An id that we do not know, as after a restart, is kept.
func (s *server) viewer(r *http.Request, key hub.Key, conf *blocks.HLSConfig, id string) (*shelf.Poller, error) {
	param := ""
	if q := withoutCtx(r.URL.RawQuery); q != "" {
		param = "?" + q
	}
	ask := session.Ask{Key: key, Type: "hls-play", Silent: !conf.Ctx || conf.Cacheable,
		Said: session.Said{Vhost: service.VhostName(r), App: key.App, Stream: key.Stream + ".m3u8", Param: param}}
	sign := s.viewers.Sign
	if from := s.left(id, key, conf); from != nil {
		sign = from.Move
	}
	v, fresh, err := sign(s.env.Desk, r, "hls", id, ask, 2*conf.Window)
	if fresh {
		s.env.Log.Info("HLS client", slog.String("cid", v.Session.ID), "ip", v.Session.IP, "url", r.URL.RequestURI())
	}
	return v, err
}
