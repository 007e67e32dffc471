package mpd

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of [Parse].
const (
	// MaxSize is the longest manifest, in bytes.
	MaxSize = 4 << 20
	// MaxEntries is how many segments a manifest may list.
	MaxEntries = 65536
)

// Errors of [Parse].
var (
	// ErrSyntax means that the input is no manifest as [Manifest.Append] writes it.
	ErrSyntax = errors.New("mpd: bad syntax")
	// ErrLimit means that the manifest is over one of the limits.
	ErrLimit = errors.New("mpd: over the limit")
)

// xmlMPD and what it holds are the elements that are read.
type xmlMPD struct {
	XMLName xml.Name `xml:"MPD"`
	Type    string   `xml:"type,attr"`
	Start   string   `xml:"availabilityStartTime,attr"`
	Publish string   `xml:"publishTime,attr"`
	Update  string   `xml:"minimumUpdatePeriod,attr"`
	Depth   string   `xml:"timeShiftBufferDepth,attr"`
	Delay   string   `xml:"suggestedPresentationDelay,attr"`
	Buffer  string   `xml:"minBufferTime,attr"`
	Base    string   `xml:"BaseURL"`
	Low     *struct {
		Target int64 `xml:"target,attr"`
		Min    int64 `xml:"min,attr"`
		Max    int64 `xml:"max,attr"`
	} `xml:"ServiceDescription>Latency"`
	Periods []xmlPeriod `xml:"Period"`
	Clock   struct {
		Value string `xml:"value,attr"`
	} `xml:"UTCTiming"`
}

type xmlPeriod struct {
	ID    string   `xml:"id,attr"`
	Start string   `xml:"start,attr"`
	Sets  []xmlSet `xml:"AdaptationSet>Representation"`
}

type xmlSet struct {
	ID         string `xml:"id,attr"`
	Bandwidth  int64  `xml:"bandwidth,attr"`
	Codecs     string `xml:"codecs,attr"`
	Width      int    `xml:"width,attr"`
	Height     int    `xml:"height,attr"`
	Rate       string `xml:"frameRate,attr"`
	SampleRate int    `xml:"audioSamplingRate,attr"`
	Channels   struct {
		Value int `xml:"value,attr"`
	} `xml:"AudioChannelConfiguration"`
	Template struct {
		Timescale int64  `xml:"timescale,attr"`
		Offset    int64  `xml:"presentationTimeOffset,attr"`
		Init      string `xml:"initialization,attr"`
		Media     string `xml:"media,attr"`
		First     int64  `xml:"startNumber,attr"`
		Early     string `xml:"availabilityTimeOffset,attr"`
		Timeline  []struct {
			T int64 `xml:"t,attr"`
			D int64 `xml:"d,attr"`
		} `xml:"SegmentTimeline>S"`
	} `xml:"SegmentTemplate"`
}

// Parse reads a manifest that [Manifest.Append] wrote.
func Parse(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrLimit, len(b))
	}
	var x xmlMPD
	if err := xml.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	if x.Type != "dynamic" {
		return nil, fmt.Errorf("%w: type %.20q", ErrSyntax, x.Type)
	}
	m := &Manifest{Base: x.Base, Clock: x.Clock.Value}
	var r reader
	m.Start, m.Published = r.moment(x.Start), r.moment(x.Publish)
	m.Update, m.Depth, m.Delay, m.Buffer = r.duration(x.Update), r.duration(x.Depth), r.duration(x.Delay), r.duration(x.Buffer)
	if l := x.Low; l != nil {
		m.Low = &Low{Target: r.milliseconds(l.Target), Least: r.milliseconds(l.Min), Most: r.milliseconds(l.Max)}
	}
	entries := 0
	for _, p := range x.Periods {
		period := Period{ID: p.ID, Start: r.duration(p.Start)}
		for _, s := range p.Sets {
			t := s.Template
			set := Set{ID: s.ID, Bandwidth: s.Bandwidth, Codecs: s.Codecs, Width: s.Width, Height: s.Height, Rate: r.rate(s.Rate), SampleRate: s.SampleRate,
				Channels: s.Channels.Value, Timescale: t.Timescale, Offset: t.Offset, Init: t.Init, Media: t.Media, First: t.First}
			if m.Low != nil && t.Early != "" {
				m.Low.Early = r.duration(t.Early)
			}
			for _, e := range t.Timeline {
				set.Timeline = append(set.Timeline, Entry{e.T, e.D})
			}
			if entries += len(set.Timeline); entries > MaxEntries {
				return nil, fmt.Errorf("%w: more than %d segments", ErrLimit, MaxEntries)
			}
			period.Sets = append(period.Sets, set)
		}
		m.Periods = append(m.Periods, period)
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, r.err)
	}
	return m, nil
}

// reader keeps the first error.
type reader struct{ err error }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		r.fail(err)
	}
	return t.UTC()
}

// duration reads "PT12.345S", "" as 0.
func (r *reader) duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(s, "PT"), "S"), 64)
	if err != nil || !(f >= 0 && f < 1e9) {
		r.fail(fmt.Errorf("duration %.40q", s))
		return 0
	}
	return time.Duration(f*1000+0.5) * time.Millisecond
}

func (r *reader) milliseconds(n int64) time.Duration {
	if n < 0 || n > 1e12 {
		r.fail(fmt.Errorf("latency %d", n))
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func (r *reader) rate(s string) float64 {
	if s == "" {
		return 0
	}
	a, b, fraction := strings.Cut(s, "/")
	num, err := strconv.ParseFloat(a, 64)
	den := 1.
	if fraction && err == nil {
		den, err = strconv.ParseFloat(b, 64)
	}
	if err != nil || !(num > 0 && num < 1e9 && den > 0) {
		r.fail(fmt.Errorf("frame rate %.40q", s))
		return 0
	}
	return num / den
}
