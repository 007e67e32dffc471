package protocoltest

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// hlsPart is a part of a segment, as a player understands it.
type hlsPart struct {
	uri         string
	duration    float64
	independent bool
}

var (
	partRE    = regexp.MustCompile(`^DURATION=([0-9.]+),URI="([^"]+)"(,INDEPENDENT=YES)?$`)
	controlRE = regexp.MustCompile(`^CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=([0-9.]+),CAN-SKIP-UNTIL=([0-9.]+)$`)
)

// lowLine reads a line of low latency; false says that it is none.
func (p *hlsReader) lowLine(tag, value string) bool {
	float := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			p.err = fmt.Errorf("%s:%s", tag, value)
		}
		return f
	}
	switch tag {
	case "#EXT-X-SERVER-CONTROL":
		m := controlRE.FindStringSubmatch(value)
		if m == nil {
			p.err = fmt.Errorf("%s:%s", tag, value)
			return true
		}
		p.holdBack = float(m[1])
		if skip := float(m[2]); skip < 6*float64(p.target) {
			p.err = fmt.Errorf("segments are skipped from %v s on, the target is %d", skip, p.target)
		}
	case "#EXT-X-PART-INF":
		p.part = float(strings.TrimPrefix(value, "PART-TARGET="))
	case "#EXT-X-PART":
		m := partRE.FindStringSubmatch(value)
		if m == nil {
			p.err = fmt.Errorf("%s:%s", tag, value)
			return true
		}
		p.next.parts = append(p.next.parts, hlsPart{m[2], float(m[1]), m[3] != ""})
	case "#EXT-X-PRELOAD-HINT":
		if p.hint != "" {
			p.err = fmt.Errorf("two hints")
		}
		p.hint = strings.TrimSuffix(strings.TrimPrefix(value, `TYPE=PART,URI="`), `"`)
	default:
		return false
	}
	return true
}

// readLow holds a playlist to RFC 8216bis 4.4.3.7, 4.4.3.8 and 4.4.4.9, and fetches the
// parts that are new. What has parts but is no segment yet is the last.
func (r *HLSRules) readLow(p *hlsReader) error {
	if p.part == 0 && p.hint == "" && len(p.next.parts) == 0 {
		return nil // nobody publishes
	}
	if p.version < 9 || p.part <= 0 || p.holdBack < 3*p.part-0.001 || p.hint == "" {
		return fmt.Errorf("version %d, parts of %v s, %v s behind, hint %q", p.version, p.part, p.holdBack, p.hint)
	}
	if r.parts == nil {
		r.parts = map[string][]byte{}
	}
	listed := map[string]bool{}
	for _, s := range append(p.all, p.next) {
		total := 0.
		for _, q := range s.parts {
			total += q.duration
			listed[q.uri] = true
			if q.duration > p.part+0.001 {
				return fmt.Errorf("%s lasts %v s of %v", q.uri, q.duration, p.part)
			}
			if _, ok := r.parts[q.uri]; ok {
				continue
			}
			b, err := r.get(q.uri)
			if err != nil || len(b) == 0 {
				return fmt.Errorf("part %s has %d bytes, %w", q.uri, len(b), err)
			}
			r.parts[q.uri] = b
		}
		if n := float64(len(s.parts)); n > 0 && s.uri != "" && math.Abs(total-s.duration) > 0.001*(n+1) {
			return fmt.Errorf("the parts of %s last %v s, it lasts %v", s.uri, total, s.duration)
		}
	}
	if listed[p.hint] {
		return fmt.Errorf("the hint %s is there already", p.hint)
	}
	for name := range r.parts {
		if !listed[name] {
			delete(r.parts, name)
		}
	}
	return nil
}

// sum checks that a segment is its parts.
func (r *HLSRules) sum(s *hlsSegment, b []byte) error {
	var all []byte
	for _, q := range s.parts {
		all = append(all, r.parts[q.uri]...)
	}
	if len(s.parts) > 0 && !bytes.Equal(all, b) {
		return fmt.Errorf("it has %d bytes, its parts %d", len(b), len(all))
	}
	return nil
}
