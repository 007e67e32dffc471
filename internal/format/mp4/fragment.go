package mp4

import (
	"encoding/binary"
	"math"
	"time"

	"weir/internal/media"
)

// Flags of samples (ISO/IEC 14496-12 8.8.3.1).
const (
	flagsSync    = 0x02000000 // depends on no other
	flagsNonSync = 0x01010000 // depends on others, is no sync sample
)

// Sizes of what a fragment has beside its frames, in bytes.
const (
	fragmentHead = 8 + 16 + 8 // moof, mfhd, mdat
	trackHead    = 8 + 20 + 20 + 20
	sampleHead   = 16
)

// FragmentSize returns how many bytes [AppendFragment] appends at most.
func FragmentSize(frames []*media.Frame) int {
	n := fragmentHead
	for i, f := range frames {
		n += sampleHead + len(f.Payload)
		if newTrack(frames, i) {
			n += trackHead
		}
	}
	return n
}

// FrameFragmentSize returns how many bytes [AppendFrameFragment] appends at
// most.
func FrameFragmentSize(f *media.Frame) int {
	return fragmentHead + trackHead + sampleHead + len(f.Payload)
}

// newTrack reports whether frames[i] is the first of its track.
func newTrack(frames []*media.Frame, i int) bool {
	for _, f := range frames[:i] {
		if sameTrack(f, frames[i]) {
			return false
		}
	}
	return true
}

func sameTrack(a, b *media.Frame) bool {
	return a.Track == b.Track || a.Track.Kind == b.Track.Kind && a.Track.ID == b.Track.ID
}

// AppendFrameFragment appends a fragment of f alone, numbered by f.Seq. It
// depends on nothing but f, so it can be made once and shared. Nothing is
// appended if f's track is not carried.
func AppendFrameFragment(dst []byte, f *media.Frame) []byte {
	frames := [1]*media.Frame{f}
	return AppendFragment(dst, uint32(f.Seq), frames[:], nil)
}

// AppendFragment appends a movie fragment, moof and mdat, of frames of one or
// more tracks, each track's in decoding order. A frame lasts until the next
// frame of its track. For the last one that is looked for in next, which holds
// frames that follow the fragment; if none is there, [FrameDuration] tells.
// Frames of tracks that are not carried are left out; if there are no others,
// nothing is appended.
func AppendFragment(dst []byte, seq uint32, frames, next []*media.Frame) []byte {
	start := len(dst)
	dst, moof := begin(dst, "moof")
	dst, at := beginFull(dst, "mfhd", 0, 0)
	dst = end(append32(dst, seq), at)
	// Where each track's data offset is to be written.
	var array [8]int
	offsets := array[:0]
	for i, f := range frames {
		if newTrack(frames, i) && Supported(f.Track) {
			dst, at = appendRun(dst, frames[i:], next)
			offsets = append(offsets, at)
		}
	}
	if len(offsets) == 0 {
		return dst[:start]
	}
	dst = end(dst, moof)
	dst, mdat := begin(dst, "mdat")
	n := 0
	for i, f := range frames {
		if !newTrack(frames, i) || !Supported(f.Track) {
			continue
		}
		binary.BigEndian.PutUint32(dst[offsets[n]:], uint32(len(dst)-moof))
		n++
		for _, g := range frames[i:] {
			if sameTrack(f, g) {
				dst = append(dst, g.Payload...)
			}
		}
	}
	return end(dst, mdat)
}

// appendRun appends the traf of the track of frames[0], and returns where its
// data offset is.
func appendRun(dst []byte, frames, next []*media.Frame) (b []byte, offset int) {
	first := frames[0]
	t := first.Track
	scale, video := Timescale(t), t.Kind == media.Video
	dst, traf := begin(dst, "traf")
	tfhd, trun := uint32(0x020020), uint32(0x000301) // base is moof, default flags; offset, durations, sizes
	flags := uint32(flagsSync)
	if video {
		flags = flagsNonSync
		trun |= 0x000c00 // flags, composition times
	}
	dst, at := beginFull(dst, "tfhd", 0, tfhd)
	dst = end(append32(append32(dst, TrackID(t)), flags), at)
	dst, at = beginFull(dst, "tfdt", 1, 0)
	dst = end(append64(dst, uint64(max(media.Ticks(first.DTS, scale), 0))), at)
	dst, at = beginFull(dst, "trun", 1, trun)
	count := len(dst)
	offset = count + 4
	dst = append32(append32(dst, 0), 0)
	n := uint32(0)
	for i, f := range frames {
		if !sameTrack(f, first) {
			continue
		}
		n++
		dts := media.Ticks(f.DTS, scale)
		until := media.Ticks(f.DTS+FrameDuration(f), scale)
		if g := following(f, frames[i+1:], next); g != nil {
			until = media.Ticks(g.DTS, scale)
		}
		dst = append32(dst, uint32(max(0, min(until-dts, math.MaxInt32))))
		dst = append32(dst, uint32(len(f.Payload)))
		if video {
			if f.Key {
				dst = append32(dst, flagsSync)
			} else {
				dst = append32(dst, flagsNonSync)
			}
			dst = append32(dst, uint32(int32(media.Ticks(f.PTS(), scale)-dts)))
		}
	}
	binary.BigEndian.PutUint32(dst[count:], n)
	return end(end(dst, at), traf), offset
}

// following returns the first frame after f of its track, or nil.
func following(f *media.Frame, lists ...[]*media.Frame) *media.Frame {
	for _, l := range lists {
		for _, g := range l {
			if sameTrack(f, g) && g.DTS >= f.DTS {
				return g
			}
		}
	}
	return nil
}

// ntpEpoch is 1970 in NTP's seconds (RFC 5905 section 6).
const ntpEpoch = 2208988800

// AppendReferenceTime appends a producer reference time (prft, ISO/IEC 14496-12 8.16.5):
// the moment that a fragment's sample at a time, in ticks of t's [Timescale], belongs to.
// It goes before the fragment.
func AppendReferenceTime(dst []byte, t *media.Track, ticks int64, when time.Time) []byte {
	dst, at := beginFull(dst, "prft", 1, 0)
	dst = append32(dst, TrackID(t))
	dst = append32(dst, uint32(when.Unix()+ntpEpoch))
	dst = append32(dst, uint32(int64(when.Nanosecond())<<32/1e9))
	return end(append64(dst, uint64(max(ticks, 0))), at)
}
