package aac

import (
	"errors"

	"weir/internal/media/bits"
)

// LOASHeaderLen is the length of the header that stands before each element of a LOAS
// stream, in bytes.
const LOASHeaderLen = 3

// ErrLATM means that an element of LATM is not one, or of a kind that is not carried.
var ErrLATM = errors.New("aac: bad element of LATM")

// ParseLOAS reads the header of the element that b, at least [LOASHeaderLen] bytes, begins
// with (AudioSyncStream, ISO/IEC 14496-3 1.7.2). The element is b[LOASHeaderLen:size].
func ParseLOAS(b []byte) (size int, ok bool) {
	if b[0] != 0x56 || b[1]&0xe0 != 0xe0 {
		return 0, false
	}
	return LOASHeaderLen + (int(b[1]&0x1f)<<8 | int(b[2])), true
}

// LATM reads elements of one stream (AudioMuxElement, 1.7.3) with one program of one
// layer, as transport streams have it. The zero value waits for an element with a
// configuration.
type LATM struct {
	config    Config
	known     bool
	subframes int
	fixed     int  // bytes of a frame, if they have all the same
	other     bool // something follows the frames, which is passed over
}

// Frames appends the frames of an element to dst, each a raw_data_block, and returns the
// configuration that holds for them. Frames are copied.
func (l *LATM) Frames(dst [][]byte, b []byte) ([][]byte, Config, error) {
	r := bits.New(b)
	if !r.Flag() { // not as before
		if !l.configure(&r) {
			*l = LATM{}
			return dst, Config{}, ErrLATM
		}
	}
	if !l.known {
		return dst, Config{}, ErrLATM
	}
	for range l.subframes {
		size := l.fixed
		for size == 0 || l.fixed == 0 {
			n := int(r.Bits(8))
			size += n
			if n != 255 {
				break
			}
		}
		if !r.OK() || size == 0 || 8*size > r.Left() {
			return dst, Config{}, ErrLATM
		}
		frame := make([]byte, size)
		for i := range frame {
			frame[i] = byte(r.Bits(8))
		}
		dst = append(dst, frame)
	}
	return dst, l.config, nil
}

// configure reads a StreamMuxConfig (1.7.3.1).
func (l *LATM) configure(r *bits.Reader) bool {
	version := r.Flag()
	if version && r.Flag() { // audioMuxVersionA
		return false
	}
	if version {
		value(r) // taraBufferFullness
	}
	if !r.Flag() { // not all streams have the same time framing
		return false
	}
	*l = LATM{subframes: int(r.Bits(6)) + 1}
	if r.Bits(4) != 0 || r.Bits(3) != 0 { // programs and layers, less one
		return false
	}
	room := 0
	if version {
		room = int(value(r))
	}
	from := r.Pos()
	config, ok := specific(r)
	if !ok {
		return false
	}
	if version {
		used := r.Pos() - from
		if used > room || room-used > r.Left() {
			return false
		}
		r.Skip(room - used)
	}
	switch r.Bits(3) { // frameLengthType
	case 0:
		r.Skip(8)
	case 1:
		l.fixed = int(r.Bits(9)) + 20
	default:
		return false
	}
	if l.other = r.Flag(); l.other {
		if version {
			value(r)
		} else {
			for r.OK() && r.Flag() {
				r.Skip(8)
			}
			r.Skip(8)
		}
	}
	if r.Flag() { // a checksum
		r.Skip(8)
	}
	l.config, l.known = config, r.OK()
	return l.known
}

// value reads a LatmGetValue.
func value(r *bits.Reader) uint32 {
	var v uint32
	for range r.Bits(2) + 1 {
		v = v<<8 | r.Bits(8)
	}
	return v
}
