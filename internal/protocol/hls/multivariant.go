package hls

import (
	"net/http"
	pathpkg "path"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// A choice is what a multivariant playlist lists.
type choice struct {
	conf    *blocks.HLSConfig
	streams []*stream
	lists   []*list
	dir     string // of the playlist
}

// choiceOf returns what hls_multivariant lists at the path of a request: those of its
// streams that have something listed; none if the path is no such playlist.
func (s *server) choiceOf(r *http.Request) (c choice) {
	v, ok := s.env.Conf.Load().Vhost(service.VhostName(r))
	if !ok {
		return c
	}
	if c.conf = blocks.HLS.Of(v); len(c.conf.Multivariant) == 0 {
		return c
	}
	path := strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")
	app, name := pathpkg.Dir(path), strings.TrimSuffix(pathpkg.Base(path), pathpkg.Ext(path))
	c.dir = app
	if pathpkg.Clean(store.Expand(c.conf.M3U8File, hub.Key{Vhost: v.Name, App: app, Stream: name}, time.Time{})) != path {
		return c
	}
	for _, rule := range c.conf.Multivariant {
		if len(rule.Args) == 0 {
			continue
		}
		stream, ok := match(rule.Args[0], name)
		if !ok {
			continue
		}
		for _, template := range rule.Args[1:] {
			one, ok := s.streams.Get(hub.Key{Vhost: v.Name, App: app, Stream: strings.ReplaceAll(template, "[stream]", stream)})
			if !ok {
				continue
			}
			if l := one.listed(); l != nil {
				c.streams, c.lists = append(c.streams, one), append(c.lists, l)
			}
		}
		return c
	}
	return c
}

// match reports whether a name is one of a template, and what [stream] stands for
// there.
func match(template, name string) (stream string, ok bool) {
	before, after, open := strings.Cut(template, "[stream]")
	if !open {
		return "", template == name
	}
	if len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return "", false
	}
	return name[len(before) : len(name)-len(after)], true
}

// sendChoice answers with a multivariant playlist. Where viewers are told apart by
// hls_ctx, this one is signed in for the first of the streams, and is one viewer
// whichever it fetches.
func (s *server) sendChoice(w http.ResponseWriter, r *http.Request, c choice) {
	query := r.URL.RawQuery
	if c.conf.Ctx && !c.conf.Cacheable {
		v, err := s.viewer(r, c.streams[0].key, c.conf, r.URL.Query().Get(ctxParam))
		if err != nil {
			shelf.Refuse(w, err)
			return
		}
		v.Session.Count(len(r.URL.RequestURI()), 0)
		if rest := withoutCtx(query); r.URL.Query().Get(ctxParam) == "" {
			query = ctxParam + "=" + v.Session.ID
			if rest != "" {
				query += "&" + rest
			}
		}
	}
	out := m3u8.Ladder{Independent: true}
	to := func(v m3u8.Variant, name string) m3u8.Variant {
		if v.URI = "/" + shelf.Escape(name); pathpkg.Dir(name) == c.dir {
			v.URI = shelf.Escape(pathpkg.Base(name))
		}
		if query != "" {
			v.URI += "?" + query
		}
		return v
	}
	for i, l := range c.lists {
		out.Independent = out.Independent && l.key
		out.Variants = append(out.Variants, to(l.variant, c.streams[i].playlistName))
		if l.iframes != nil {
			out.IFrames = append(out.IFrames, to(l.iframes.variant, c.streams[i].iframesName()))
		}
	}
	shelf.Text(typeM3U8, shelf.CacheManifest, out.Append(nil)).Serve(w, r)
}
