package past

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
)

// The index of a reel is lines of JSON: a head, then one for each segment. A line that
// breaks off, as a crash leaves it, counts as not written.

// head says what a reel is of. Times are nanoseconds.
type head struct {
	Weir   int    `json:"weir"`
	Stream string `json:"stream"`
	// Run is the number of the first segment of the run, whose times follow; see [Run].
	Run    int64          `json:"run"`
	Line   time.Duration  `json:"line"`
	Start  time.Duration  `json:"start"`
	Began  int64          `json:"began"`
	Origin int64          `json:"origin"`
	Tracks []*media.Track `json:"tracks"`
	Meta   []byte         `json:"meta,omitempty"`
}

// line is a segment: where it lies, the picture's bytes first, and what [Segment] says.
type line struct {
	Seq      int64         `json:"n"`
	Off      int64         `json:"at"`
	Start    time.Duration `json:"start"`
	Duration time.Duration `json:"lasts"`
	Video    [3]int64      `json:"video"` // size, time, duration
	Audio    [3]int64      `json:"audio"`
	Key      bool          `json:"key"`
	Broken   bool          `json:"broken,omitempty"`
	Pictures int           `json:"pictures"`
	Breaks   int64         `json:"breaks,omitempty"`
}

const (
	version = 1
	// mostIndex is the longest index, and mostSegment the largest segment, that is read.
	mostIndex   = 8 << 20
	mostSegment = 192 << 20
	// mostTime bounds times on a line: some thirty years.
	mostTime = 1 << 60
)

var errIndex = errors.New("time shift: damaged index")

// appendHead and appendLine write a line each.
func appendHead(dst []byte, stream string, r *Run) []byte {
	return appendJSON(dst, &head{Weir: version, Stream: stream, Run: r.First, Line: r.Line, Start: r.Start, Began: r.Began.UnixNano(), Origin: r.Origin.UnixNano(), Tracks: r.Layout.Tracks, Meta: r.Layout.Meta})
}

func appendLine(dst []byte, s *Segment, off int64) []byte {
	span := func(p Span) [3]int64 { return [3]int64{int64(p.Size), p.Time, p.Duration} }
	return appendJSON(dst, &line{Seq: s.Seq, Off: off, Start: s.Start, Duration: s.Duration, Video: span(s.Video), Audio: span(s.Audio), Key: s.Key, Broken: s.Discontinuity, Pictures: s.Pictures, Breaks: s.Breaks})
}

func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return dst // it holds nothing that cannot be written
	}
	return append(append(dst, b...), '\n')
}

// readIndex reads the lines of an index: the head first, unless run is what it says
// already. It returns how many bytes those were; the error is of the line that follows
// them.
func readIndex(b []byte, run *Run) (r *Run, all []*Segment, offs []int64, n int, err error) {
	r = run
	for {
		text, _, whole := bytes.Cut(b[n:], []byte{'\n'})
		if !whole {
			return r, all, offs, n, nil
		}
		if r == nil {
			if r, err = readHead(text); err != nil {
				return nil, nil, nil, n, err
			}
		} else {
			s, off, err := readLine(text, r)
			if err != nil {
				return r, all, offs, n, err
			}
			all, offs = append(all, s), append(offs, off)
		}
		n += len(text) + 1
	}
}

func readHead(text []byte) (*Run, error) {
	var h head
	if err := json.Unmarshal(text, &h); err != nil || h.Weir != version || h.Run < 0 || !sane(h.Line, h.Start) {
		return nil, fmt.Errorf("%w: %w", errIndex, errors.Join(err))
	}
	r := &Run{First: h.Run, Line: h.Line, Start: h.Start, Began: time.Unix(0, h.Began), Origin: time.Unix(0, h.Origin), Layout: &media.Layout{Meta: h.Meta}}
	for _, t := range h.Tracks {
		if t == nil || t.Codec.Kind() != t.Kind || !mp4.Supported(t) || r.Layout.Main(t.Kind) != nil {
			return nil, fmt.Errorf("%w: a track", errIndex)
		}
		r.Layout = r.Layout.With(t)
	}
	if r.Video, r.Audio = r.Layout.Main(media.Video), r.Layout.Main(media.Audio); r.Init(0) == nil {
		return nil, fmt.Errorf("%w: no track", errIndex)
	}
	return r, nil
}

func readLine(text []byte, r *Run) (*Segment, int64, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errIndex, err)
	}
	s := &Segment{Seq: l.Seq, Run: r, Start: l.Start, Duration: l.Duration, Key: l.Key, Discontinuity: l.Broken, Pictures: l.Pictures, Breaks: l.Breaks}
	ok := true
	span := func(v [3]int64, t *media.Track) Span {
		ok = ok && v[0] >= 0 && v[0] <= mostSegment/2 && v[1] >= 0 && v[1] < mostTime && v[2] >= 0 && v[2] < mostTime && (t != nil || v[0] == 0)
		return Span{int(v[0]), v[1], v[2]}
	}
	s.Video, s.Audio = span(l.Video, r.Video), span(l.Audio, r.Audio)
	if !ok || l.Seq < r.First || l.Off < 0 || l.Off > mostTime || s.Size() == 0 || !sane(l.Start, l.Duration) || l.Pictures < 0 || l.Breaks < 0 {
		return nil, 0, fmt.Errorf("%w: a segment", errIndex)
	}
	return s, l.Off, nil
}

func sane(all ...time.Duration) bool {
	for _, d := range all {
		if d < 0 || d > mostTime {
			return false
		}
	}
	return true
}
