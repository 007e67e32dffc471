// Package mpd writes the manifests of DASH (ISO/IEC 23009-1) for live streams,
// and reads its own again, which is how a server that starts carries on with what
// it left.
//
// Written is the live profile: a dynamic presentation of periods, in each adaptation
// sets of sound and of picture, whose segments stand in a SegmentTimeline and are found by
// $Number$. Names are SRS's. Text from outside is
// escaped, so that nothing breaks out of its attribute.
package mpd

import (
	"strconv"
	"strings"
	"time"
)

// A Manifest is a dynamic presentation.
type Manifest struct {
	// Start is the moment that all times count from (availabilityStartTime); it
	// never changes. Published is when the manifest did.
	Start, Published time.Time
	// Update is how often players ask for the manifest anew, Depth how far back
	// they may go, Delay how far behind the newest segment they are to be, and
	// Buffer how much they need to begin.
	Update, Depth, Delay, Buffer time.Duration
	// Base is what the names of segments begin with.
	Base string
	// Clock is where players ask what time it is (UTCTiming of scheme
	// http-iso:2014); "" for nowhere.
	Clock   string
	Periods []Period
	// Low is what low latency adds; nil for none.
	Low *Low
}

// Low says how segments are had while they are made (DASH-IF's Low-Latency Modes for
// DASH).
type Low struct {
	// Target is how far behind players are to be, at least Least and at most Most, in
	// milliseconds on the wire.
	Target, Least, Most time.Duration
	// Early is how long before its end a segment can be asked for
	// (availabilityTimeOffset): it then comes in chunks as they are made.
	Early time.Duration
}

// A Period is a line of segments without a break, of one layout.
type Period struct {
	// ID stays the same from one manifest to the next.
	ID string
	// Start counts from the manifest's Start.
	Start time.Duration
	Sets  []Set
}

// A Set is one representation of sound or picture.
type Set struct {
	// ID is "video" or "audio", which is the type's first part, and perhaps a number
	// behind that.
	ID string
	// Number is that of the adaptation set, 0 for the first of sound and of picture.
	Number int
	// Joins says that it stands in the adaptation set before, as another choice of the
	// same; Uneven that the segments of the set's choices do not begin together.
	Joins, Uneven bool
	// Lang, Label and Role tell the set from others: a language (RFC 5646), a name for
	// people, "main" or "alternate"; each may be empty.
	Lang, Label, Role string
	// Bandwidth is in bits a second.
	Bandwidth int64
	Codecs    string
	// Width and Height are in pixels, Rate in pictures a second, for a picture;
	// SampleRate and Channels for sound. 0 is not known.
	Width, Height        int
	Rate                 float64
	SampleRate, Channels int
	// Timescale is how many ticks a second has. Offset is the time, in ticks, that
	// is played at the start of the period.
	Timescale, Offset int64
	// Init and Media are templates of names, First the number of the first
	// segment.
	Init, Media string
	First       int64
	Timeline    []Entry
}

// An Entry is a segment of a timeline: its time and duration in ticks.
type Entry struct{ Time, Duration int64 }

// timeFormat is xs:dateTime in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z"

// AppendTime appends a moment as the clock of [Manifest.Clock] answers it.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, timeFormat) }

// Append appends the manifest.
func (m *Manifest) Append(dst []byte) []byte {
	w := writer(dst)
	w.text(`<?xml version="1.0" encoding="utf-8"?>` + "\n")
	w.text(`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"` +
		` xsi:schemaLocation="urn:mpeg:dash:schema:mpd:2011 DASH-MPD.xsd"` +
		` profiles="urn:mpeg:dash:profile:isoff-live:2011,http://dashif.org/guidelines/dash-if-simple`)
	if m.Low != nil {
		w.text(",http://www.dashif.org/guidelines/low-latency-live-v5")
	}
	w.text(`" type="dynamic"`)
	w.moment("availabilityStartTime", m.Start)
	w.moment("publishTime", m.Published)
	w.duration("minimumUpdatePeriod", m.Update)
	w.duration("timeShiftBufferDepth", m.Depth)
	w.duration("suggestedPresentationDelay", m.Delay)
	w.duration("minBufferTime", m.Buffer)
	w.text(">\n")
	if m.Base != "" {
		w.text("    <BaseURL>")
		w.escape(m.Base)
		w.text("</BaseURL>\n")
	}
	if m.Low != nil {
		w.service(m.Low)
	}
	for i := range m.Periods {
		w.period(m, &m.Periods[i])
	}
	if m.Clock != "" {
		w.clock("    ", m.Clock)
	}
	w.text("</MPD>\n")
	return w
}

func (w *writer) clock(indent, at string) {
	w.text(indent + `<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014"`)
	w.attribute("value", at)
	w.text("/>\n")
}

type writer []byte

// service tells players how far behind to be, and how much faster or slower they may play
// for that (ISO/IEC 23009-1 annex K).
func (w *writer) service(l *Low) {
	w.text(`    <ServiceDescription id="0">` + "\n        <Latency")
	w.attribute("referenceId", "0")
	w.number("target", l.Target.Milliseconds())
	w.number("min", l.Least.Milliseconds())
	w.number("max", l.Most.Milliseconds())
	w.text("/>\n        <PlaybackRate" + ` min="0.96" max="1.04"` + "/>\n    </ServiceDescription>\n")
}

func (w *writer) period(m *Manifest, p *Period) {
	w.text("    <Period")
	w.attribute("id", p.ID)
	w.duration("start", p.Start)
	w.text(">\n")
	for i := range p.Sets {
		s := &p.Sets[i]
		if i == 0 || !s.Joins {
			w.set(m, p, s)
		}
		w.representation(m.Low, s)
		if i+1 == len(p.Sets) || !p.Sets[i+1].Joins {
			w.text("        </AdaptationSet>\n")
		}
	}
	w.text("    </Period>\n")
}

// set writes what stands before the representations.
func (w *writer) set(m *Manifest, p *Period, s *Set) {
	kind := strings.TrimRight(s.ID, "0123456789")
	w.text("        <AdaptationSet")
	w.attribute("id", s.number(kind))
	w.attribute("contentType", kind)
	w.attribute("mimeType", kind+"/mp4")
	if s.Lang != "" {
		w.attribute("lang", s.Lang)
	}
	w.attribute("segmentAlignment", strconv.FormatBool(!s.Uneven))
	w.text(` startWithSAP="1">` + "\n")
	if s.Label != "" {
		w.text("            <Label>")
		w.escape(s.Label)
		w.text("</Label>\n")
	}
	if m.Low != nil {
		w.text(`            <ProducerReferenceTime id="0" inband="true" type="encoder"`)
		w.moment("wallClockTime", m.Start.Add(p.Start))
		w.number("presentationTime", s.Offset)
		if m.Clock == "" {
			w.text("/>\n")
		} else {
			w.text(">\n")
			w.clock("                ", m.Clock)
			w.text("            </ProducerReferenceTime>\n")
		}
	}
	if s.Role != "" {
		w.text(`            <Role schemeIdUri="urn:mpeg:dash:role:2011"`)
		w.attribute("value", s.Role)
		w.text("/>\n")
	}
}

func (w *writer) representation(l *Low, s *Set) {
	w.text("            <Representation")
	w.attribute("id", s.ID)
	w.number("bandwidth", max(s.Bandwidth, 1))
	w.attribute("codecs", s.Codecs)
	if s.Width > 0 && s.Height > 0 {
		w.number("width", int64(s.Width))
		w.number("height", int64(s.Height))
	}
	if s.Rate > 0 {
		w.attribute("frameRate", rate(s.Rate))
	}
	if s.SampleRate > 0 {
		w.number("audioSamplingRate", int64(s.SampleRate))
	}
	w.text(">\n")
	if s.Channels > 0 {
		w.text(`                <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011"`)
		w.number("value", int64(s.Channels))
		w.text("/>\n")
	}
	w.text("                <SegmentTemplate")
	w.number("timescale", s.Timescale)
	w.number("presentationTimeOffset", s.Offset)
	w.attribute("initialization", s.Init)
	w.attribute("media", s.Media)
	w.number("startNumber", s.First)
	if l != nil {
		w.text(` availabilityTimeOffset="`)
		*w = strconv.AppendFloat(*w, max(l.Early, 0).Seconds(), 'f', 3, 64)
		w.text(`" availabilityTimeComplete="false"`)
	}
	w.text(">\n                    <SegmentTimeline>\n")
	for _, e := range s.Timeline {
		w.text("                        <S")
		w.number("t", e.Time)
		w.number("d", e.Duration)
		w.text(" />\n")
	}
	w.text("                    </SegmentTimeline>\n                </SegmentTemplate>\n            </Representation>\n")
}

// number numbers the adaptation sets alike in all periods.
func (s *Set) number(kind string) string {
	switch {
	case s.Number > 0:
		return strconv.Itoa(s.Number)
	case kind == "audio":
		return "0"
	}
	return "1"
}

// rate writes a frame rate as the type of DASH wants it: a whole number, or a
// fraction of thousandths.
func rate(r float64) string {
	for _, den := range []int64{1, 1001} {
		num := int64(r*float64(den) + 0.5)
		if den == 1001 {
			num = (num + 500) / 1000 * 1000
		}
		if d := float64(num)/float64(den) - r; num > 0 && d < 0.002 && d > -0.002 {
			if den == 1 {
				return strconv.FormatInt(num, 10)
			}
			return strconv.FormatInt(num, 10) + "/1001"
		}
	}
	return strconv.FormatInt(max(int64(r*1000+0.5), 1), 10) + "/1000"
}

func (w *writer) text(s string) { *w = append(*w, s...) }

func (w *writer) attribute(name, value string) {
	w.text(" " + name + `="`)
	w.escape(value)
	w.text(`"`)
}

func (w *writer) number(name string, n int64) {
	w.text(" " + name + `="`)
	*w = strconv.AppendInt(*w, n, 10)
	w.text(`"`)
}

func (w *writer) moment(name string, t time.Time) {
	w.text(" " + name + `="`)
	*w = AppendTime(*w, t)
	w.text(`"`)
}

// duration writes SRS's form: seconds with three decimals.
func (w *writer) duration(name string, d time.Duration) {
	w.text(" " + name + `="PT`)
	*w = strconv.AppendFloat(*w, max(d, 0).Seconds(), 'f', 3, 64)
	w.text(`S"`)
}

// escape writes text so that XML takes it for text. What XML cannot have at all
// becomes a replacement character.
func (w *writer) escape(s string) {
	for _, c := range s {
		switch {
		case c == '&':
			w.text("&amp;")
		case c == '<':
			w.text("&lt;")
		case c == '>':
			w.text("&gt;")
		case c == '"':
			w.text("&#34;")
		case c == '\t' || c == '\n' || c == '\r':
			w.text("&#" + strconv.Itoa(int(c)) + ";")
		case c < ' ' || c == 0xfffe || c == 0xffff:
			w.text("\ufffd")
		default:
			*w = append(*w, string(c)...)
		}
	}
}
