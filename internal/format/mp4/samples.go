package mp4

import (
	"encoding/binary"

	"weir/internal/media"
)

// A Sample is a frame as [AppendSamples] writes it: with its time in ticks of
// its track's [Timescale], which whoever cuts has made even.
type Sample struct {
	Payload []byte
	// Time is the decoding time; a sample lasts for Duration.
	Time, Duration int64
	// Offset is the presentation time less Time.
	Offset int64
	Key    bool
}

// SamplesSize returns how many bytes [AppendSamples] appends.
func SamplesSize(samples []Sample) int {
	n := fragmentHead + trackHead
	for _, s := range samples {
		n += sampleHead + len(s.Payload)
	}
	return n
}

// AppendSamples appends a movie fragment, moof and mdat, of samples of one
// track, in decoding order: a CMAF chunk. Nothing is appended if there are none.
func AppendSamples(dst []byte, seq uint32, t *media.Track, samples []Sample) []byte {
	if len(samples) == 0 {
		return dst
	}
	video := t.Kind == media.Video
	dst, moof := begin(dst, "moof")
	dst, at := beginFull(dst, "mfhd", 0, 0)
	dst = end(append32(dst, seq), at)
	dst, traf := begin(dst, "traf")
	trun, flags := uint32(0x000301), uint32(flagsSync) // offset, durations, sizes
	if video {
		trun |= 0x000c00 // flags, composition times
		flags = flagsNonSync
	}
	dst, at = beginFull(dst, "tfhd", 0, 0x020020) // base is moof, default flags
	dst = end(append32(append32(dst, TrackID(t)), flags), at)
	dst, at = beginFull(dst, "tfdt", 1, 0)
	dst = end(append64(dst, uint64(max(samples[0].Time, 0))), at)
	dst, at = beginFull(dst, "trun", 1, trun)
	dst = append32(dst, uint32(len(samples)))
	offset := len(dst)
	dst = append32(dst, 0)
	for _, s := range samples {
		dst = append32(append32(dst, uint32(s.Duration)), uint32(len(s.Payload)))
		if video {
			flags := uint32(flagsNonSync)
			if s.Key {
				flags = flagsSync
			}
			dst = append32(append32(dst, flags), uint32(int32(s.Offset)))
		}
	}
	dst = end(end(end(dst, at), traf), moof)
	dst, mdat := begin(dst, "mdat")
	binary.BigEndian.PutUint32(dst[offset:], uint32(len(dst)-moof))
	for _, s := range samples {
		dst = append(dst, s.Payload...)
	}
	return end(dst, mdat)
}
