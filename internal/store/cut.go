// Package store keeps the newest media of each stream in segments, cut once and
// listed in as many manifests as are asked for.
//
// A [Segmenter] reads a stream to the end of its publications and cuts it by
// SRS's rules; an [Index] holds what was cut, in memory and bounded. Writing
// files, names and playlists are of those who serve them.
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
	// frame; AOFRatio times Fragment is when it ends at any sound frame.
	TDRatio, AOFRatio float64
	// WaitKey cuts a stream with picture at key frames only, but for AOFRatio.
	WaitKey bool
	// Floor makes up for segments that were too long or too short, so that
	// servers that count segments by the clock stay together.
	Floor bool
}

// Target returns the duration that a playlist announces at least.
func (r Rules) Target() time.Duration {
	return time.Duration(float64(r.Fragment) * r.TDRatio)
}

// cutter decides where segments end.
type cutter struct {
	rules     Rules
	start     time.Duration // DTS of the first frame
	last      time.Duration // newest DTS
	open      bool
	deviation time.Duration // of all segments before, with Floor
	picture   bool          // the stream has a picture
}

// before reports whether the segment ends before f.
func (c *cutter) before(f *media.Frame) bool {
	if !c.open {
		return false
	}
	d := f.DTS - c.start
	if d < minCut {
		return false
	}
	most := time.Duration(float64(c.rules.Fragment) * c.rules.AOFRatio)
	switch f.Track.Kind {
	case media.Audio:
		return d >= max(most, minCut)
	case media.Video:
		target := c.rules.Target()
		if c.rules.Floor {
			target += time.Duration(floorShare * float64(c.deviation))
		}
		return d >= target && (f.Key || !c.rules.WaitKey)
	}
	return false
}

// begin opens a segment at dts; add counts a frame in.
func (c *cutter) begin(dts time.Duration) { c.start, c.last, c.open = dts, dts, true }

func (c *cutter) add(f *media.Frame) { c.last = max(c.last, f.DTS) }

// end closes the segment, whose successor begins at next, and returns its
// duration.
func (c *cutter) end(next time.Duration) time.Duration {
	d := next - c.start
	c.open = false
	if c.rules.Floor {
		c.deviation += c.rules.Fragment - d
	}
	return d
}
