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
)

// startBuffer is how much players need to begin.
const startBuffer = 2 * time.Second

// render makes the manifest of what is listed. mu is held.
func (st *stream) render(conf *blocks.DASHConfig) *mpd.Manifest {
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
	for len(listed) > 0 {
		p := listed[0].period
		n := slices.IndexFunc(listed, func(g *segment) bool { return g.period != p })
		if n < 0 {
			n = len(listed)
		}
		m.Periods = append(m.Periods, periodOf(p, listed[:n]))
		listed = listed[n:]
	}
	return m
}

// periodOf lists the segments of one period.
func periodOf(p *period, listed []*segment) mpd.Period {
	out := mpd.Period{ID: p.id, Start: p.start}
	for _, k := range kinds {
		t := p.run.Audio
		if k == media.Video {
			t = p.run.Video
		}
		if t == nil {
			continue
		}
		scale := mp4.Timescale(t)
		set := mpd.Set{ID: words[k], Codecs: mp4.Codec(t), Width: t.Width, Height: t.Height, Timescale: scale, Offset: max(media.Ticks(p.run.Start, scale), 0),
			Init: template(p.inits[k], k), Media: "$RepresentationID$-$Number$.m4s"}
		if k == media.Audio {
			set.SampleRate, set.Channels = t.SampleRate, t.Channels
		}
		fill(&set, k, listed)
		if len(set.Timeline) > 0 {
			out.Sets = append(out.Sets, set)
		}
	}
	return out
}

// fill lists one kind's part of the segments, and measures it.
func fill(set *mpd.Set, k media.Kind, listed []*segment) {
	var shown time.Duration
	pictures := 0
	for _, g := range listed {
		p := g.pieces[k]
		if p == nil {
			continue
		}
		if len(set.Timeline) == 0 {
			set.First = p.number
		}
		set.Timeline = append(set.Timeline, mpd.Entry{Time: p.time, Duration: p.duration})
		if p.duration > 0 {
			set.Bandwidth = max(set.Bandwidth, int64(p.size)*8*set.Timescale/p.duration)
		}
		shown, pictures = shown+media.Duration(p.duration, set.Timescale), pictures+g.Pictures()
	}
	if k == media.Video && shown > 0 {
		set.Rate = float64(pictures) / shown.Seconds()
	}
}

// template writes the name of an initialization segment as SRS does.
func template(name string, k media.Kind) string {
	return "$RepresentationID$" + strings.TrimPrefix(pathpkg.Base(name), words[k])
}
