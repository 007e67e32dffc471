package sender

import (
	"testing"
	"time"

	"weir/internal/media"
)

// A loop gathers longer the dearer its turns are, never longer than the least
// patient of its viewers allows, which is next to nothing with min_latency on.
func TestGatheringIsBounded(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		cost   time.Duration
		load   float64
		gather []time.Duration
		want   time.Duration
	}{
		{10 * time.Microsecond, 0, []time.Duration{350 * ms}, 0},
		{200 * time.Microsecond, 0, []time.Duration{350 * ms}, 20 * ms},
		{5 * ms, 0, []time.Duration{350 * ms}, longest},
		{5 * ms, 0.6, []time.Duration{350 * ms}, 340 * ms},
		{5 * ms, 0, []time.Duration{30 * ms}, 20 * ms},
		{5 * ms, 0, []time.Duration{0}, impatient},
		{5 * ms, 0.9, []time.Duration{350 * ms, 0}, impatient},
		{50 * time.Microsecond, 0, []time.Duration{0}, 0},
	} {
		l := &loop{cost: c.cost, load: c.load, reels: map[*loopReel]bool{}}
		for _, g := range c.gather {
			l.reels[&loopReel{reel: &reel{gather: g}}] = true
		}
		if got := l.gathering(); got != c.want || time.Duration(l.pause.Load()) != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A beat ends a pause that was to end just after it, and no other.
func TestBeatEndsPause(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		pause time.Duration
		left  time.Duration // of the pause
		state int32
		want  bool
	}{
		{"at the beat", 40 * ms, settle - ms, dozing, true},
		{"before the beat", 40 * ms, settle + 20*ms, dozing, false},
		{"short pause", 8 * ms, ms, dozing, false},
		{"asleep", 40 * ms, settle - ms, asleep, false},
		{"awake", 40 * ms, settle - ms, awake, false},
	} {
		now := time.Now()
		l := &loop{all: &Loops{}, now: now, born: now}
		due := l.after(c.pause)
		l.born = l.born.Add(c.left - due.Sub(now)) // so that so much is left
		l.state.Store(c.state)
		if l.beat(); l.rung.Load() != c.want {
			t.Errorf("%s: ended %v", c.name, !c.want)
		}
	}
}

// With min_latency sound waits for a picture where sending is dear, but no longer
// than it may; pictures, streams without any, and ends never wait.
func TestSoundWaitsForPicture(t *testing.T) {
	const ms = time.Millisecond
	now := time.Unix(1e9, 0)
	l := &loop{now: now, sound: 30 * ms}
	lr := &loopReel{reel: &reel{}, seen: 100, view: view{head: 120, ripe: 100}}
	if !l.holds(lr) || !l.held.Equal(now.Add(30*ms)) {
		t.Errorf("sound does not wait, or until %v", l.held)
	}
	l.now = now.Add(20 * ms)
	if lr.view.head = 140; !l.holds(lr) || !l.held.Equal(now.Add(30*ms)) {
		t.Errorf("more sound changes how long the first waits: until %v", l.held)
	}
	if lr.view.head, lr.view.ripe = 200, 200; l.holds(lr) || !lr.since.IsZero() {
		t.Error("a picture waits")
	}
	lr.seen, lr.view.head, l.held = 200, 220, time.Time{}
	if !l.holds(lr) || !l.held.Equal(now.Add(50*ms)) {
		t.Errorf("the next sound does not wait, or until %v", l.held)
	}
	if l.now = now.Add(50 * ms); l.holds(lr) {
		t.Error("sound waits for longer than it may")
	}
	lr.since, lr.view.mark = time.Time{}, 1
	if l.holds(lr) {
		t.Error("an end waits")
	}
	lr.heard, lr.reel.gather = 1, 350*ms
	if l.holds(lr) {
		t.Error("sound waits twice where the loop gathers")
	}
	l.sound, lr.reel.gather = 0, 0
	if l.holds(lr) {
		t.Error("sound waits though sending is cheap")
	}
}

// What a reel calls ripe is the end of what came last that does not wait.
func TestRipe(t *testing.T) {
	v, a := &media.Track{Kind: media.Video, Codec: media.H264}, &media.Track{Kind: media.Audio, Codec: media.AAC}
	both, sound := &media.Layout{Tracks: []*media.Track{v, a}}, &media.Layout{Tracks: []*media.Track{a}}
	r := &reel{form: sized{}, group: nowhere}
	for i, c := range []struct {
		track  *media.Track
		layout *media.Layout
		ripe   bool
	}{
		{a, both, true}, // the first of its layout
		{a, both, false},
		{v, both, true},
		{a, both, false},
		{a, sound, true},
		{a, sound, true},
	} {
		r.take(&media.Frame{Track: c.track, Layout: c.layout}, false)
		if got := r.ripe == r.head; got != c.ripe {
			t.Errorf("entry %d: ripe %d of %d", i, r.ripe, r.head)
		}
	}
}

// sized is a form whose frames are ten bytes.
type sized struct{ form }

func (sized) size(*media.Frame) int                         { return 10 }
func (sized) note(*start, *media.Frame, bool)               {}
func (sized) appendFrame(dst []byte, _ *media.Frame) []byte { return append(dst, make([]byte, 10)...) }
