package flv

import (
	"time"

	"weir/internal/media"
)

// AppendExactBodyHeader is [AppendBodyHeader] for readers who know of Enhanced RTMP's
// offset in nanoseconds: what is left of the presentation time below a millisecond stands
// in a ModEx before the frame, which then has the enhanced form whatever its codec. The
// bytes are at most 15.
func AppendExactBodyHeader(dst []byte, f *media.Frame) []byte {
	ms, nano := exact(f)
	cc, known := FourCCOf(f.Track.Codec)
	if nano == 0 || !known || f.Track.Kind == media.Data {
		return AppendBodyHeader(dst, f)
	}
	typ, multi, first := byte(exCodedFrames), byte(exAudioMultitrack), byte(0x90)
	if f.Track.Kind == media.Video {
		multi, first = exVideoMultitrack, 0x80|byte(InterFrame)<<4
		if f.Key {
			first = 0x80 | byte(KeyFrame)<<4
		}
	}
	timed := hasCTO(cc)
	if timed && ms == 0 {
		typ, timed = exVideoCodedFramesX, false
	}
	dst = append(dst, first|exModEx, 3-1)
	dst = append24(dst, nano)
	if f.Track.ID == 0 {
		dst = append32(append(dst, modExNano<<4|typ), uint32(cc))
	} else {
		dst = append32(append(dst, modExNano<<4|multi, oneTrack<<4|typ), uint32(cc))
		dst = append(dst, f.Track.ID)
	}
	if timed {
		dst = append24(dst, uint32(ms))
	}
	return dst
}

// exact returns f's composition time in whole milliseconds and the nanoseconds that are to
// be added to it: none if they cannot be told. Without a composition time the message's
// own time stands for it, which is rounded and may be late.
func exact(f *media.Frame) (ms int32, nano uint32) {
	cc, _ := FourCCOf(f.Track.Codec)
	rest := f.PTS() - time.Duration(media.Milliseconds(f.DTS))*time.Millisecond
	if whole := rest.Truncate(time.Millisecond); hasCTO(cc) {
		if rest < whole {
			whole -= time.Millisecond
		}
		if whole < -1<<23*time.Millisecond || whole >= 1<<23*time.Millisecond {
			return cto(f), 0
		}
		return int32(whole / time.Millisecond), uint32(rest - whole)
	}
	if rest < 0 || rest >= time.Millisecond {
		return 0, 0
	}
	return 0, uint32(rest)
}
