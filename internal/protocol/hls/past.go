package hls

import (
	"errors"
	"net/http"
	pathpkg "path"
	"strconv"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
	"weir/internal/store/past"
)

// Where time_shift keeps what streams were, a playlist is asked for with one of the
// parameters of [shelf]. start says where to begin; the answer is a multivariant playlist that leads to
// one with behind, which says the same in seconds behind live: whoever asks for it again
// gets what has moved on since, and nothing needs to be remembered of a viewer. window asks
// for so many seconds up to live, for players to go back in.

// startsAt is how many target durations before the end of a playlist players begin: so
// much is listed behind what a viewer is to see first.
const startsAt = 3

var errEncrypted = errors.New("hls_keys is on, and what time_shift keeps is not encrypted: it is not given out by HLS")

// newPastWay finds what is asked of the past.
func (s *server) newPastWay() shelf.PastWay {
	return shelf.PastWay{Ext: ".m3u8", Prefix: "hls-", Of: func(v *config.Vhost) (bool, string) {
		conf := blocks.HLS.Of(v)
		return conf.Enabled, conf.M3U8File
	}, Live: func(r *http.Request) (key hub.Key, ok bool) {
		it, ok := s.found.Find(s.env.Conf.Load(), r)
		if !ok || it.of == nil || it.of != &it.of.stream.listing || it.all || it.iframes {
			return key, false
		}
		return it.of.stream.key, true
	}}
}

// past answers a request for the past.
func (s *server) past(w http.ResponseWriter, r *http.Request) bool {
	vhost, key, file, ok := s.pastWay.Past(s.env, r)
	if !ok {
		return false
	}
	conf := blocks.HLS.Of(vhost)
	if !shelf.Reads(s.env, w, r) {
		return true
	}
	if conf.Keys {
		http.Error(w, errEncrypted.Error(), http.StatusNotImplemented)
		return true
	}
	if file != "" {
		s.sendPastFile(w, r, key, conf, file)
		return true
	}
	v, err := s.viewer(r, key, conf, viewerID(r, key, conf))
	if err != nil {
		shelf.Refuse(w, err)
		return true
	}
	f, err := s.pastFor(r, key, conf, v)
	if err != nil {
		refusePast(w, err)
		return true
	}
	v.Session.Count(len(r.URL.RequestURI()), f.Size)
	shelf.Give(s.env.Conf.Load(), w, r, key, f)
	return true
}

func refusePast(w http.ResponseWriter, err error) {
	status := http.StatusNotFound
	if errors.Is(err, past.ErrTime) || errors.Is(err, past.ErrFuture) {
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

// pastFor makes the playlist that a viewer asks for.
func (s *server) pastFor(r *http.Request, key hub.Key, conf *blocks.HLSConfig, v *shelf.Poller) (*shelf.File, error) {
	tape, err := s.env.Past.Tape(key)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	query := withoutCtx(r.URL.RawQuery)
	live := tape.Live()
	longest := tape.Longest()
	ahead := startsAt*time.Duration(m3u8.Target(longest, 0))*time.Second - longest // to where the last one begins
	var listed []*past.Segment
	if q.Has(shelf.WindowParam) {
		sec, err := strconv.ParseFloat(q.Get(shelf.WindowParam), 64)
		if err != nil || !(sec > 0) {
			return nil, past.ErrTime
		}
		query = without(query, shelf.StartParam)
		listed = tape.Between(live-time.Duration(min(sec, 1e9)*float64(time.Second)), live, startsAt)
	} else {
		behind, start := q.Get(shelf.BehindParam), past.Start{}
		if start, err = past.ParseStart(q.Get(shelf.StartParam)); q.Has(shelf.BehindParam) {
			start, err = past.ParseStart("-" + behind)
		}
		if err != nil {
			return nil, err
		}
		if !q.Has(shelf.BehindParam) {
			if start.Behind, _, err = tape.Find(start); err != nil {
				return nil, err
			}
			query = without(query, shelf.StartParam)
			query = strings.TrimSuffix(shelf.BehindParam+"="+strconv.FormatFloat(start.Behind.Seconds(), 'f', 3, 64)+"&"+query, "&")
		}
		at := live - start.Behind
		listed = tape.Between(at-conf.Window/2, at+ahead, startsAt)
	}
	if len(listed) == 0 {
		return nil, past.ErrNothing
	}
	ctx := q.Get(ctxParam)
	if named := conf.Ctx && !conf.Cacheable; q.Has(shelf.StartParam) || named && ctx == "" {
		if named {
			if ctx == "" {
				ctx = v.Session.ID
			}
			query = ctxParam + "=" + ctx + "&" + query
		}
		return pastLadder(r, conf, listed, query), nil
	}
	suffix := ""
	if conf.Ctx && !conf.Cacheable && conf.TSCtx {
		suffix = "?" + ctxParam + "=" + strings.ReplaceAll(ctx, `"`, "%22")
	}
	return s.pastList(key, conf, tape, listed, suffix), nil
}

// without returns a query without a parameter, as it was written.
func without(query, name string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if part != "" && !strings.HasPrefix(part, name+"=") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// pastLadder leads to the playlist of the same path with another query.
func pastLadder(r *http.Request, conf *blocks.HLSConfig, listed []*past.Segment, query string) *shelf.File {
	v := m3u8.Variant{URI: r.URL.EscapedPath()}
	if conf.MasterPathRelative {
		v.URI = pathpkg.Base(v.URI)
	}
	v.URI += "?" + query
	var bytes int
	var lasts, shown time.Duration
	pictures := 0
	last := listed[len(listed)-1].Run
	for _, g := range listed {
		bytes, lasts = bytes+g.Size(), lasts+g.Duration
		if d := g.Duration.Seconds(); d > 0 {
			v.Bandwidth = max(v.Bandwidth, int64(8*float64(g.Size())/d))
		}
		if g.Run == last {
			pictures, shown = pictures+g.Pictures, shown+g.Duration
		}
	}
	if lasts > 0 {
		v.Average = int64(8 * float64(bytes) / lasts.Seconds())
	}
	if shown > 0 {
		v.Rate = float64(pictures) / shown.Seconds()
	}
	var names []string
	for _, t := range last.Layout.Tracks {
		if t.Kind == media.Video {
			v.Width, v.Height = t.Width, t.Height
		}
		if name := codec(t); name != "" {
			names = append(names, name)
		}
	}
	v.Codecs = strings.Join(names, ",")
	return shelf.Text(typeM3U8, shelf.CacheManifest, m3u8.AppendMaster(nil, independent(listed), v))
}

// independent reports whether decoding can start at each segment.
func independent(listed []*past.Segment) bool {
	for _, g := range listed {
		if !g.Key {
			return false
		}
	}
	return true
}

// pastList lists segments of the past.
func (s *server) pastList(key hub.Key, conf *blocks.HLSConfig, tape *past.Tape, listed []*past.Segment, suffix string) *shelf.File {
	playlist := pathpkg.Clean(store.Expand(conf.M3U8File, key, time.Time{}))
	at := func(name string) string {
		return uri(conf.EntryPrefix, playlist, pathpkg.Join(key.App, key.Stream+shelf.PastMark, name)) + suffix
	}
	p := m3u8.Playlist{Version: 7, Sequence: uint64(listed[0].Seq), Discontinuities: uint64(listed[0].Breaks), Target: m3u8.Target(tape.Longest(), 0), Independent: independent(listed)}
	if listed[0].Discontinuity {
		p.Discontinuities-- // its own is still there
	}
	for i, g := range listed {
		sg := m3u8.Segment{URI: at("hls-" + strconv.FormatInt(g.Seq, 10) + ".m4s"), Duration: g.Duration, Discontinuity: g.Discontinuity, Map: at("hls-init-" + strconv.FormatInt(g.Run.First, 10) + ".mp4")}
		if i == 0 || g.Discontinuity {
			sg.Time = g.Began()
		}
		p.Segments = append(p.Segments, sg)
	}
	f := shelf.Text(typeM3U8, shelf.CacheManifest, p.Append(nil))
	if conf.Cacheable {
		f.Cache = shelf.CacheShared(max(conf.Fragment/2, time.Second))
	}
	return f
}

// sendPastFile answers with a segment of the past, or what it begins with.
func (s *server) sendPastFile(w http.ResponseWriter, r *http.Request, key hub.Key, conf *blocks.HLSConfig, name string) {
	f, err := s.pastFile(key, conf, name)
	if err != nil {
		refusePast(w, err)
		return
	}
	s.sendFile(w, r, thing{file: f, key: key})
}

func (s *server) pastFile(key hub.Key, conf *blocks.HLSConfig, name string) (*shelf.File, error) {
	tape, err := s.env.Past.Tape(key)
	if err != nil {
		return nil, err
	}
	number, kind := strings.TrimPrefix(name, "hls-"), pathpkg.Ext(name)
	number, init := strings.CutPrefix(strings.TrimSuffix(number, kind), "init-")
	n, err := strconv.ParseInt(number, 10, 64)
	cache := shelf.CacheFor(2 * conf.Window)
	switch {
	case err != nil:
	case init && kind == ".mp4":
		if run := tape.Run(n); run != nil {
			return shelf.New(mime(name), cache, run.Tag(), run.Init(0)), nil
		}
	case !init && kind == ".m4s":
		g := tape.Number(n)
		if g == nil {
			break
		}
		body, err := g.Bytes(0)
		if err != nil {
			s.env.Log.Warn("segment of time shift cannot be read", "stream", key.String(), "err", err)
			break
		}
		return shelf.New(mime(name), cache, g.Tag(), body...), nil
	}
	return nil, past.ErrNothing
}
