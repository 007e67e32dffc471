package mp4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

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

// ReadSamples reads what [AppendSamples] wrote for one track, fragments one behind the
// other; payloads are parts of b. An error wraps [ErrFile]; the samples of the fragments
// before the damage come with it.
func ReadSamples(b []byte) (all []Sample, err error) {
	for len(b) > 0 {
		r, size := bytes.NewReader(b), int64(len(b))
		name, moof, ok := boxAt(r, size, 0)
		if !ok || name != "moof" {
			return all, fmt.Errorf("%w: no fragment begins there", ErrFile)
		}
		name, mdat, ok := boxAt(r, size, moof)
		if !ok || name != "mdat" {
			return all, fmt.Errorf("%w: a fragment breaks off", ErrFile)
		}
		got, err := readFragment(b[:moof], b[:moof+mdat])
		if err != nil {
			return all, asFile(err)
		}
		all, b = append(all, got...), b[moof+mdat:]
	}
	return all, nil
}

// readFragment reads a moof, whose data is in whole.
func readFragment(moof, whole []byte) (all []Sample, err error) {
	time := int64(0)
	err = children(moof[8:], func(name string, _, traf []byte) error {
		if name != "traf" {
			return nil
		}
		return children(traf, func(name string, _, b []byte) error {
			switch name {
			case "tfdt":
				if len(b) < 12 || b[0] != 1 {
					return errDamaged
				}
				time = int64(min(binary.BigEndian.Uint64(b[4:]), math.MaxInt64/2))
			case "trun":
				all, err = readRun(all, b, time, len(moof), whole)
				return err
			}
			return nil
		})
	})
	return all, err
}

// readRun appends the samples of a trun as AppendSamples writes it.
func readRun(all []Sample, b []byte, time int64, least int, whole []byte) ([]Sample, error) {
	const sound, picture = trunOffset | trunDuration | trunSize, trunOffset | trunDuration | trunSize | trunFlags | trunShift
	if len(b) < 12 {
		return all, errDamaged
	}
	flags, n, at := binary.BigEndian.Uint32(b)&0xffffff, int64(binary.BigEndian.Uint32(b[4:])), int64(int32(binary.BigEndian.Uint32(b[8:])))
	b = b[12:]
	each := int64(8)
	if flags == picture {
		each = 16
	}
	if flags != sound && flags != picture || n > int64(len(b))/each {
		return all, errDamaged
	}
	for ; n > 0; n-- {
		s, size := Sample{Time: time, Duration: int64(binary.BigEndian.Uint32(b)), Key: true}, int64(binary.BigEndian.Uint32(b[4:]))
		if flags == picture {
			s.Key = binary.BigEndian.Uint32(b[8:])&0x10000 == 0
			s.Offset = int64(int32(binary.BigEndian.Uint32(b[12:])))
		}
		if at < int64(least) || at+size > int64(len(whole)) {
			return all, errDamaged
		}
		s.Payload = whole[at : at+size : at+size]
		at, time, b = at+size, time+s.Duration, b[each:]
		all = append(all, s)
	}
	return all, nil
}
