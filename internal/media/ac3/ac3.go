// Package ac3 reads the frame headers of AC-3 and E-AC-3 (ETSI TS 102 366)
// and makes the AC3SpecificBox and EC3SpecificBox bodies that MP4 wants, which
// serve as the configuration of such tracks.
package ac3

import (
	"errors"
	"fmt"
	"time"

	"weir/internal/media/bits"
)

// ErrSyntax means that there is no frame header.
var ErrSyntax = errors.New("ac3: no frame header")

// Header is what a frame's header says.
type Header struct {
	Enhanced   bool // E-AC-3
	SampleRate int  // in Hz
	Channels   int  // the low frequency channel included
	Samples    int  // per channel in a frame
	Size       int  // of the frame, in bytes

	freq, bsid, bsmod, mode, lfe, rate byte
}

var (
	rates    = [3]int{48000, 44100, 32000}
	channels = [8]int{2, 1, 2, 3, 3, 4, 4, 5}
	kbits    = [19]int{32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640}
)

// Parse parses the header that b begins with (TS 102 366 4.3 and E.1.3).
func Parse(b []byte) (Header, error) {
	if len(b) < 8 || b[0] != 0x0b || b[1] != 0x77 {
		return Header{}, ErrSyntax
	}
	h := Header{bsid: b[5] >> 3}
	switch {
	case h.bsid <= 10:
		return h.plain(b)
	case h.bsid <= 16:
		return h.enhanced(b)
	}
	return Header{}, fmt.Errorf("%w: bitstream %d", ErrSyntax, h.bsid)
}

func (h Header) plain(b []byte) (Header, error) {
	r := bits.New(b[4:])
	h.freq = byte(r.Bits(2))
	code := int(r.Bits(6))
	r.Skip(5)
	h.bsmod, h.mode = byte(r.Bits(3)), byte(r.Bits(3))
	if h.freq == 3 || code/2 >= len(kbits) {
		return Header{}, fmt.Errorf("%w: reserved value", ErrSyntax)
	}
	if h.mode&1 != 0 && h.mode != 1 {
		r.Skip(2) // cmixlev
	}
	if h.mode&4 != 0 {
		r.Skip(2) // surmixlev
	}
	if h.mode == 2 {
		r.Skip(2) // dsurmod
	}
	h.lfe, h.rate = byte(r.Bits(1)), byte(code/2)
	h.SampleRate, h.Samples = rates[h.freq], 1536
	h.Channels = channels[h.mode] + int(h.lfe)
	words := kbits[code/2] * 1000 * h.Samples / 16 / h.SampleRate
	if h.freq == 1 {
		words += code & 1
	}
	h.Size = words * 2
	return h, nil
}

func (h Header) enhanced(b []byte) (Header, error) {
	r := bits.New(b[2:])
	h.Enhanced = true
	r.Skip(2 + 3) // strmtyp, substreamid
	h.Size = (int(r.Bits(11)) + 1) * 2
	h.freq = byte(r.Bits(2))
	blocks := 6
	if h.freq == 3 {
		low := r.Bits(2)
		if low == 3 {
			return Header{}, fmt.Errorf("%w: reserved rate", ErrSyntax)
		}
		h.SampleRate = rates[low] / 2
	} else {
		h.SampleRate = rates[h.freq]
		blocks = [4]int{1, 2, 3, 6}[r.Bits(2)]
	}
	h.mode, h.lfe = byte(r.Bits(3)), byte(r.Bits(1))
	h.Samples = 256 * blocks
	h.Channels = channels[h.mode] + int(h.lfe)
	return h, nil
}

// Duration returns how long a frame sounds.
func (h Header) Duration() time.Duration {
	return time.Duration(h.Samples) * time.Second / time.Duration(h.SampleRate)
}

// AppendConfig appends the body of the AC3SpecificBox (TS 102 366 F.4) or, for
// E-AC-3, of the EC3SpecificBox (F.6) with one independent substream.
func (h Header) AppendConfig(dst []byte) []byte {
	if !h.Enhanced {
		v := uint32(h.freq)<<22 | uint32(h.bsid)<<17 | uint32(h.bsmod)<<14 | uint32(h.mode)<<11 | uint32(h.lfe)<<10 | uint32(h.rate)<<5
		return append(dst, byte(v>>16), byte(v>>8), byte(v))
	}
	kbit := 0
	if h.Samples > 0 {
		kbit = h.Size * 8 * h.SampleRate / h.Samples / 1000
	}
	head := uint16(min(kbit, 1<<13-1)) << 3
	v := uint32(h.freq)<<22 | uint32(h.bsid)<<17 | uint32(h.bsmod)<<12 | uint32(h.mode)<<9 | uint32(h.lfe)<<8
	return append(dst, byte(head>>8), byte(head), byte(v>>16), byte(v>>8), byte(v))
}
