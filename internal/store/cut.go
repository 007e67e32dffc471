package store

import (
	"time"

	"weir/internal/media"
)

const (
	// minCut is the least duration of a segment that is cut, and minKept that of
	// one that is kept when the publication ends before (SRS: 200 and 100 ms).
	minCut  = 200 * time.Millisecond
	minKept = 100 * time.Millisecond
	// floorShare is how much of a deviation the next segment makes up for
	// (SRS's hls_ts_floor).
	floorShare = 0.3
)

// Rules say where to cut.
type Rules struct {
	// Fragment is the duration that segments are meant to have.
	Fragment time.Duration
	// TDRatio times Fragment is how long a segment must be to end at a key
	// frame; AOFRatio times Fragment is when it ends at any frame.
	TDRatio, AOFRatio float64
	// SoundRatio times Fragment is when a segment ends in a stream without
	// picture; 0 stands for AOFRatio.
	SoundRatio float64
	// WaitKey cuts a stream with picture at key frames only, but for AOFRatio.
	WaitKey bool
	// Floor makes up for segments that were too long or too short, so that
	// servers that count segments by the clock stay together.
	Floor bool
	// Grid cuts where the encoder's time passes multiples of Fragment, at the next key frame
	// if there is a picture, and numbers segments by that: servers of one encoder make the
	// same bytes. The other rules have no say then. A segment that is not seen whole is not
	// told of, and one whose key frame comes later than that leaves numbers out.
	Grid bool
}

// Target returns the duration that a playlist announces at least.
func (r Rules) Target() time.Duration { return r.times(r.TDRatio) }

func (r Rules) times(ratio float64) time.Duration {
	return time.Duration(float64(r.Fragment) * ratio)
}

// cutter decides where the segments of a view end.
type cutter struct {
	rules     Rules
	start     time.Duration // DTS of the first frame
	last      time.Duration // newest DTS
	key       bool          // its picture begins with a key frame, as far as there is one
	picture   bool          // a frame of the picture is in it
	deviation time.Duration // of all segments before, with Floor
	shift     time.Duration // from the stream's line to the encoder's, with Grid
	floor     int64         // the number of Fragments since 1970 that it is counted as, with Floor
}

// before reports whether the segment ends before f.
func (c *cutter) before(f *media.Frame) bool {
	if c.rules.Grid {
		return c.crosses(f)
	}
	d := f.DTS - c.start
	if d < minCut {
		return false
	}
	if d >= c.rules.times(c.rules.AOFRatio) {
		return true // no key frame came
	}
	if f.Track.Kind == media.Audio {
		return c.rules.SoundRatio > 0 && f.Layout.Main(media.Video) == nil && d >= c.rules.times(c.rules.SoundRatio)
	}
	if c.rules.WaitKey && !c.key {
		return f.Key // one that players can begin with
	}
	target := c.rules.Target()
	if c.rules.Floor {
		target += time.Duration(floorShare * float64(c.deviation))
	}
	return d >= target && (f.Key || !c.rules.WaitKey)
}

// begin opens a segment with f; add counts a frame in.
func (c *cutter) begin(f *media.Frame) {
	c.start, c.last, c.key, c.picture = f.DTS, f.DTS, true, false
	if c.rules.Floor && c.rules.Fragment > 0 {
		c.floor = max(c.floor+1, f.Arrived.UnixNano()/int64(c.rules.Fragment))
	}
}

func (c *cutter) add(f *media.Frame) {
	c.last = max(c.last, f.DTS)
	if f.Track.Kind == media.Video && !c.picture {
		c.picture, c.key = true, f.Key
	}
}

// end closes the segment, whose successor begins at next, and returns its
// duration.
func (c *cutter) end(next time.Duration) time.Duration {
	d := next - c.start
	if c.rules.Floor {
		c.deviation += c.rules.Fragment - d
	}
	return d
}
