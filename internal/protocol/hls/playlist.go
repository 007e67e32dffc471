package hls

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/service/shelf"
)

const (
	typeM3U8 = "application/vnd.apple.mpegurl"
	// codecMP3 is MP3's name in HLS. In MP4 it has another, which browsers do not
	// know.
	codecMP3 = "mp4a.40.34"
)

// list is what is listed at one time. It is immutable.
type list struct {
	text    []byte
	queries []int // where in text the URIs of what we serve end
	file    *shelf.File
	variant m3u8.Variant
	key     bool  // decoding can start at each segment
	low     *low  // what low latency adds; nil without
	iframes *list // the first picture of each segment; nil if that is not listed
}

// render makes the playlist of what is listed, and that of its first pictures if those are
// wanted. mu is held.
func (x *listing) render(conf *blocks.HLSConfig) *list {
	listed := x.index.Listed()
	l := &list{key: true}
	p := m3u8.Playlist{Sequence: uint64(listed[0].Seq), Discontinuities: listed[0].breaks}
	if listed[0].Discontinuity {
		p.Discontinuities-- // its own is still there
	}
	var longest time.Duration
	meant := listed[len(listed)-1].meant
	same := true // all were meant to last alike
	for _, g := range listed {
		longest = max(longest, g.Duration)
		same = same && g.meant == meant
		l.key = l.key && (g.begins || g.gap)
		switch {
		case g.gap:
			p.Version = 8
		case g.init != nil:
			p.Version = max(p.Version, 7)
		}
	}
	// A target may not change (RFC 8216 section 6.2.1), so at least it does not
	// shrink, unless the configuration has become another.
	target := m3u8.Target(longest, meant)
	if same {
		target = max(x.target, target)
	}
	x.target, p.Target, p.Independent = target, target, l.key
	x.lower(conf, l, &p)
	l.write(x, &p, listed)
	l.variant = variant(listed, time.Duration(x.target)*time.Second)
	if conf.IFrames {
		l.iframes = iframesOf(x, p, listed)
	}
	return l
}

// iframesOf makes the playlist of the first picture of each segment, nil if there is none
// or they are encrypted.
func iframesOf(x *listing, p m3u8.Playlist, listed []*segment) *list {
	p.Version, p.Independent, p.IFrames, p.Low = max(p.Version, 4), false, true, nil
	var has bool
	l := &list{key: true}
	for _, g := range listed {
		if g.key != nil {
			return nil
		}
		if has = has || g.first > 0; g.first == 0 {
			p.Version = 8 // a gap
		}
		if d := g.Duration.Seconds(); d > 0 {
			l.variant.Bandwidth = max(l.variant.Bandwidth, int64(8*float64(g.first)/d))
		}
	}
	if !has {
		return nil
	}
	l.variant.Average = l.variant.Bandwidth
	for _, t := range listed[len(listed)-1].tracks() {
		if t.Kind == media.Video {
			l.variant.Codecs, l.variant.Width, l.variant.Height = codec(t), t.Width, t.Height
		}
	}
	l.write(x, &p, listed)
	return l
}

// write makes the text.
func (l *list) write(x *listing, p *m3u8.Playlist, listed []*segment) {
	l.text = m3u8.AppendHead(nil, p)
	prev := &m3u8.Segment{}
	for i, g := range listed {
		s := &m3u8.Segment{URI: g.uri, Duration: g.Duration, Discontinuity: g.Discontinuity, Gap: g.gap}
		if p.IFrames {
			s.Bytes, s.Gap = g.first, g.first == 0
		}
		if i == 0 || g.Discontinuity { // from there players count on
			s.Time = g.Run.At(g.Start)
		}
		if g.init != nil {
			s.Map = g.init.uri
		}
		if g.key != nil {
			s.Key = m3u8.Key{URI: g.key.url, IV: g.key.iv}
		}
		at := len(l.text)
		l.low.mark(s, g, at)
		l.text = m3u8.AppendSegment(l.text, s, prev)
		l.find(at, `#EXT-X-MAP:URI="`)
		if g.key != nil && g.key.uri != "" {
			l.find(at, `#EXT-X-KEY:METHOD=AES-128,URI="`)
		}
		l.findParts(at)
		l.queries = append(l.queries, len(l.text)-1)
		prev = s
	}
	x.appendOpen(l, prev)
	l.file = shelf.Text(typeM3U8, shelf.CacheManifest, l.text)
}

// find notes where the URI of a tag ends, if it is in the text from at on.
func (l *list) find(at int, tag string) {
	_, uri, ok := bytes.Cut(l.text[at:], []byte(tag))
	if end := bytes.IndexByte(uri, '"'); ok && end >= 0 {
		l.queries = append(l.queries, len(l.text)-len(uri)+end)
	}
}

// with returns the playlist in which every segment, and what it needs of us,
// carries a query ("?hls_ctx=...").
func (l *list) with(query string) []byte {
	query = strings.ReplaceAll(query, `"`, "%22")
	b := make([]byte, 0, len(l.text)+len(l.queries)*len(query))
	at := 0
	for _, q := range l.queries {
		b = append(append(b, l.text[at:q]...), query...)
		at = q
	}
	return append(b, l.text[at:]...)
}

// variant measures what is listed. The bandwidth is that of the segments which
// last half the target or longer (RFC 8216bis, "peak segment bit rate").
func variant(listed []*segment, target time.Duration) m3u8.Variant {
	newest := listed[len(listed)-1]
	v := m3u8.Variant{Codecs: codecs(newest)}
	for _, t := range newest.tracks() {
		if t.Kind == media.Video {
			v.Width, v.Height = t.Width, t.Height
		}
	}
	var bits, pictures float64
	var seconds, shown float64
	for _, g := range listed {
		if g.gap {
			continue
		}
		d := g.Duration.Seconds()
		bits, seconds = bits+8*float64(g.size), seconds+d
		if g.Duration >= target/2 {
			v.Bandwidth = max(v.Bandwidth, int64(8*float64(g.size)/d))
			if g.Run == newest.Run {
				pictures, shown = pictures+float64(g.pictures), shown+d
			}
		}
	}
	if seconds > 0 {
		v.Average = int64(bits / seconds)
	}
	if shown > 0 {
		v.Rate = pictures / shown
	}
	v.Bandwidth = max(v.Bandwidth, v.Average)
	return v
}

// codecs names what a segment carries.
func codecs(g *segment) string {
	var names []string
	for _, t := range g.tracks() {
		if g.init == nil && !mpegts.Supported(t) {
			continue
		}
		if name := codec(t); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// codec is a track's name in HLS.
func codec(t *media.Track) string {
	if t.Codec == media.MP3 {
		return codecMP3
	}
	return mp4.Codec(t)
}

// recover returns the number of the first segment: the one after those that the
// playlist on disk lists, so that players that stayed over a restart go on.
func (st *stream) recover(conf *blocks.HLSConfig) int64 {
	if !conf.Files || !conf.Recover || conf.Deterministic {
		return 0
	}
	b, err := st.disk.Read(st.playlistName)
	if err != nil {
		return 0
	}
	old, err := m3u8.Parse(b)
	if err != nil {
		st.log.Warn("hls playlist on disk is not read, the sequence starts at 0", "file", st.playlistName, "err", err)
		return 0
	}
	next := int64(old.Sequence) + int64(len(old.Segments))
	st.breaks = old.Discontinuities
	for _, g := range old.Segments {
		if g.Discontinuity {
			st.breaks++
		}
	}
	st.log.Info(fmt.Sprintf("hls goes on at sequence %d", next))
	return next
}

// save writes a segment's files: what it needs, itself, and the playlist.
func (x *listing) save(conf *blocks.HLSConfig, sg *segment, fresh []*beside, text []byte) {
	st := x.stream
	for _, b := range fresh {
		if b.disk != nil && b.disk != &st.disk {
			b.disk.Complain(b.disk.Write(b.name, b.body))
		}
	}
	if !conf.Files {
		return
	}
	var errs []error
	for _, b := range fresh {
		if b.disk == &st.disk {
			errs = append(errs, b.disk.Write(b.name, b.body))
		}
	}
	if err := writeSegment(&st.disk, sg); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, st.disk.Write(x.playlistName, text))
		if l := x.listed(); l.iframes != nil {
			errs = append(errs, st.disk.Write(x.iframesName(), l.iframes.text))
		}
	}
	st.disk.Complain(errors.Join(errs...))
}

func writeSegment(disk *shelf.Disk, sg *segment) error {
	if sg.gap {
		return nil
	}
	return disk.Write(sg.name, sg.body...)
}
