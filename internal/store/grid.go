package store

import (
	"slices"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
)

// Segments by the encoder's time: servers that one encoder feeds make the same bytes of a
// segment, under the same number, whenever they joined. So nothing in a segment may depend
// on what came before it here: times are the encoder's, cuts lie on a grid of these, and
// counters and rounding begin anew with each segment.

const (
	// encoderSpan is the range of an encoder's clock: RTMP's, as encoders that keep to FLV's
	// 31 bits have it.
	encoderSpan = 1 << 31 * time.Millisecond
	// encoderJump is how far an encoder's time may be from the stream's line, which repairs
	// it, until what follows is a run of its own.
	encoderJump = 100 * time.Millisecond
)

// encoderTime returns an encoder's time as one since 1970: of those that its clock stands
// for, the one nearest to now, which is the same on every server.
func encoderTime(source time.Duration, now time.Time) time.Duration {
	behind := time.Duration(now.UnixNano()) - source
	n := (behind + encoderSpan/2) / encoderSpan
	if behind < -encoderSpan/2 {
		n = (behind - encoderSpan/2) / encoderSpan
	}
	return source + n*encoderSpan
}

// gridded reports whether a view wants the encoder's time.
func gridded(views []*View) bool {
	return slices.ContainsFunc(views, func(v *View) bool { return v.Rules().Grid })
}

// strayed reports whether f's own time is no longer the run's.
func (r *recorder) strayed(f *media.Frame) bool {
	if r.run == nil || !r.run.Grid || f.Track.Kind != media.Video && r.run.Video != nil {
		return false
	}
	return (encoderTime(f.Source, f.Arrived) - f.DTS - r.run.Shift).Abs() > encoderJump
}

// anchor has the times of a run that begins be the encoder's: f is its first frame.
func (r *Run) anchor(f *media.Frame) {
	r.Grid, r.Shift = true, encoderTime(f.Source, f.Arrived)-f.DTS
	r.Began = r.At(f.DTS)
}

// cell is the place of a moment on the grid.
func (c *cutter) cell(dts time.Duration) int64 {
	return int64((dts + c.shift) / max(c.rules.Fragment, time.Millisecond))
}

// crosses reports whether the segment ends before f, by the grid: each of its cells begins
// with the first frame in it that players can begin with.
func (c *cutter) crosses(f *media.Frame) bool {
	if f.Track.Kind == media.Audio && f.Layout.Main(media.Video) != nil || f.Track.Kind == media.Video && !f.Key {
		return false
	}
	return c.cell(f.DTS) > c.cell(c.start)
}

// alike has the writer make what others make of the chunk: from zero if a segment begins
// with it.
func (r *recorder) alike(c *Chunk, views []*View) {
	w := &r.writer
	w.shift, w.begins, w.ends = c.Run.Shift, false, false
	if !c.Run.Grid {
		return
	}
	for _, v := range views {
		if v.seg != nil && v.grid {
			w.begins = w.begins || len(v.seg.Chunks) == 0
			w.ends = w.ends || v.ends
		}
	}
	// Two pieces of one track are a tenth of a second apart at least.
	w.pieces = uint32((c.Start+w.shift)/(100*time.Millisecond)) * 2
	for _, o := range w.lines {
		if o.pieces = w.pieces; w.begins {
			o.line = line{}
		}
	}
	if w.begins {
		w.line = line{}
	}
}

// phase returns where frames of sound begin that follow one another, in ticks: RTMP tells
// the time of each in milliseconds, and those of many tell it better.
func (w *writer) phase(t *media.Track, frames []*media.Frame) int64 {
	scale := mp4.Timescale(t)
	var lo, hi, n, d int64
	for _, f := range frames {
		if f.Track != t {
			continue
		}
		at := media.Ticks(f.DTS+w.shift, scale) - n*d
		if n == 0 {
			lo, hi, d = at, at, max(media.Ticks(mp4.FrameDuration(f), scale), 1)
		}
		if at < hi-d/2 || at > lo+d/2 {
			break
		}
		lo, hi, n = min(lo, at), max(hi, at), n+1
	}
	return (lo + hi) / 2
}
