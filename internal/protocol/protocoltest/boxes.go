package protocoltest

import (
	"encoding/binary"
	"fmt"
)

// A Span is what one track of a segment covers, in ticks.
type Span struct {
	Track          uint32
	Time, Duration int64
	Samples        int
	// Key says that its first sample is a sync sample.
	Key bool
}

// Spans reads the movie fragments of a segment, and joins those of one track.
func Spans(b []byte) (spans []Span, err error) {
	for len(b) > 0 {
		name, body, rest, err := box(b)
		if err != nil {
			return nil, err
		}
		if b = rest; name != "moof" {
			continue
		}
		for len(body) > 0 {
			var traf []byte
			if name, traf, body, err = box(body); err != nil {
				return nil, err
			}
			if name != "traf" {
				continue
			}
			s, err := span(traf)
			if err != nil {
				return nil, err
			}
			if spans, err = join(spans, s); err != nil {
				return nil, err
			}
		}
	}
	return spans, nil
}

func join(spans []Span, s Span) ([]Span, error) {
	for i := range spans {
		if spans[i].Track != s.Track {
			continue
		}
		if end := spans[i].Time + spans[i].Duration; s.Time < end {
			return nil, fmt.Errorf("track %d begins again at %d, before its end at %d", s.Track, s.Time, end)
		}
		spans[i].Duration = s.Time + s.Duration - spans[i].Time
		spans[i].Samples += s.Samples
		return spans, nil
	}
	return append(spans, s), nil
}

// span reads a track fragment in the forms that are usual for CMAF.
func span(traf []byte) (s Span, err error) {
	var name string
	var body []byte
	flags := uint32(0)
	for len(traf) > 0 {
		if name, body, traf, err = box(traf); err != nil {
			return s, err
		}
		switch name {
		case "tfhd":
			s.Track, flags = be32(body, 4), be32(body, 8) // only default flags are there
		case "tfdt":
			s.Time = int64(be32(body, 4))<<32 | int64(be32(body, 8))
		case "trun":
			has, at := be32(body, 0)&0xffffff, 12
			s.Samples = int(be32(body, 4))
			for i := range s.Samples {
				s.Duration += int64(be32(body, at))
				if at += 8; has&0x400 != 0 {
					if i == 0 {
						flags = be32(body, at)
					}
					at += 4
				}
				if has&0x800 != 0 {
					at += 4
				}
			}
			if at != len(body) {
				return s, fmt.Errorf("trun of %d bytes for %d samples", len(body), s.Samples)
			}
		}
	}
	s.Key = flags&0x10000 == 0
	return s, nil
}

func box(b []byte) (name string, body, rest []byte, err error) {
	if len(b) < 8 {
		return "", nil, nil, fmt.Errorf("%d bytes are no box", len(b))
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < 8 || n > len(b) {
		return "", nil, nil, fmt.Errorf("box %q of %d bytes in %d", b[4:8], n, len(b))
	}
	return string(b[4:8]), b[8:n], b[n:], nil
}

func be32(b []byte, at int) uint32 {
	if at+4 > len(b) {
		return 0
	}
	return binary.BigEndian.Uint32(b[at:])
}
