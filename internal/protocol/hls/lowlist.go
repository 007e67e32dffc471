package hls

import (
	"bytes"
	"slices"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/service/shelf"
)

// skipAfter is from how many target durations before the end on an update leaves segments
// out.
const skipAfter = 6

// low is what low latency adds to a list. It is immutable.
type low struct {
	conf   m3u8.Low
	target time.Duration
	end    place         // the part that comes next
	left   time.Duration // of the segments that are not written yet
	starts []int         // where in the text segments begin
	skips  int           // how many an update leaves out
	update *list         // without them; nil if there are none
	hinted string        // URI of the next part
}

// lower prepares a list of low latency. mu is held.
func (x *listing) lower(conf *blocks.HLSConfig, l *list, p *m3u8.Playlist) {
	part := partTime(conf)
	if part == 0 || x.hint == "" {
		return
	}
	target := time.Duration(p.Target) * time.Second
	listed := x.index.Listed()
	last := listed[len(listed)-1]
	l.low = &low{target: target, conf: m3u8.Low{Part: part, HoldBack: 3 * part, SkipUntil: skipAfter * target}, end: place{last.Seq + 1, 0},
		hinted: uri(conf.EntryPrefix, x.playlistName, x.hint)}
	if o := x.open; o != nil && len(o.parts) > 0 {
		l.low.end = place{o.seq, len(o.parts)}
	}
	for _, g := range listed {
		l.low.left += g.Duration
		// A part may be longer: of a picture that lasts for long.
		for _, q := range g.parts {
			l.low.conf.Part = max(l.low.conf.Part, q.Duration)
		}
	}
	l.low.conf.HoldBack = 3 * l.low.conf.Part
	p.Low, p.Version = &l.low.conf, 9
}

// mark adds the parts of a segment that is new enough, and notes where it begins.
func (l *low) mark(s *m3u8.Segment, g *segment, at int) {
	if l == nil {
		return
	}
	l.starts = append(l.starts, at)
	l.left -= g.Duration
	if l.left < partsFor*l.target {
		for _, p := range g.parts {
			s.Parts = append(s.Parts, p.Part)
		}
	}
	if l.left >= l.conf.SkipUntil {
		l.skips = len(l.starts)
	}
}

// findParts notes where the URIs of parts end that were appended from at on.
func (l *list) findParts(at int) {
	const tag, uri = "#EXT-X-PART:", `URI="`
	for l.low != nil {
		i := bytes.Index(l.text[at:], []byte(tag))
		if i < 0 {
			return
		}
		at += i + len(tag)
		j := bytes.Index(l.text[at:], []byte(uri))
		end := bytes.IndexByte(l.text[at+j+len(uri):], '"')
		at += j + len(uri) + end
		l.queries = append(l.queries, at)
	}
}

// appendOpen appends the segment that is not whole, and tells what comes next. mu is
// held.
func (x *listing) appendOpen(l *list, prev *m3u8.Segment) {
	if l.low == nil {
		return
	}
	at := len(l.text)
	if o := x.open; o != nil {
		s := &m3u8.Segment{Discontinuity: o.head.Discontinuity}
		if s.Discontinuity {
			s.Time = o.head.Run.At(o.head.Start)
		}
		if o.init != nil {
			s.Map = o.init.uri
		}
		for _, p := range o.parts {
			s.Parts = append(s.Parts, p.Part)
		}
		l.text = m3u8.AppendOpen(l.text, s, prev)
		l.find(at, `#EXT-X-MAP:URI="`)
		l.findParts(at)
	}
	l.text = m3u8.AppendHint(l.text, l.low.hinted)
	l.queries = append(l.queries, len(l.text)-2)
	x.report(l)
	if l.low.skips > 0 {
		l.low.update = l.without(l.low.skips)
	}
}

// report tells how far the other tracks by themselves are. mu is held.
func (x *listing) report(l *list) {
	for _, rd := range x.stream.each {
		o := &rd.listing
		if x.mark == "" || o == x {
			continue
		}
		if p, ok := o.last(); ok {
			at := len(l.text)
			l.text = m3u8.AppendReport(l.text, m3u8.Report{URI: uri("", x.playlistName, o.playlistName), Sequence: p.seq, Part: p.part})
			l.find(at, `URI="`)
		}
	}
}

// last is the newest part; ok is false if there is none. mu is held.
func (x *listing) last() (p place, ok bool) {
	if o := x.open; o != nil && len(o.parts) > 0 {
		return place{o.seq, len(o.parts) - 1}, true
	}
	all := x.index.Listed()
	if len(all) == 0 || len(all[len(all)-1].parts) == 0 {
		return p, false
	}
	newest := all[len(all)-1]
	return place{newest.Seq, len(newest.parts) - 1}, true
}

// without returns the list as an update that leaves segments out.
func (l *list) without(n int) *list {
	head, from := l.low.starts[0], l.low.starts[n:]
	rest := len(l.text)
	if len(from) > 0 {
		rest = from[0]
	}
	u := &list{variant: l.variant, key: l.key, low: l.low}
	u.text = m3u8.AppendSkip(slices.Clone(l.text[:head]), n)
	shift := len(u.text) - rest
	u.text = append(u.text, l.text[rest:]...)
	for _, q := range l.queries {
		if q >= rest {
			u.queries = append(u.queries, q+shift)
		}
	}
	u.file = shelf.Text(typeM3U8, shelf.CacheManifest, u.text)
	return u
}
