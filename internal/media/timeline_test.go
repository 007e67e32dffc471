package media

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// feed drives a Timeline with one video track at 25 and one audio track at
// about 43 frames a second, through a distortion of the source times.
type feed struct {
	t    *testing.T
	line Timeline
	now  time.Time
	last map[Kind]time.Duration
}

func newFeed(t *testing.T) *feed {
	return &feed{t: t, now: time.Unix(1e9, 0), last: map[Kind]time.Duration{}}
}

func (f *feed) put(k Kind, src time.Duration) time.Duration {
	f.t.Helper()
	out := f.line.Next(k, 0, src, f.now)
	if last, ok := f.last[k]; ok && out <= last {
		f.t.Fatalf("%v at source %v: line went from %v to %v", k, src, last, out)
	}
	f.last[k] = out
	return out
}

// run plays n seconds; bend gives the source time of a true time.
func (f *feed) run(seconds float64, from time.Duration, bend func(Kind, time.Duration) time.Duration) {
	f.t.Helper()
	start := f.now
	v, a := time.Duration(0), time.Duration(0)
	end := time.Duration(seconds * 1e9)
	for v < end || a < end {
		if v <= a {
			f.now = start.Add(v)
			f.put(Video, bend(Video, from+v))
			v += 40 * time.Millisecond
		} else {
			f.now = start.Add(a)
			f.put(Audio, bend(Audio, from+a))
			a += 23220 * time.Microsecond
		}
	}
}

func straight(_ Kind, d time.Duration) time.Duration { return d }

func (f *feed) wantApart(limit time.Duration) {
	f.t.Helper()
	if d := f.last[Video] - f.last[Audio]; d > limit || d < -limit {
		f.t.Errorf("sound and picture are %v apart, want at most %v", d, limit)
	}
}

func (f *feed) wantLine(want, slack time.Duration) {
	f.t.Helper()
	if d := f.last[Video] - want; d > slack || d < -slack {
		f.t.Errorf("line at %v, want %v within %v", f.last[Video], want, slack)
	}
}

func TestTimelineKeepsGoodTimes(t *testing.T) {
	f := newFeed(t)
	for i := range 100 {
		src := 5*time.Second + time.Duration(i)*40*time.Millisecond
		if got, want := f.put(Video, src), src-5*time.Second; got != want {
			t.Fatalf("frame %d: %v, want %v", i, got, want)
		}
		f.now = f.now.Add(40 * time.Millisecond)
	}
}

func TestTimelineRepairsJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 30 * time.Second, -30 * time.Second, 1 << 31 * time.Millisecond} {
		t.Run(jump.String(), func(t *testing.T) {
			f := newFeed(t)
			f.run(5, 0, straight)
			f.run(5, 5*time.Second, func(_ Kind, d time.Duration) time.Duration { return d + jump })
			f.wantApart(60 * time.Millisecond)
			f.wantLine(10*time.Second, 200*time.Millisecond)
			if v, a := f.line.lane(Video, 0).offset, f.line.lane(Audio, 0).offset; v != a {
				t.Errorf("after the jump picture is corrected by %v and sound by %v", v, a)
			}
		})
	}
}

func TestTimelineJoinsDifferentEpochs(t *testing.T) {
	f := newFeed(t)
	f.run(5, 0, func(k Kind, d time.Duration) time.Duration {
		if k == Audio {
			return d + time.Hour
		}
		return d
	})
	f.wantApart(60 * time.Millisecond)
	f.wantLine(5*time.Second, 100*time.Millisecond)
}

func TestTimelineKeepsTruePauses(t *testing.T) {
	f := newFeed(t)
	f.run(2, 0, straight)
	f.now = f.now.Add(20 * time.Second)
	f.run(2, 22*time.Second, straight)
	f.wantLine(24*time.Second, 100*time.Millisecond)
}

func TestTimelineFollowsTheClockWhenTimeStands(t *testing.T) {
	f := newFeed(t)
	f.run(10, 0, func(Kind, time.Duration) time.Duration { return 0 })
	f.wantLine(10*time.Second, time.Second)
	f.wantApart(time.Second)
}

func TestTimelineCarriesOnOverPublications(t *testing.T) {
	f := newFeed(t)
	f.run(2, time.Hour, straight)
	f.line.Publish()
	f.run(2, 0, straight)
	f.wantLine(4*time.Second, 100*time.Millisecond)
	f.wantApart(60 * time.Millisecond)
}

// Twelve hours of random faults, in less than a second: the line never goes
// back, and over each hour it stays with the true time.
func TestTimelineTwelveHours(t *testing.T) {
	hours := 12
	if testing.Short() || raced { // slow machines have a shorter day
		hours = 2
	}
	for _, bits := range []uint{24, 31, 32} {
		t.Run(fmt.Sprint(bits, " bits"), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(bits)))
			f := newFeed(t)
			wrap := map[Kind]*Unwrapper{Video: {Bits: bits, Rate: 1000}, Audio: {Bits: bits, Rate: 1000}}
			base := uint64(1)<<bits - 60_000 // a wrap in the first minute
			var shift int64
			for hour := range hours {
				f.run(3600, time.Duration(hour)*time.Hour, func(k Kind, d time.Duration) time.Duration {
					ms := Milliseconds(d) + shift
					if rnd.IntN(500) == 0 {
						ms -= int64(rnd.IntN(300)) // a straggler
					}
					return wrap[k].Unwrap(base + uint64(ms))
				})
				shift += int64(rnd.IntN(20_000_000)) - 10_000_000
				f.wantApart(500 * time.Millisecond)
				f.wantLine(time.Duration(hour+1)*time.Hour, 20*time.Second)
			}
		})
	}
}

func TestClockRoundTrip(t *testing.T) {
	for _, rate := range []int64{1000, 8000, 12800, 22050, 44100, 48000, 90000, 96000, 10_000_000} {
		for _, tick := range []int64{0, 1, 2, 3, 7, 1023, 1024, rate - 1, rate + 1, 1<<31 + 7, 86400 * 365 * rate, -1, -rate - 1} {
			if back := Ticks(Duration(tick, rate), rate); back != tick {
				t.Errorf("rate %d: tick %d came back as %d", rate, tick, back)
			}
		}
	}
}

func TestUnwrapper(t *testing.T) {
	u := Unwrapper{Bits: 32, Rate: 1000}
	for _, c := range []struct {
		ts   uint64
		want time.Duration
	}{
		{1<<32 - 10, (1<<32 - 10) * time.Millisecond},
		{5, (1<<32 + 5) * time.Millisecond},
		{1<<32 - 5, (1<<32 - 5) * time.Millisecond},
		{20, (1<<32 + 20) * time.Millisecond},
	} {
		if got := u.Unwrap(c.ts); got != c.want {
			t.Errorf("%d: %v, want %v", c.ts, got, c.want)
		}
	}
}
