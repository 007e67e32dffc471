package mp4

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Flags of a trun (ISO/IEC 14496-12 8.8.8).
const (
	trunOffset   = 0x000001
	trunFirst    = 0x000004
	trunDuration = 0x000100
	trunSize     = 0x000200
	trunFlags    = 0x000400
	trunShift    = 0x000800
)

// movieScale is how many ticks a second has in a movie's own clock.
const movieScale = 1000

// inMovie is v, in ticks of the track, in the movie's.
func (t *track) inMovie(v int64) int64 {
	return v/int64(t.scale)*movieScale + v%int64(t.scale)*movieScale/int64(t.scale)
}

// duration is that of the track's samples, in its ticks.
func (t *track) duration() int64 { return t.last - t.first + t.lasts }

// append appends the moov of an ordinary movie. Tracks without samples are left out.
func (m *movie) append(dst []byte) ([]byte, error) {
	var longest int64
	next := uint32(1)
	for _, t := range m.tracks {
		if t.started {
			longest, next = max(longest, t.inMovie(t.first+t.duration())), max(next, t.id+1)
		}
	}
	dst, moov := begin(dst, "moov")
	dst, at := beginFull(dst, "mvhd", 1, 0)
	dst = appendZeros(dst, 16) // times
	dst = append64(append32(dst, movieScale), uint64(longest))
	dst = append16(append32(dst, 1<<16), 1<<8) // rate 1, volume 1
	dst = appendMatrix(appendZeros(dst, 10))
	dst = end(append32(appendZeros(dst, 24), next), at)
	for _, t := range m.tracks {
		if t.started {
			dst = t.append(dst)
		}
	}
	return end(dst, moov), nil
}

func (t *track) append(dst []byte) []byte {
	start, lasts := t.inMovie(t.first), t.inMovie(t.duration())
	dst, trak := begin(dst, "trak")
	head := bytes.Clone(t.boxes["tkhd"])
	binary.BigEndian.PutUint32(head[8+20:], uint32(min(start+lasts, math.MaxUint32)))
	dst = append(dst, head...)
	if start > 0 { // what comes before the first sample is empty
		var edts, at int
		dst, edts = begin(dst, "edts")
		dst, at = beginFull(dst, "elst", 1, 0)
		dst = append32(dst, 2)
		dst = append32(append64(append64(dst, uint64(start)), math.MaxUint64), 1<<16)
		dst = append32(append64(append64(dst, uint64(lasts)), 0), 1<<16)
		dst = end(end(dst, at), edts)
	}
	dst, mdia := begin(dst, "mdia")
	dst, at := beginFull(dst, "mdhd", 1, 0)
	dst = append64(append32(appendZeros(dst, 16), t.scale), uint64(t.duration()))
	dst = end(append(append(dst, t.language...), 0, 0), at)
	dst = append(dst, t.boxes["hdlr"]...)
	dst, minf := begin(dst, "minf")
	for _, name := range []string{"vmhd", "smhd", "dinf"} {
		dst = append(dst, t.boxes[name]...)
	}
	dst, stbl := begin(dst, "stbl")
	dst = t.appendTables(append(dst, t.boxes["stsd"]...))
	return end(end(end(end(dst, stbl), minf), mdia), trak)
}

func (t *track) appendTables(dst []byte) []byte {
	dst = appendRuns(dst, "stts", 0, append(t.steps[:len(t.steps):len(t.steps)], run{1, min(t.lasts, math.MaxUint32)}))
	version := byte(0)
	for _, r := range t.shifts {
		if r.value < 0 {
			version = 1
		}
	}
	if len(t.shifts) != 1 || t.shifts[0].value != 0 {
		dst = appendRuns(dst, "ctts", version, t.shifts)
	}
	if len(t.keys) < len(t.sizes) {
		dst = appendNumbers(dst, "stss", t.keys)
	}
	dst, at := beginFull(dst, "stsz", 0, 0)
	dst = append32(append32(dst, 0), uint32(len(t.sizes)))
	for _, n := range t.sizes {
		dst = append32(dst, n)
	}
	dst = end(dst, at)
	return t.appendChunks(dst)
}

func appendRuns(dst []byte, name string, version byte, runs []run) []byte {
	dst, at := beginFull(dst, name, version, 0)
	dst = append32(dst, uint32(len(runs)))
	for _, r := range runs {
		dst = append32(append32(dst, r.count), uint32(r.value))
	}
	return end(dst, at)
}

func appendNumbers(dst []byte, name string, all []uint32) []byte {
	dst, at := beginFull(dst, name, 0, 0)
	dst = append32(dst, uint32(len(all)))
	for _, n := range all {
		dst = append32(dst, n)
	}
	return end(dst, at)
}

// appendChunks appends where the samples are: each run of a fragment is a chunk.
func (t *track) appendChunks(dst []byte) []byte {
	dst, at := beginFull(dst, "stsc", 0, 0)
	count := len(dst)
	dst = append32(dst, 0)
	n := uint32(0)
	for i, c := range t.counts {
		if i == 0 || c != t.counts[i-1] {
			dst = append32(append32(append32(dst, uint32(i+1)), c), 1)
			n++
		}
	}
	binary.BigEndian.PutUint32(dst[count:], n)
	dst = end(dst, at)
	long := t.chunks[len(t.chunks)-1] > math.MaxUint32
	name := "stco"
	if long {
		name = "co64"
	}
	dst, at = beginFull(dst, name, 0, 0)
	dst = append32(dst, uint32(len(t.chunks)))
	for _, c := range t.chunks {
		if long {
			dst = append64(dst, c)
		} else {
			dst = append32(dst, uint32(c))
		}
	}
	return end(dst, at)
}
