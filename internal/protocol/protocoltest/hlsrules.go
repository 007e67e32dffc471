package protocoltest

import (
	"bytes"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HLSRules looks at one media playlist again and again, as a player does, and
// holds it to RFC 8216 and to what Apple asks of live streams.
type HLSRules struct {
	Sink *Sink
	Path string
	// Window is how much may be listed, with the segment that it begins in.
	Window time.Duration
	// Low says that it is of low latency.
	Low bool
	// Target is what TARGETDURATION must be, 0 for anything that does not shrink.
	Target int

	known  map[int64]hlsSegment // all that was ever listed, by number
	first  int64
	last   int64 // the newest number
	target int
	since  map[int64]time.Time // when a segment left the playlist
	ts     tsRules
	parts  map[string][]byte // by URI, of low latency
}

// hlsSegment is a segment as a player understands it.
type hlsSegment struct {
	number, breaks int64
	uri, imap, key string
	duration       float64
	discontinuity  bool
	independent    bool
	gap            bool
	parts          []hlsPart
	at             time.Time // by PROGRAM-DATE-TIME
	size           int
	ended          map[uint32]int64 // by track, of fragmented MP4
}

// Look fetches the playlist and what is new in it. It returns what is wrong.
func (r *HLSRules) Look() error {
	w := r.Sink.Get(r.Path)
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/vnd.apple.mpegurl" {
		return fmt.Errorf("playlist: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	text := w.Body.String()
	all, err := r.read(text)
	if err == nil {
		err = r.compare(all)
	}
	if err == nil {
		err = r.fetch(all)
	}
	if err == nil {
		err = r.leaving(all)
	}
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, text)
	}
	return nil
}

// read parses the playlist, strictly.
func (r *HLSRules) read(text string) ([]hlsSegment, error) {
	if !strings.HasPrefix(text, "#EXTM3U\n#EXT-X-VERSION:") || !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("no head or no end")
	}
	p := hlsReader{seen: map[string]bool{}, target: -1, low: r.Low}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if p.line(line); p.err != nil {
			return nil, p.err
		}
	}
	if len(p.all) == 0 || p.target < 0 {
		return nil, fmt.Errorf("nothing is listed")
	}
	if r.Low {
		if err := r.readLow(&p); err != nil {
			return nil, err
		}
	}
	if target := int(p.target); r.target != 0 && target < r.target || r.Target != 0 && target != r.Target {
		return nil, fmt.Errorf("target %d after %d", target, r.target)
	}
	r.target = int(p.target)
	return p.all, nil
}

// hlsReader keeps what the lines so far have said, and the first fault.
type hlsReader struct {
	all                               []hlsSegment
	next                              hlsSegment
	seen                              map[string]bool
	version, target, sequence, breaks int64
	independent                       bool
	clock                             time.Time // when the next segment began
	low                               bool
	part, holdBack                    float64 // of low latency: the longest part, and how far players stay behind
	hint                              string
	err                               error
}

func (p *hlsReader) line(line string) {
	tag, value, _ := strings.Cut(line, ":")
	switch tag {
	case "#EXTM3U":
	case "#EXT-X-VERSION":
		p.version = p.number(tag, value)
	case "#EXT-X-TARGETDURATION":
		p.target = p.number(tag, value)
	case "#EXT-X-MEDIA-SEQUENCE":
		p.sequence = p.number(tag, value)
	case "#EXT-X-DISCONTINUITY-SEQUENCE":
		p.breaks = p.number(tag, value)
	case "#EXT-X-INDEPENDENT-SEGMENTS":
		p.independent = true
	case "#EXT-X-DISCONTINUITY":
		p.next.discontinuity = true
		p.breaks++
		p.clock = time.Time{}
	case "#EXT-X-GAP":
		p.next.gap = true
		if p.version < 8 {
			p.err = fmt.Errorf("a gap in version %d", p.version)
		}
	case "#EXT-X-MAP":
		if p.version < 6 {
			p.err = fmt.Errorf("a map in version %d", p.version)
		}
		p.next.imap = strings.Trim(strings.TrimPrefix(value, "URI="), `"`)
	case "#EXT-X-KEY":
		p.next.key = value
	case "#EXT-X-PROGRAM-DATE-TIME":
		t, err := time.Parse("2006-01-02T15:04:05.000Z", value)
		if d := t.Sub(p.clock); err != nil || !p.clock.IsZero() && (d > 2*time.Millisecond || d < -2*time.Millisecond) {
			p.err = fmt.Errorf("%s, expected about %v", line, p.clock)
		}
		p.clock = t
	case "#EXTINF":
		f, err := strconv.ParseFloat(strings.TrimSuffix(value, ", no desc"), 64)
		if err != nil || f <= 0 || int64(math.Round(f)) > p.target {
			p.err = fmt.Errorf("%s, target %d", line, p.target)
		}
		p.next.duration = f
	default:
		if p.low && p.lowLine(tag, value) {
			return
		}
		p.uri(line)
	}
}

// number reads the value of a tag that may stand once.
func (p *hlsReader) number(tag, value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || p.seen[tag] {
		p.err = fmt.Errorf("%s:%s, or twice", tag, value)
	}
	p.seen[tag] = true
	return n
}

// uri ends a segment.
func (p *hlsReader) uri(line string) {
	switch s := &p.next; {
	case strings.HasPrefix(line, "#") || line == "":
		p.err = fmt.Errorf("line %q", line)
	case s.duration == 0 || p.clock.IsZero():
		p.err = fmt.Errorf("%s has no duration or no time", line)
	default:
		s.uri, s.number, s.breaks, s.independent, s.at = line, p.sequence, p.breaks, p.independent, p.clock
		p.all = append(p.all, *s)
		p.sequence++
		p.clock = p.clock.Add(time.Duration(s.duration * 1e9))
		p.next = hlsSegment{imap: s.imap, key: s.key}
	}
}

// compare holds a playlist against those before.
func (r *HLSRules) compare(all []hlsSegment) error {
	if r.known == nil {
		r.known, r.since = map[int64]hlsSegment{}, map[int64]time.Time{}
		r.first, r.last = all[0].number, all[0].number-1
	}
	if all[0].number < r.first {
		return fmt.Errorf("MEDIA-SEQUENCE went back from %d", r.first)
	}
	if newest := all[len(all)-1].number; newest < r.last {
		return fmt.Errorf("the newest was %d", r.last)
	}
	total := 0.
	for _, s := range all {
		total += s.duration
		old, ok := r.known[s.number]
		for n, o := range r.known {
			if n != s.number && o.uri == s.uri {
				return fmt.Errorf("%d was %s and is %d", n, s.uri, s.number)
			}
		}
		switch {
		case !ok && s.number <= r.last:
			return fmt.Errorf("%d came later than %d", s.number, r.last)
		case ok && (old.uri != s.uri || old.duration != s.duration || old.discontinuity != s.discontinuity || old.breaks != s.breaks || old.imap != s.imap || old.key != s.key):
			return fmt.Errorf("%d was %+v and is %+v", s.number, old, s)
		case ok && (s.at.Sub(old.at) > 5*time.Millisecond || old.at.Sub(s.at) > 5*time.Millisecond):
			return fmt.Errorf("%d was at %v and is at %v", s.number, old.at, s.at)
		}
	}
	// The oldest may reach over the beginning of the window, as in SRS.
	if len(all) > 1 && total-all[0].duration > r.Window.Seconds()+0.01 {
		return fmt.Errorf("%.3f s are listed", total)
	}
	return nil
}

// fetch gets what is new, and looks at what is in it.
func (r *HLSRules) fetch(all []hlsSegment) error {
	for _, s := range all {
		if _, ok := r.known[s.number]; ok {
			continue
		}
		if s.gap {
			r.known[s.number], r.last = s, s.number
			continue
		}
		b, err := r.get(s.uri)
		if err != nil {
			return err
		}
		s.size = len(b)
		if s.imap != "" {
			if _, err := r.get(s.imap); err != nil {
				return err
			}
		}
		if s.key == "" {
			err = r.inside(&s, b)
		}
		if err == nil {
			err = r.sum(&s, b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.uri, err)
		}
		r.known[s.number] = s
		r.last = s.number
	}
	return nil
}

// inside looks at a segment that is not encrypted.
func (r *HLSRules) inside(s *hlsSegment, b []byte) error {
	if s.imap == "" {
		return r.ts.segment(b, s.discontinuity, s.independent)
	}
	spans, err := Spans(b)
	if err != nil || len(spans) == 0 {
		return fmt.Errorf("%d tracks, %w", len(spans), err)
	}
	s.ended = map[uint32]int64{}
	before := r.known[s.number-1]
	for _, sp := range spans {
		s.ended[sp.Track] = sp.Time + sp.Duration
		if end, ok := before.ended[sp.Track]; ok && !s.discontinuity && (sp.Time < end || before.imap != s.imap) {
			return fmt.Errorf("track %d begins at %d, the segment before ends at %d", sp.Track, sp.Time, end)
		}
		if s.independent && !sp.Key {
			return fmt.Errorf("track %d does not begin with a key frame", sp.Track)
		}
	}
	return nil
}

// leaving checks that what has left the playlist is there for as long again.
func (r *HLSRules) leaving(all []hlsSegment) error {
	now := time.Now()
	for ; r.first < all[0].number; r.first++ {
		r.since[r.first] = now
	}
	for n, since := range r.since {
		s := r.known[n]
		if now.Sub(since) > time.Duration(s.duration*1e9)+r.Window {
			delete(r.since, n)
			delete(r.known, n-1) // still looked at from n
			continue
		}
		if _, err := r.get(s.uri); s.uri != "" && !s.gap && err != nil {
			return fmt.Errorf("%d has left since %v: %w", n, now.Sub(since), err)
		}
	}
	return nil
}

// get fetches what a playlist names.
func (r *HLSRules) get(uri string) ([]byte, error) {
	base, err := url.Parse(r.Path)
	if err != nil {
		return nil, err
	}
	to, err := base.Parse(uri)
	if err != nil {
		return nil, err
	}
	w := r.Sink.Get(to.String())
	if w.Code != 200 {
		return nil, fmt.Errorf("%s: %d", uri, w.Code)
	}
	return bytes.Clone(w.Body.Bytes()), nil
}
