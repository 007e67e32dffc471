package dash

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	pathpkg "path"
	"strconv"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/format/mpd"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store/past"
)

// Where time_shift keeps what streams were, a manifest is asked for with one of the
// parameters of [shelf]. start says where to begin, and leads to the manifest with behind, which says
// the same in seconds behind live: all its times count from so much later, so that players
// take what was then for what is now. window asks for so many seconds up to live, in which
// players may go back (timeShiftBufferDepth).

// pastDelay is how many segments players are to stay behind the newest one listed.
const pastDelay = 3

// newPastWay finds what is asked of the past.
func (s *server) newPastWay() shelf.PastWay {
	return shelf.PastWay{Ext: ".mpd", Prefix: "dash-", Of: func(v *config.Vhost) (bool, string) {
		conf := blocks.DASH.Of(v)
		return conf.Enabled, conf.MPDFile
	}, Live: func(r *http.Request) (key hub.Key, ok bool) {
		it, ok := s.found.Find(s.env.Conf.Load(), r)
		if !ok || it.file != nil || it.clock {
			return key, false
		}
		return it.stream.key, true
	}}
}

// past answers a request for the past.
func (s *server) past(w http.ResponseWriter, r *http.Request) bool {
	vhost, key, file, ok := s.pastWay.Past(s.env, r)
	if !ok {
		return false
	}
	conf := blocks.DASH.Of(vhost)
	if !shelf.Reads(s.env, w, r) {
		return true
	}
	if file == "dash-time" {
		shelf.New("text/plain", "no-store", "", mpd.AppendTime(nil, time.Now())).Serve(w, r)
		return true
	}
	quiet := max(10*time.Second, 3*conf.Fragment)
	if _, err := s.gate.Enter(r, key, file == "", quiet); err != nil {
		shelf.Refuse(w, err)
		return true
	}
	f, to, err := s.pastFor(r, key, conf, file)
	switch {
	case errors.Is(err, past.ErrTime), errors.Is(err, past.ErrFuture):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, err.Error(), http.StatusNotFound)
	case to != "":
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusFound)
	default:
		s.gate.Serve(w, r, key, f, file == "", quiet)
	}
	return true
}

// pastFor makes what a request is for, or says where else to ask.
func (s *server) pastFor(r *http.Request, key hub.Key, conf *blocks.DASHConfig, file string) (f *shelf.File, to string, err error) {
	tape, err := s.env.Past.Tape(key)
	if err != nil {
		return nil, "", err
	}
	if file != "" {
		f, err = s.pastFile(tape, conf, key, file)
		return f, "", err
	}
	q := r.URL.Query()
	if q.Has(shelf.WindowParam) {
		sec, err := strconv.ParseFloat(q.Get(shelf.WindowParam), 64)
		if err != nil || !(sec > 0) {
			return nil, "", past.ErrTime
		}
		m := s.pastList(tape, key, conf, 0, time.Duration(min(sec, 1e9)*float64(time.Second)))
		return manifestFile(m)
	}
	if q.Has(shelf.BehindParam) {
		start, err := past.ParseStart("-" + q.Get(shelf.BehindParam))
		if err != nil {
			return nil, "", err
		}
		m := s.pastList(tape, key, conf, start.Behind, time.Duration(max(conf.WindowSize, 1))*conf.Fragment)
		return manifestFile(m)
	}
	start, err := past.ParseStart(q.Get(shelf.StartParam))
	if err != nil {
		return nil, "", err
	}
	behind, _, err := tape.Find(start)
	if err != nil {
		return nil, "", err
	}
	query := shelf.BehindParam + "=" + strconv.FormatFloat(behind.Seconds(), 'f', 3, 64)
	for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if part != "" && !strings.HasPrefix(part, shelf.StartParam+"=") {
			query += "&" + part
		}
	}
	return nil, (&url.URL{Path: "./" + pathpkg.Base(r.URL.Path)}).EscapedPath() + "?" + query, nil
}

func manifestFile(m *mpd.Manifest) (*shelf.File, string, error) {
	if m == nil {
		return nil, "", past.ErrNothing
	}
	return shelf.Text("application/dash+xml", shelf.CacheManifest, m.Append(nil)), "", nil
}

// pastList makes the manifest of what was so long behind live, and of what was before that
// for a while; nil if there is nothing.
func (s *server) pastList(tape *past.Tape, key hub.Key, conf *blocks.DASHConfig, behind, depth time.Duration) *mpd.Manifest {
	longest := tape.Longest()
	delay := pastDelay * longest
	// Players stay behind the newest that is listed, so that is listed which they are to see
	// only after that.
	shift := max(behind-delay, 0)
	edge := tape.Live() - shift
	listed := tape.Between(edge-max(depth, 2*delay), edge, pastDelay+1)
	// All times count from one moment: where the clock was set, what is behind that counts.
	for i := len(listed) - 1; i > 0; i-- {
		if !listed[i-1].Run.Origin.Equal(listed[i].Run.Origin) {
			listed = listed[i:]
			break
		}
	}
	if len(listed) == 0 {
		return nil
	}
	folder := key.Stream + shelf.PastMark + "/"
	m := &mpd.Manifest{Start: listed[0].Run.Origin.Add(shift), Published: time.Now(), Base: shelf.Escape(folder), Clock: shelf.Escape("/" + pathpkg.Join(key.App, folder) + "/dash-time"),
		Update: max(min(conf.UpdatePeriod, conf.Fragment), time.Second), Depth: max(depth, edge-listed[0].Start), Delay: delay, Buffer: min(startBuffer, longest)}
	for len(listed) > 0 {
		n := 1
		for n < len(listed) && listed[n].Run == listed[0].Run {
			n++
		}
		m.Periods = append(m.Periods, pastPeriod(listed[:n]))
		listed = listed[n:]
	}
	return m
}

// pastPeriod lists the segments of one run.
func pastPeriod(listed []*past.Segment) mpd.Period {
	run := listed[0].Run
	number := strconv.FormatInt(run.First, 10)
	p := mpd.Period{ID: "past" + number, Start: run.Line}
	for _, kind := range kinds {
		t := run.Layout.Main(kind)
		if t == nil {
			continue
		}
		scale := mp4.Timescale(t)
		set := mpd.Set{ID: words[kind], Codecs: mp4.Codec(t), Width: t.Width, Height: t.Height, Timescale: scale, Offset: max(media.Ticks(run.Start, scale), 0),
			Init: "dash-$RepresentationID$-init-" + number + ".mp4", Media: "dash-$RepresentationID$-" + number + "-$Time$.m4s", First: 1}
		if kind == media.Audio {
			set.SampleRate, set.Channels = t.SampleRate, t.Channels
		}
		var pictures int
		var shown time.Duration
		for _, g := range listed {
			if sp := spanOf(g, kind); sp.Size > 0 {
				set.Timeline = append(set.Timeline, mpd.Entry{Time: sp.Time, Duration: sp.Duration})
				if sp.Duration > 0 {
					set.Bandwidth = max(set.Bandwidth, int64(sp.Size)*8*scale/sp.Duration)
				}
			}
			pictures, shown = pictures+g.Pictures, shown+g.Duration
		}
		if kind == media.Video && shown > 0 {
			set.Rate = float64(pictures) / shown.Seconds()
		}
		if len(set.Timeline) > 0 {
			p.Sets = append(p.Sets, set)
		}
	}
	return p
}

func spanOf(g *past.Segment, k media.Kind) past.Span {
	if k == media.Video {
		return g.Video
	}
	return g.Audio
}

// pastFile returns a segment of one kind, or what such begin with.
func (s *server) pastFile(tape *past.Tape, conf *blocks.DASHConfig, key hub.Key, name string) (*shelf.File, error) {
	cache := shelf.CacheFor(2 * time.Duration(conf.WindowSize) * conf.Fragment)
	for _, kind := range kinds {
		rest, is := strings.CutPrefix(name, "dash-"+words[kind]+"-")
		if !is {
			continue
		}
		if text, init := strings.CutPrefix(rest, "init-"); init {
			n, err := strconv.ParseInt(strings.TrimSuffix(text, ".mp4"), 10, 64)
			if run := tape.Run(n); err == nil && run != nil && run.Init(kind) != nil {
				return shelf.New("video/mp4", cache, run.Tag()+"-"+words[kind], run.Init(kind)), nil
			}
			break
		}
		first, text, _ := strings.Cut(strings.TrimSuffix(rest, ".m4s"), "-")
		n, err1 := strconv.ParseInt(first, 10, 64)
		at, err2 := strconv.ParseInt(text, 10, 64)
		if err1 != nil || err2 != nil {
			break
		}
		for _, g := range tape.All() {
			if sp := spanOf(g, kind); g.Run.First != n || sp.Time != at || sp.Size == 0 {
				continue
			}
			body, err := g.Bytes(kind)
			if err != nil {
				s.env.Log.Warn("segment of time shift cannot be read", "stream", key.String(), "err", err)
				break
			}
			return shelf.New("video/iso.segment", cache, g.Tag()+"-"+words[kind], body...), nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, past.ErrNothing)
}
