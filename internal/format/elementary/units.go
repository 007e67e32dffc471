package elementary

import (
	"bytes"
	"time"

	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
)

// MaxUnit is how long a picture may be, in bytes.
const MaxUnit = 8 << 20

// Units finds the pictures of an H.264 or H.265 stream that comes in pieces cut
// anywhere, as program streams have it, and gives each the time of the piece that it
// begins in. A picture is known to be whole when the next one begins.
//
// The second field of an interlaced picture is a picture of its own. Pictures whose
// pieces have no time follow those before, as far apart as those were.
type Units struct {
	Video

	b       []byte
	scan    int  // up to here start codes have been looked for
	synced  bool // b begins with a picture
	picture bool // b has slices of it
	marks   []mark
	last    mark          // of the picture before
	step    time.Duration // between pictures
	since   int           // pictures without a time since the last with one
	timed   bool          // a time has come
}

// mark is where in b a piece with a time begins.
type mark struct {
	at       int
	dts, cto time.Duration
	used     bool
}

// maxMarks is how many pieces with a time may begin in one picture.
const maxMarks = 256

// Reset forgets an unfinished picture, as after a loss.
func (u *Units) Reset() {
	u.b, u.marks = u.b[:0], u.marks[:0]
	u.scan, u.synced, u.picture = 0, false, false
}

// Push appends the frames that a piece of the stream makes known to be whole. timed
// says that the first picture that begins in the piece has these times.
func (u *Units) Push(dst []*media.Frame, piece []byte, dts, cto time.Duration, timed bool) []*media.Frame {
	if len(u.b)+len(piece) > MaxUnit {
		u.Reset()
	}
	if timed && len(u.marks) < maxMarks {
		u.marks = append(u.marks, mark{at: len(u.b), dts: dts, cto: cto})
	}
	u.b = append(u.b, piece...)
	// Of a unit its type and what follows must be there.
	for {
		i := bytes.Index(u.b[u.scan:], []byte{0, 0, 1})
		if i < 0 {
			u.scan = max(u.scan, len(u.b)-2)
			return dst
		}
		i += u.scan
		if i+6 > len(u.b) {
			u.scan = i
			return dst
		}
		u.scan = i + 3
		if at := i; u.begins(u.b[i+3:]) {
			if at > 0 && u.b[at-1] == 0 { // of a start code of four bytes
				at--
			}
			if u.synced {
				dst = u.emit(dst, at)
			} else {
				u.cut(at)
			}
			u.synced, u.picture = true, false
		}
		u.picture = u.picture || u.slice(u.b[u.scan:])
	}
}

// Flush appends the frame that has not been known to be whole so far.
func (u *Units) Flush(dst []*media.Frame) []*media.Frame {
	if u.synced && u.picture {
		dst = u.emit(dst, len(u.b))
	}
	u.Reset()
	return dst
}

// slice reports whether a unit is a piece of a picture.
func (u *Units) slice(unit []byte) bool {
	if u.Codec == media.H264 {
		t := h264.Type(unit)
		return t >= 1 && t <= 5
	}
	return h265.Type(unit) < 32
}

// begins reports whether a unit is the first of a picture (H.264 7.4.1.2.3, H.265
// 7.4.2.4.4): a first slice where there are slices already, or one of the units that
// stand before slices only. Before anything is known, any of these is.
func (u *Units) begins(unit []byte) bool {
	if u.synced && !u.picture {
		return false
	}
	if u.Codec == media.H264 {
		switch t := h264.Type(unit); {
		case t >= 1 && t <= 5:
			return unit[1]&0x80 != 0 // first_mb_in_slice is 0
		default:
			return t >= 6 && t <= 9 || t >= 14 && t <= 18
		}
	}
	switch t := h265.Type(unit); {
	case t < 32:
		return unit[2]&0x80 != 0 // first_slice_segment_in_pic_flag
	default:
		return t <= 35 || t == 39 || t >= 41 && t <= 44 || t >= 48 && t <= 55
	}
}

// emit appends the picture that b has up to end.
func (u *Units) emit(dst []*media.Frame, end int) []*media.Frame {
	if dts, cto := u.time(); u.timed {
		dst = u.Video.Append(dst, u.b[:end], dts, cto)
	}
	u.cut(end)
	return dst
}

// time returns the times of the picture at the beginning of b.
func (u *Units) time() (dts, cto time.Duration) {
	i := len(u.marks) - 1
	for i >= 0 && u.marks[i].at > 0 {
		i--
	}
	if i < 0 || u.marks[i].used {
		u.since++
		return u.last.dts + time.Duration(u.since)*u.step, u.last.cto
	}
	m := &u.marks[i]
	m.used = true
	pictures := time.Duration(u.since + 1)
	if gap := m.dts - u.last.dts; u.timed && gap > 0 && gap < pictures*time.Second {
		u.step = gap / pictures
	}
	u.last, u.since, u.timed = *m, 0, true
	return m.dts, m.cto
}

// cut drops what b begins with, and the marks of it that nobody can need.
func (u *Units) cut(n int) {
	u.b = append(u.b[:0], u.b[n:]...)
	u.scan = max(0, u.scan-n)
	keep := 0 // the last mark at or before the new beginning counts
	for i := range u.marks {
		u.marks[i].at -= n
		if u.marks[i].at <= 0 {
			keep = i
		}
	}
	u.marks = append(u.marks[:0], u.marks[keep:]...)
	if cap(u.b) > 1<<20 && len(u.b) < 1<<16 {
		u.b = bytes.Clone(u.b) // one great picture does not hold the memory for ever
	}
}
