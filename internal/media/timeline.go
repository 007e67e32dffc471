package media

import "time"

// A Timeline repairs the times of publishers into one line that a stream
// keeps for its whole life: it starts at zero, within a track it never goes
// back or stands still, and it carries on from one publication to the next.
//
// Real pauses stay: a track that is silent for a minute while a minute passes
// keeps its minute. What is repaired is what no clock explains: jumps forward
// by more than [maxGap] that did not take that long, steps back, a time that
// stands still, and tracks that count from different epochs. When one track
// jumps and another follows, both end with the same correction, so sound and
// picture stay together to the millisecond.
//
// The zero value is ready. A Timeline is used by one goroutine at a time.
type Timeline struct {
	tracks  []lane
	line    time.Duration // the newest time given out
	started bool
	fresh   bool // no frame of this publication yet
	at      time.Time
	jumps   int
}

// Jumps returns how often the time of a track has jumped so far, in a way that no
// clock explains.
func (t *Timeline) Jumps() int { return t.jumps }

type lane struct {
	kind    Kind
	id      uint8
	offset  time.Duration // given out = source + offset
	src     time.Duration // newest source time
	out     time.Duration // newest time given out
	at      time.Time     // when
	step    time.Duration // a usual distance between two frames
	stuck   int           // frames in a row whose source time did not grow
	live    bool          // seen in this publication
	started bool          // seen ever
}

const (
	// maxGap is the longest step forward that is believed without looking at
	// the clock.
	maxGap = 3 * time.Second
	// together is how far the tracks of a stream may be apart and still be
	// taken as counting from one epoch.
	together = 3 * time.Second
	// stuckFrames is how many frames without progress make a publisher one
	// that has no usable time of its own.
	stuckFrames = 8
	// minStep is the least distance between two frames of a track: a
	// millisecond, since FLV and RTMP count no finer.
	minStep = time.Millisecond
	// restep is the distance given to a frame after a jump when the track has
	// no usual one.
	restep = 10 * time.Millisecond
)

// Publish tells that a new publication begins. Its first frame follows the
// last one of the publication before.
func (t *Timeline) Publish() {
	t.fresh = true
	for i := range t.tracks {
		t.tracks[i].live = false
		t.tracks[i].stuck = 0
	}
}

// Next returns the time on the line of a frame of the given track whose own
// time is src and which came at now.
func (t *Timeline) Next(kind Kind, id uint8, src time.Duration, now time.Time) time.Duration {
	l := t.lane(kind, id)
	switch {
	case !l.live:
		t.begin(l, src)
	default:
		t.check(l, src, now)
	}
	out := src + l.offset
	if l.started && out < l.out+minStep {
		out = l.out + minStep
	}
	if !l.started && out < 0 {
		out = 0
	}
	if d := out - l.out; l.started && d > 0 && d < time.Second {
		l.step = d
	}
	l.live, l.started = true, true
	l.src, l.out, l.at = src, out, now
	t.line, t.at = max(t.line, out), now
	t.started, t.fresh = true, false
	return out
}

// Newest returns the newest time given out, false if there is none.
func (t *Timeline) Newest() (time.Duration, bool) { return t.line, t.started }

// Given tells of a frame whose time on the line another Timeline has given out, so that
// this one goes on from there.
func (t *Timeline) Given(kind Kind, id uint8, src, out time.Duration, now time.Time) {
	l := t.lane(kind, id)
	if d := out - l.out; l.started && d > 0 && d < time.Second {
		l.step = d
	}
	l.live, l.started, l.stuck = true, true, 0
	l.src, l.out, l.at, l.offset = src, out, now, out-src
	t.line, t.at = max(t.line, out), now
	t.started, t.fresh = true, false
}

func (t *Timeline) lane(kind Kind, id uint8) *lane {
	for i := range t.tracks {
		if t.tracks[i].kind == kind && t.tracks[i].id == id {
			return &t.tracks[i]
		}
	}
	t.tracks = append(t.tracks, lane{kind: kind, id: id})
	return &t.tracks[len(t.tracks)-1]
}

// begin places the first frame of a track in this publication.
func (t *Timeline) begin(l *lane, src time.Duration) {
	switch o := t.other(l); {
	case t.fresh && !t.started:
		l.offset = -src
	case t.fresh:
		l.offset = t.line + restep - src
	case o != nil && near(src+o.offset, t.line):
		l.offset = o.offset
	default:
		l.offset = t.line - src
	}
}

// check looks for a jump between the newest frame of l and one at src.
func (t *Timeline) check(l *lane, src time.Duration, now time.Time) {
	d, passed := src-l.src, now.Sub(l.at)
	if d <= 0 && d > -maxGap {
		// Not a jump; a track that stands still follows the clock instead.
		if l.stuck++; l.stuck >= stuckFrames {
			l.offset = l.out + max(passed, minStep) - src
		}
		return
	}
	l.stuck = 0
	if d > 0 && (d <= maxGap || d <= passed+maxGap) {
		if src+l.offset < l.out {
			// It was held up while the source stood still: go on from there.
			l.offset = l.out + min(d, max(l.step, minStep)) - src
		}
		return
	}
	t.jumps++
	if o := t.other(l); o != nil && o.offset != l.offset && near(src+o.offset, t.line) && src+o.offset > l.out-together {
		l.offset = o.offset
		return
	}
	step := l.step
	if step == 0 {
		step = restep
	}
	l.offset = max(l.out+step, t.line) - src
}

// other returns the live track, not l, that had a frame last.
func (t *Timeline) other(l *lane) (best *lane) {
	for i := range t.tracks {
		if o := &t.tracks[i]; o != l && o.live && (best == nil || o.at.After(best.at)) {
			best = o
		}
	}
	return best
}

func near(a, b time.Duration) bool { return a-b < together && b-a < together }
