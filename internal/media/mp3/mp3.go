// Package mp3 reads the header of MPEG audio frames (ISO/IEC 11172-3 2.4.1.3
// and 13818-3), of all three layers.
package mp3

import (
	"errors"
	"fmt"
	"time"
)

// HeaderLen is how long a frame's header is, in bytes.
const HeaderLen = 4

// ErrSyntax means that there is no header.
var ErrSyntax = errors.New("mp3: no frame header")

// Header is what a frame's header says.
type Header struct {
	Layer      int // 1 to 3
	MPEG1      bool
	BitRate    int // in bits per second, 0 for "free"
	SampleRate int // in Hz
	Channels   int // 1 or 2
	Samples    int // per channel in a frame
	Size       int // of the frame with its header, in bytes; 0 if the rate is free
}

// kbit/s of MPEG-1 by layer, then of MPEG-2 and 2.5 by layer I and the rest.
var bitRates = [5][15]int{
	{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
	{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
	{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
	{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
	{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
}

// Parse parses the header that b begins with.
func Parse(b []byte) (Header, error) {
	if len(b) < HeaderLen || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return Header{}, ErrSyntax
	}
	version, layer := b[1]>>3&3, 4-int(b[1]>>1&3)
	rate, freq := b[2]>>4, b[2]>>2&3
	if version == 1 || layer == 4 || rate == 15 || freq == 3 {
		return Header{}, fmt.Errorf("%w: reserved value in %x", ErrSyntax, b[:HeaderLen])
	}
	h := Header{Layer: layer, MPEG1: version == 3, Channels: 2, Samples: 1152}
	h.SampleRate = [3]int{44100, 48000, 32000}[freq]
	table := layer - 1
	if !h.MPEG1 {
		table = min(layer+2, 4)
		h.SampleRate /= 2
		if version == 0 { // MPEG-2.5
			h.SampleRate /= 2
		}
	}
	h.BitRate = bitRates[table][rate] * 1000
	if b[3]>>6 == 3 {
		h.Channels = 1
	}
	pad := int(b[2] >> 1 & 1)
	switch {
	case layer == 1:
		h.Samples = 384
		h.Size = (12*h.BitRate/h.SampleRate + pad) * 4
	case layer == 3 && !h.MPEG1:
		h.Samples = 576
		h.Size = 72*h.BitRate/h.SampleRate + pad
	default:
		h.Size = 144*h.BitRate/h.SampleRate + pad
	}
	if h.BitRate == 0 {
		h.Size = 0
	}
	return h, nil
}

// Duration returns how long a frame sounds.
func (h Header) Duration() time.Duration {
	return time.Duration(h.Samples) * time.Second / time.Duration(h.SampleRate)
}
