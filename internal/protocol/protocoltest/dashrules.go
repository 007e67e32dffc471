package protocoltest

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DASHRules looks at one manifest again and again, as a player does, and holds it
// to ISO/IEC 23009-1 and to the live interoperability points of DASH-IF.
type DASHRules struct {
	Sink *Sink
	Path string

	start        string
	published    time.Time
	starts       map[string]time.Duration   // by period
	known        map[string]map[int64]entry // by representation: all that was ever listed, by number
	newest       map[string]int64           // number, by representation
	left         map[string]time.Time       // names of segments that are no more listed
	newestPeriod bool                       // is looked at
	open         map[string]entry           // by representation: the segment that was listed while it was made
}

type entry struct {
	period, name string
	t, d         int64
	left         bool
}

type dashMPD struct {
	Type    string       `xml:"type,attr"`
	Start   string       `xml:"availabilityStartTime,attr"`
	Publish string       `xml:"publishTime,attr"`
	Update  string       `xml:"minimumUpdatePeriod,attr"`
	Depth   string       `xml:"timeShiftBufferDepth,attr"`
	Delay   string       `xml:"suggestedPresentationDelay,attr"`
	Buffer  string       `xml:"minBufferTime,attr"`
	Base    string       `xml:"BaseURL"`
	Periods []dashPeriod `xml:"Period"`
	Clock   struct {
		Scheme string `xml:"schemeIdUri,attr"`
		Value  string `xml:"value,attr"`
	} `xml:"UTCTiming"`
}

type dashPeriod struct {
	ID    string `xml:"id,attr"`
	Start string `xml:"start,attr"`
	Sets  []struct {
		Mime string    `xml:"mimeType,attr"`
		Reps []dashRep `xml:"Representation"`
	} `xml:"AdaptationSet"`
}

type dashRep struct {
	ID        string `xml:"id,attr"`
	Bandwidth int64  `xml:"bandwidth,attr"`
	Codecs    string `xml:"codecs,attr"`
	Template  struct {
		Timescale int64  `xml:"timescale,attr"`
		Offset    int64  `xml:"presentationTimeOffset,attr"`
		Init      string `xml:"initialization,attr"`
		Media     string `xml:"media,attr"`
		First     int64  `xml:"startNumber,attr"`
		Early     string `xml:"availabilityTimeOffset,attr"`
		Complete  string `xml:"availabilityTimeComplete,attr"`
		S         []struct {
			T int64 `xml:"t,attr"`
			D int64 `xml:"d,attr"`
		} `xml:"SegmentTimeline>S"`
	} `xml:"SegmentTemplate"`
}

// Look fetches the manifest and what is new in it. It returns what is wrong.
func (r *DASHRules) Look() error {
	w := r.Sink.Get(r.Path)
	if w.Code != 200 {
		return fmt.Errorf("manifest: %d", w.Code)
	}
	var m dashMPD
	err := xml.Unmarshal(w.Body.Bytes(), &m)
	if err == nil {
		err = r.head(&m)
	}
	if err == nil {
		err = r.body(&m)
	}
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, w.Body)
	}
	return nil
}

func (r *DASHRules) head(m *dashMPD) error {
	if r.known == nil {
		r.known, r.newest, r.starts, r.left = map[string]map[int64]entry{}, map[string]int64{}, map[string]time.Duration{}, map[string]time.Time{}
		r.open = map[string]entry{}
		r.start = m.Start
	}
	published, err := time.Parse(time.RFC3339Nano, m.Publish)
	switch {
	case m.Type != "dynamic":
		return fmt.Errorf("type %s", m.Type)
	case m.Start != r.start:
		return fmt.Errorf("availabilityStartTime was %s", r.start)
	case err != nil || published.Before(r.published):
		return fmt.Errorf("publishTime was %v, %w", r.published, err)
	case len(m.Periods) == 0:
		return fmt.Errorf("no period")
	case m.Clock.Scheme != "urn:mpeg:dash:utc:http-iso:2014":
		return fmt.Errorf("no UTCTiming")
	}
	r.published = published
	if w := r.Sink.Get(m.Clock.Value); w.Code != 200 {
		return fmt.Errorf("clock: %d", w.Code)
	} else if at, err := time.Parse(time.RFC3339Nano, w.Body.String()); err != nil || time.Since(at) > time.Second {
		return fmt.Errorf("clock: %s", w.Body)
	}
	for name, s := range map[string]string{"minimumUpdatePeriod": m.Update, "timeShiftBufferDepth": m.Depth, "minBufferTime": m.Buffer} {
		if d, err := seconds(s); err != nil || d <= 0 {
			return fmt.Errorf("%s is %s", name, s)
		}
	}
	depth, _ := seconds(m.Depth)
	if d, err := seconds(m.Delay); err != nil || d > depth {
		return fmt.Errorf("suggestedPresentationDelay is %s of %s", m.Delay, m.Depth)
	}
	return nil
}

// seconds reads "PT1.5S".
func seconds(s string) (time.Duration, error) {
	return time.ParseDuration(strings.ToLower(strings.TrimPrefix(s, "PT")))
}

func (r *DASHRules) body(m *dashMPD) error {
	anchor, err := time.Parse(time.RFC3339Nano, m.Start)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	end := time.Duration(0)
	for n, p := range m.Periods {
		r.newestPeriod = n+1 == len(m.Periods)
		start, err := seconds(p.Start)
		if err != nil {
			return err
		}
		if was, ok := r.starts[p.ID]; ok && was != start {
			return fmt.Errorf("period %s began at %v", p.ID, was)
		}
		r.starts[p.ID] = start
		if start < end-50*time.Millisecond { // sound may last a frame longer
			return fmt.Errorf("period %s begins at %v, the one before ends at %v", p.ID, start, end)
		}
		if len(p.Sets) == 0 {
			return fmt.Errorf("period %s has nothing", p.ID)
		}
		for _, set := range p.Sets {
			for _, rep := range set.Reps {
				if !strings.HasPrefix(set.Mime, rep.ID) {
					return fmt.Errorf("representation %s of %s", rep.ID, set.Mime)
				}
				until, err := r.timeline(&rep, p.ID, m.Base, anchor.Add(start), listed)
				if err != nil {
					return err
				}
				end = max(end, start+until)
			}
		}
	}
	return r.leaving(listed)
}

// timeline goes through the segments of a representation, in a period that starts
// at a moment; it returns how long they last.
func (r *DASHRules) timeline(rep *dashRep, period, base string, start time.Time, listed map[string]bool) (until time.Duration, err error) {
	t := &rep.Template
	if rep.Codecs == "" || rep.Bandwidth <= 0 || t.Timescale <= 0 || len(t.S) == 0 {
		return 0, fmt.Errorf("representation %+v", rep)
	}
	last := int64(-1)
	for i, s := range t.S {
		number := t.First + int64(i)
		e := entry{period: period, t: s.T, d: s.D}
		e.name = base + strings.NewReplacer("$RepresentationID$", rep.ID, "$Number$", strconv.FormatInt(number, 10)).Replace(t.Media)
		if s.D <= 0 || s.T < last {
			return 0, fmt.Errorf("segment %d at %d for %d, the one before ends at %d", number, s.T, s.D, last)
		}
		if i == 0 && s.T < t.Offset-1 {
			return 0, fmt.Errorf("segment %d begins before its period", number)
		}
		last = s.T + s.D
		if open, err := r.early(rep, i, e, start); open || err != nil {
			return until, err
		}
		until = time.Duration(float64(last-t.Offset) / float64(t.Timescale) * 1e9)
		if wait := time.Until(start.Add(until)); wait > 50*time.Millisecond {
			return 0, fmt.Errorf("segment %d is listed %v before it is due", number, wait)
		}
		listed[e.name] = true
		if err := r.segment(rep.ID, number, e, base+strings.ReplaceAll(t.Init, "$RepresentationID$", rep.ID)); err != nil {
			return 0, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return until, nil
}

// early looks at an entry of low latency, whose segment may be in the making: it is where
// it was, and has begun.
func (r *DASHRules) early(rep *dashRep, i int, e entry, start time.Time) (open bool, err error) {
	t := &rep.Template
	if t.Complete != "false" {
		return false, nil
	}
	if was, ok := r.open[rep.ID]; ok && was.name == e.name && (was.t != e.t || was.period != e.period) {
		return true, fmt.Errorf("%s began at %d in %s, and now at %d in %s", e.name, was.t, was.period, e.t, e.period)
	}
	if early, err := strconv.ParseFloat(t.Early, 64); err != nil || early < 0 {
		return true, fmt.Errorf("availabilityTimeOffset is %s", t.Early)
	}
	due := start.Add(time.Duration(float64(e.t+e.d-t.Offset) / float64(t.Timescale) * 1e9))
	if i+1 < len(t.S) || !r.newestPeriod || time.Since(due) > time.Second {
		return false, nil
	}
	r.open[rep.ID] = e
	begins := time.Duration(float64(e.t-t.Offset) / float64(t.Timescale) * 1e9)
	if wait := time.Until(start.Add(begins)); wait > 50*time.Millisecond {
		return true, fmt.Errorf("%s is listed %v before it begins", e.name, wait)
	}
	return true, nil
}

// segment holds an entry against what it was, and fetches it if it is new.
func (r *DASHRules) segment(rep string, number int64, e entry, init string) error {
	all := r.known[rep]
	if all == nil {
		all = map[int64]entry{}
		r.known[rep] = all
	} else if old, ok := all[number]; ok {
		if old != e {
			return fmt.Errorf("it was %+v and is %+v", old, e)
		}
		return nil
	}
	if newest, ok := r.newest[rep]; ok && number != newest+1 {
		return fmt.Errorf("it came after %d", newest)
	}
	r.newest[rep] = number
	all[number] = e
	delete(all, number-1000)
	if w := r.get(init); w == nil {
		return fmt.Errorf("no %s", init)
	}
	b := r.get(e.name)
	spans, err := Spans(b)
	switch {
	case err != nil || len(spans) != 1:
		return fmt.Errorf("%d tracks, %w", len(spans), err)
	case spans[0].Time != e.t || spans[0].Duration != e.d:
		return fmt.Errorf("it holds %d ticks from %d", spans[0].Duration, spans[0].Time)
	}
	return nil
}

// leaving checks that what is no more listed is there for a while.
func (r *DASHRules) leaving(listed map[string]bool) error {
	for rep, all := range r.known {
		for n, e := range all {
			if listed[e.name] || e.left {
				continue
			}
			r.left[e.name] = time.Now()
			e.left = true
			r.known[rep][n] = e
		}
	}
	for name, since := range r.left {
		if time.Since(since) > 3*time.Second {
			delete(r.left, name)
		} else if r.get(name) == nil {
			return fmt.Errorf("%s has left since %v and is gone", name, time.Since(since))
		}
	}
	return nil
}

// get fetches what a manifest names, nil if that is not there.
func (r *DASHRules) get(name string) []byte {
	w := r.Sink.Get(r.Path[:strings.LastIndexByte(r.Path, '/')+1] + name)
	if w.Code != 200 {
		return nil
	}
	return w.Body.Bytes()
}
