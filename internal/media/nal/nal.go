// Package nal goes through the network abstraction layer units of H.264 and
// H.265 in their two framings: each behind its length, as in FLV, MP4 and the
// payload of our frames, and each behind a start code (Annex B of both
// standards), as in MPEG-TS.
//
// Functions work on slices of their input and copy only where they append. An
// access unit has at most [MaxUnits] units; the only limit on their size is
// the input itself.
package nal

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxUnits is how many units an access unit may have.
const MaxUnits = 1024

// Errors of broken access units.
var (
	// ErrLength means that a length goes past the end of the access unit.
	ErrLength = errors.New("nal: unit longer than what is left")
	// ErrUnits means that there are more than MaxUnits units.
	ErrUnits = fmt.Errorf("nal: more than %d units", MaxUnits)
)

// Next cuts the first unit off b, where each unit stands behind its length in
// size bytes, 1 to 4. The unit may be empty.
func Next(b []byte, size int) (unit, rest []byte, err error) {
	if len(b) < size {
		return nil, nil, fmt.Errorf("%w: %d bytes of a length of %d", ErrLength, len(b), size)
	}
	var n uint32
	for _, c := range b[:size] {
		n = n<<8 | uint32(c)
	}
	b = b[size:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, fmt.Errorf("%w: %d of %d bytes", ErrLength, n, len(b))
	}
	return b[:n], b[n:], nil
}

// Check reports whether b is made of whole units behind lengths of size
// bytes.
func Check(b []byte, size int) (err error) {
	for n := 0; len(b) > 0; n++ {
		if n == MaxUnits {
			return ErrUnits
		}
		if _, b, err = Next(b, size); err != nil {
			return fmt.Errorf("unit %d: %w", n, err)
		}
	}
	return nil
}

var startCode = []byte{0, 0, 1}

// IsAnnexB reports whether b begins with a start code. So may units behind
// lengths: ask [Check] first where both are possible.
func IsAnnexB(b []byte) bool {
	rest := bytes.TrimLeft(b, "\x00")
	return len(b)-len(rest) >= 2 && len(rest) > 0 && rest[0] == 1
}

// NextAnnexB cuts the first unit off b, which has start codes. The unit comes
// without its start code and without the zeros after it, and is nil at the
// end. What stands before the first start code is passed over.
func NextAnnexB(b []byte) (unit, rest []byte) {
	for {
		i := bytes.Index(b, startCode)
		if i < 0 {
			return nil, nil
		}
		b = b[i+3:]
		end := bytes.Index(b, startCode)
		if end < 0 {
			end = len(b)
		}
		unit, rest = bytes.TrimRight(b[:end], "\x00"), b[end:]
		if len(unit) > 0 || len(rest) == 0 {
			return unit, rest
		}
		b = rest
	}
}

// AppendLengths appends the units of b, which has start codes, each behind
// its length in size bytes.
func AppendLengths(dst, b []byte, size int) ([]byte, error) {
	for n := 0; ; n++ {
		var unit []byte
		unit, b = NextAnnexB(b)
		if len(unit) == 0 {
			return dst, nil
		}
		if n == MaxUnits {
			return dst, ErrUnits
		}
		if uint64(len(unit))>>(8*size) != 0 {
			return dst, fmt.Errorf("%w: %d bytes do not fit a length of %d bytes", ErrLength, len(unit), size)
		}
		for i := size - 1; i >= 0; i-- {
			dst = append(dst, byte(len(unit)>>(8*i)))
		}
		dst = append(dst, unit...)
	}
}

// AppendAnnexB appends the units of b, each of which stands behind its length
// in size bytes, with start codes of four bytes. Empty units are left out.
func AppendAnnexB(dst, b []byte, size int) ([]byte, error) {
	for n := 0; len(b) > 0; n++ {
		if n == MaxUnits {
			return dst, ErrUnits
		}
		unit, rest, err := Next(b, size)
		if err != nil {
			return dst, fmt.Errorf("unit %d: %w", n, err)
		}
		b = rest
		if len(unit) > 0 {
			dst = append(dst, 0, 0, 0, 1)
			dst = append(dst, unit...)
		}
	}
	return dst, nil
}

// Unescape appends unit without its emulation prevention bytes: the 3 in each
// 0 0 3 (H.264 7.4.1).
func Unescape(dst, unit []byte) []byte {
	for {
		i := bytes.Index(unit, []byte{0, 0, 3})
		if i < 0 {
			return append(dst, unit...)
		}
		dst = append(dst, unit[:i+2]...)
		unit = unit[i+3:]
	}
}
