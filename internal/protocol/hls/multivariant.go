package hls

import (
	"net/http"
	pathpkg "path"
	"slices"
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
	entries []entry
	dir     string // of the playlist
}

// entry is a stream of a choice.
type entry struct {
	key     hub.Key
	name    string // of its playlist
	variant m3u8.Variant
	iframes *m3u8.Variant // nil for none
	keys    bool          // decoding can start at each segment
	demand  bool          // it goes on only while somebody plays it
	ladder  *ladder       // of its tracks, nil if there is one of each kind
}

// choiceOf returns what hls_multivariant lists at the path of a request: those of its
// streams that have something listed, and those that begin when somebody plays them, as
// the configuration tells them; none if the path is no such playlist.
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
			key := hub.Key{Vhost: v.Name, App: app, Stream: strings.ReplaceAll(template, "[stream]", stream)}
			if e, ok := s.entryOf(key, c.conf); ok {
				c.entries = append(c.entries, e)
			}
		}
		return c
	}
	return c
}

func (s *server) entryOf(key hub.Key, conf *blocks.HLSConfig) (e entry, ok bool) {
	x, demand := s.env.OnDemand.Of(key)
	if one, ok := s.streams.Get(key); ok {
		if l := one.listed(); l != nil {
			e = entry{key: key, name: one.playlistName, variant: l.variant, keys: l.key, demand: demand}
			if l.iframes != nil {
				v := l.iframes.variant
				v.URI = one.iframesName()
				e.iframes = &v
			}
			one.mu.Lock()
			e.ladder = one.ladder
			one.mu.Unlock()
			return e, true
		}
	}
	e = entry{key: key, demand: true, name: pathpkg.Clean(store.Expand(conf.M3U8File, key, time.Time{}))}
	e.variant = m3u8.Variant{Bandwidth: int64(x.Kbps) * 1000, Average: int64(x.Kbps) * 1000, Width: x.Width, Height: x.Height}
	return e, demand
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
// hls_ctx, this one is signed in for the first of the streams that is there anyway, and is
// one viewer whichever it fetches.
func (s *server) sendChoice(w http.ResponseWriter, r *http.Request, c choice) {
	query := r.URL.RawQuery
	if c.conf.Ctx && !c.conf.Cacheable {
		first := max(slices.IndexFunc(c.entries, func(e entry) bool { return !e.demand }), 0)
		v, err := s.viewer(r, c.entries[first].key, c.conf, r.URL.Query().Get(ctxParam))
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
	for i, e := range c.entries {
		out.Independent = out.Independent && e.keys
		if e.ladder != nil {
			e.ladder.addTo(&out, i, to)
			continue
		}
		out.Variants = append(out.Variants, to(e.variant, e.name))
		if e.iframes != nil {
			out.IFrames = append(out.IFrames, to(*e.iframes, e.iframes.URI))
		}
	}
	shelf.Text(typeM3U8, shelf.CacheManifest, out.Append(nil)).Serve(w, r)
}
