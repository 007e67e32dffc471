package m3u8

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a media playlist that [Playlist.Append] wrote. Escapes in URIs
// stay as they are.
func Parse(b []byte) (*Playlist, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrLimit, len(b))
	}
	text := string(b)
	line, text, _ := strings.Cut(text, "\n")
	if strings.TrimRight(line, "\r") != "#EXTM3U" {
		return nil, fmt.Errorf("%w: begins with %.20q", ErrSyntax, line)
	}
	p := parser{p: &Playlist{}}
	for n := 2; text != ""; n++ {
		line, text, _ = strings.Cut(text, "\n")
		if err := p.line(strings.TrimRight(line, "\r")); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return p.p, nil
}

type parser struct {
	p       *Playlist
	next    Segment // what is known of the next segment
	started bool    // it has a duration
}

func (p *parser) line(line string) error {
	switch {
	case line == "":
		return nil
	case line[0] != '#':
		return p.segment(line)
	}
	tag, value, _ := strings.Cut(line, ":")
	var err error
	switch tag {
	case "#EXT-X-VERSION":
		p.p.Version, err = strconv.Atoi(value)
	case "#EXT-X-TARGETDURATION":
		p.p.Target, err = strconv.Atoi(value)
	case "#EXT-X-MEDIA-SEQUENCE":
		p.p.Sequence, err = strconv.ParseUint(value, 10, 64)
	case "#EXT-X-DISCONTINUITY-SEQUENCE":
		p.p.Discontinuities, err = strconv.ParseUint(value, 10, 64)
	case "#EXT-X-DISCONTINUITY":
		p.next.Discontinuity = true
	case "#EXT-X-INDEPENDENT-SEGMENTS":
		p.p.Independent = true
	case "#EXT-X-ENDLIST":
		p.p.End = true
	case "#EXTINF":
		p.next.Duration, err = duration(value)
		p.started = true
	case "#EXT-X-PROGRAM-DATE-TIME":
		p.next.Time, err = time.Parse(timeFormat, value)
	case "#EXT-X-KEY":
		p.next.Key, err = key(value)
	case "#EXT-X-MAP":
		p.next.Map, _ = attribute(value, "URI")
	case "#EXT-X-STREAM-INF":
		err = fmt.Errorf("a master playlist")
	}
	if err != nil {
		return fmt.Errorf("%w: %.40q: %w", ErrSyntax, line, err)
	}
	if p.p.Version < 0 || p.p.Target < 0 {
		return fmt.Errorf("%w: %.40q", ErrSyntax, line)
	}
	return nil
}

func (p *parser) segment(uri string) error {
	if !p.started {
		return fmt.Errorf("%w: segment %.40q without a duration", ErrSyntax, uri)
	}
	if len(p.p.Segments) == MaxSegments {
		return fmt.Errorf("%w: more than %d segments", ErrLimit, MaxSegments)
	}
	p.next.URI = uri
	p.p.Segments = append(p.p.Segments, p.next)
	// Keys and maps hold for the segments that follow.
	p.next = Segment{Key: p.next.Key, Map: p.next.Map}
	p.started = false
	return nil
}

// duration parses the value of EXTINF: seconds, then a title.
func duration(value string) (time.Duration, error) {
	s, _, _ := strings.Cut(value, ",")
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, err
	}
	if !(f >= 0 && f <= MaxDuration.Seconds()) {
		return 0, fmt.Errorf("segment of %v s", f)
	}
	return time.Duration(f*1000+0.5) * time.Millisecond, nil
}

func key(list string) (Key, error) {
	switch method, _ := attribute(list, "METHOD"); method {
	case "NONE":
		return Key{}, nil
	case "AES-128":
	default:
		return Key{}, fmt.Errorf("method %.20q", method)
	}
	uri, _ := attribute(list, "URI")
	k := Key{URI: uri}
	iv, ok := attribute(list, "IV")
	if !ok {
		return k, fmt.Errorf("no IV")
	}
	iv = strings.TrimPrefix(strings.TrimPrefix(iv, "0x"), "0X")
	if len(iv) != 2*len(k.IV) {
		return k, fmt.Errorf("IV of %d digits", len(iv))
	}
	_, err := hex.Decode(k.IV[:], []byte(iv))
	return k, err
}
