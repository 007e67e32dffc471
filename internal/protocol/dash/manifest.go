package dash

import (
	pathpkg "path"
	"slices"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/format/mpd"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// startBuffer is how much players need to begin.
const startBuffer = 2 * time.Second

// render makes the manifest of what is listed; early, with low latency, also of what is
// being made. mu is held.
func (st *stream) render(conf *blocks.DASHConfig, early bool) *mpd.Manifest {
	listed := st.index.Listed()
	var longest, total time.Duration
	for _, g := range listed {
		longest = max(longest, g.Duration)
		total += g.Duration
	}
	// What players are to stay behind is as long as a window is: with a short one,
	// they would ask for what is about to go.
	behind := time.Duration(min(3, max(conf.WindowSize-1, 1))) * longest
	m := &mpd.Manifest{Start: st.begins, Published: time.Now(), Base: shelf.Escape(pathpkg.Base(st.dir)) + "/", Clock: "/" + shelf.Escape(st.clock()),
		Update: max(min(conf.UpdatePeriod, conf.Fragment), time.Second), Depth: max(total, time.Duration(conf.WindowSize)*longest), Delay: behind, Buffer: min(startBuffer, longest)}
	if early && conf.LowLatency {
		listed = st.lower(conf, m, listed, longest)
	}
	for len(listed) > 0 {
		p := listed[0].period
		n := slices.IndexFunc(listed, func(g *segment) bool { return g.period != p })
		if n < 0 {
			n = len(listed)
		}
		m.Periods = append(m.Periods, st.listedIn(p, listed[:n]))
		listed = listed[n:]
	}
	return m
}

// listedIn lists the segments of one period.
func (st *stream) listedIn(p *period, listed []*segment) mpd.Period {
	out := mpd.Period{ID: p.id, Start: p.start}
	for _, t := range st.tracks(p.run) {
		rep := repOf(p.run, t)
		scale := mp4.Timescale(t)
		set := mpd.Set{ID: rep, Codecs: mp4.Codec(t), Width: t.Width, Height: t.Height, Timescale: scale, Offset: max(media.Ticks(p.offset, scale), 0),
			Init: template(p.inits[rep], rep), Media: "$RepresentationID$-$Number$.m4s"}
		if p.run.Grid {
			set.Media = "$RepresentationID$-$Time$.m4s"
		}
		if t.Kind == media.Audio {
			set.SampleRate, set.Channels = t.SampleRate, t.Channels
		}
		fill(&set, rep, t.Kind, listed)
		if p.run.Grid {
			set.First = 1 // of no account
		}
		if len(set.Timeline) > 0 {
			place(&out, &set, p.run, t)
		}
	}
	return out
}

// place adds a representation to a period. Pictures of a codec are choices of one
// adaptation set; each sound is a set of its own.
func place(p *mpd.Period, set *mpd.Set, r *store.Run, t *media.Track) {
	main := t == r.Video || t == r.Audio
	if r.Several() {
		set.Lang, set.Label = media.Language(t.Lang), t.Label
		if set.Role = "alternate"; main {
			set.Role = "main"
		}
	}
	if !main {
		set.Number = 2 * (int(t.ID) + 1)
		if t.Kind == media.Video {
			set.Number++
		}
	}
	if t.Kind == media.Video {
		at := slices.IndexFunc(p.Sets, func(o mpd.Set) bool {
			return !o.Joins && strings.HasPrefix(o.ID, words[media.Video]) && family(o.Codecs) == family(set.Codecs)
		})
		if at >= 0 {
			head := &p.Sets[at]
			head.Uneven = head.Uneven || !slices.Equal(head.Timeline, set.Timeline)
			set.Joins = true
			for at++; at < len(p.Sets) && p.Sets[at].Joins; at++ {
			}
			p.Sets = slices.Insert(p.Sets, at, *set)
			return
		}
	}
	p.Sets = append(p.Sets, *set)
}

// family is what codecs have in common that players can go over between.
func family(codecs string) string {
	head, _, _ := strings.Cut(codecs, ".")
	return head
}

// fill lists one representation's part of the segments, and measures it.
func fill(set *mpd.Set, rep string, k media.Kind, listed []*segment) {
	var shown time.Duration
	pictures := 0
	for _, g := range listed {
		p := g.piece(rep)
		if p == nil {
			continue
		}
		if len(set.Timeline) == 0 {
			set.First = p.number
		}
		set.Timeline = append(set.Timeline, mpd.Entry{Time: p.time, Duration: max(p.duration, p.promised)})
		if p.promised > 0 && set.Bandwidth > 0 {
			continue // it has hardly more than its first picture
		}
		if p.duration > 0 {
			set.Bandwidth = max(set.Bandwidth, int64(p.size)*8*set.Timescale/p.duration)
		}
		shown, pictures = shown+media.Duration(p.duration, set.Timescale), pictures+p.frames
	}
	if k == media.Video && shown > 0 {
		set.Rate = float64(pictures) / shown.Seconds()
	}
}

// template writes the name of an initialization segment as SRS does.
func template(name, rep string) string {
	return "$RepresentationID$" + strings.TrimPrefix(pathpkg.Base(name), rep)
}
