package hls

import (
	"net/http"
	"net/url"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/media"
	"weir/internal/service/shelf"
)

// ladder is what a multivariant playlist says of a stream with several pictures or
// sounds: a variant for each picture, and the sounds as renditions to choose from. Where
// sounds are of several codecs each codec is a group, and each picture a variant with
// each group, so that players find one that they know. It is immutable; URIs are paths
// below the root.
type ladder struct {
	independent bool
	sounds      []m3u8.Sound
	variants    []m3u8.Variant
	iframes     []m3u8.Variant
}

// newLadder returns what is listed, nil if that is no more than one track of each kind.
// The stream's mu is held.
func newLadder(each []*rendition) *ladder {
	var pictures, sounds []*rendition
	for _, rd := range each {
		switch {
		case rd.list == nil:
		case rd.kind == media.Video:
			pictures = append(pictures, rd)
		default:
			sounds = append(sounds, rd)
		}
	}
	if len(pictures) < 2 && len(sounds) < 2 {
		return nil
	}
	l := &ladder{independent: true}
	for _, rd := range each {
		l.independent = l.independent && (rd.list == nil || rd.list.key)
	}
	groups := l.addSounds(sounds)
	for _, rd := range pictures {
		if i := rd.list.iframes; i != nil {
			v := i.variant
			v.URI = rd.iframesName()
			l.iframes = append(l.iframes, v)
		}
	}
	if len(pictures) == 0 { // a variant for each group, with the first of its sounds
		for _, g := range groups {
			v := g.first.list.variant
			v.URI, v.Audio = g.first.playlistName, g.id
			l.variants = append(l.variants, v)
		}
		return l
	}
	for _, g := range groups {
		for _, rd := range pictures {
			v := rd.list.variant
			v.URI, v.Audio = rd.playlistName, g.id
			v.Bandwidth += g.bandwidth
			v.Average += g.average
			if g.codec != "" {
				v.Codecs = strings.TrimPrefix(v.Codecs+","+g.codec, ",")
			}
			l.variants = append(l.variants, v)
		}
	}
	return l
}

// group is the sounds of one codec.
type group struct {
	id, codec          string
	bandwidth, average int64 // of the one that needs most
	first              *rendition
}

// addSounds adds the sounds, and returns their groups: one without a name if there are
// none.
func (l *ladder) addSounds(sounds []*rendition) (groups []*group) {
	var names []string
	for _, rd := range sounds {
		id := strings.ToLower(rd.track.Codec.String())
		at := slices.IndexFunc(groups, func(g *group) bool { return g.id == id })
		fresh := at < 0
		if fresh {
			at = len(groups)
			groups = append(groups, &group{id: id, codec: codec(rd.track), first: rd})
			names = names[:0]
		}
		g := groups[at]
		g.bandwidth = max(g.bandwidth, rd.list.variant.Bandwidth)
		g.average = max(g.average, rd.list.variant.Average)
		name := soundName(rd.track, names)
		names = append(names, name)
		l.sounds = append(l.sounds, m3u8.Sound{Group: g.id, Name: name, Language: media.Language(rd.track.Lang), Default: fresh,
			Channels: rd.track.Channels, URI: rd.playlistName})
	}
	if len(groups) == 0 {
		groups = []*group{{}}
	}
	return groups
}

// soundName is how people tell a sound from others, who have names already.
func soundName(t *media.Track, taken []string) string {
	name := t.Label
	if name == "" {
		name = t.Lang
	}
	if name == "" || name == "und" {
		name = "Audio " + strconv.Itoa(int(t.ID)+1)
	}
	for n := 2; slices.Contains(taken, name); n++ {
		name = strings.TrimSuffix(name, " ("+strconv.Itoa(n-1)+")") + " (" + strconv.Itoa(n) + ")"
	}
	return name
}

// addTo adds what it lists to a playlist of several streams, as the n'th of them: its
// groups of sounds are other than theirs.
func (l *ladder) addTo(out *m3u8.Ladder, n int, to func(v m3u8.Variant, name string) m3u8.Variant) {
	group := func(id string) string {
		if id != "" && n > 0 {
			id += "-" + strconv.Itoa(n+1)
		}
		return id
	}
	out.Independent = out.Independent && l.independent
	for _, s := range l.sounds {
		s.Group, s.URI = group(s.Group), to(m3u8.Variant{}, s.URI).URI
		out.Sounds = append(out.Sounds, s)
	}
	for _, v := range l.variants {
		v.Audio = group(v.Audio)
		out.Variants = append(out.Variants, to(v, v.URI))
	}
	for _, v := range l.iframes {
		out.IFrames = append(out.IFrames, to(v, v.URI))
	}
}

// text writes the playlist; to says what a path below the root is called.
func (l *ladder) text(to func(name string) string) []byte {
	out := m3u8.Ladder{Independent: l.independent, Sounds: slices.Clone(l.sounds), Variants: slices.Clone(l.variants), IFrames: slices.Clone(l.iframes)}
	for i := range out.Sounds {
		out.Sounds[i].URI = to(out.Sounds[i].URI)
	}
	for _, variants := range [][]m3u8.Variant{out.Variants, out.IFrames} {
		for i := range variants {
			variants[i].URI = to(variants[i].URI)
		}
	}
	return out.Append(nil)
}

// allName is where all tracks of the stream are listed, also for those who got the
// first ones at the stream's own name.
func (st *stream) allName() string { return marked(st.playlistName, ".all") }

// ladderFor returns what lists all tracks, if a request is for that: by its name, or
// because it leads a newcomer to the stream. Nil says that the playlist itself is asked
// for.
func (st *stream) ladderFor(it thing, newcomer bool) *ladder {
	if it.iframes || !it.all && (!newcomer || it.of != &st.listing || !st.wantsEach()) {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ladder
}

// file is the playlist for one viewer, or for caches.
func (l *ladder) file(r *http.Request, conf *blocks.HLSConfig, v *shelf.Poller, ctx string) *shelf.File {
	query := withoutCtx(r.URL.RawQuery)
	if conf.Ctx && !conf.Cacheable {
		if ctx == "" {
			ctx = v.Session.ID
		}
		query = strings.TrimSuffix(ctxParam+"="+url.QueryEscape(ctx)+"&"+query, "&")
	}
	if query != "" {
		query = "?" + query
	}
	dir := strings.TrimSuffix(pathpkg.Dir(r.URL.EscapedPath()), "/") + "/"
	if conf.MasterPathRelative || conf.Cacheable || !conf.Ctx {
		dir = ""
	}
	cache := shelf.CacheManifest
	if conf.Cacheable {
		query, cache = "", shelf.CacheShared(max(conf.Fragment/2, time.Second))
	}
	return shelf.Text(typeM3U8, cache, l.text(func(name string) string { return dir + shelf.Escape(base(name)) + query }))
}

func base(name string) string { return pathpkg.Base(name) }
