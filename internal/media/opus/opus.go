// Package opus reads and writes the OpusHead that describes an Opus stream
// (RFC 7845 5.1) and reads how long a packet sounds (RFC 6716 3.1).
package opus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Rate is the rate in Hz in which Opus counts samples, whatever was recorded.
const Rate = 48000

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("opus: bad syntax")

var magic = []byte("OpusHead")

// Head is an OpusHead.
type Head struct {
	Channels  int
	PreSkip   int // samples at 48 kHz to drop at the start
	InputRate int // in Hz, of what was encoded; informative
	Gain      int16
	// Family is the channel mapping family. Streams, Coupled and Mapping have
	// meaning if it is not 0.
	Family           byte
	Streams, Coupled byte
	Mapping          []byte
}

// ParseHead parses an OpusHead; Mapping is a slice of b.
func ParseHead(b []byte) (Head, error) {
	if len(b) < 19 || !bytes.HasPrefix(b, magic) || b[8]>>4 != 0 {
		return Head{}, fmt.Errorf("%w: not an OpusHead", ErrSyntax)
	}
	h := Head{
		Channels: int(b[9]), PreSkip: int(binary.LittleEndian.Uint16(b[10:])),
		InputRate: int(binary.LittleEndian.Uint32(b[12:])), Gain: int16(binary.LittleEndian.Uint16(b[16:])),
		Family: b[18],
	}
	if h.Channels == 0 || h.Family == 0 && h.Channels > 2 {
		return Head{}, fmt.Errorf("%w: %d channels of family %d", ErrSyntax, h.Channels, h.Family)
	}
	if h.Family != 0 {
		if len(b) < 21+h.Channels {
			return Head{}, fmt.Errorf("%w: channel mapping ends early", ErrSyntax)
		}
		h.Streams, h.Coupled, h.Mapping = b[19], b[20], b[21:21+h.Channels]
	}
	return h, nil
}

// Append appends the OpusHead.
func (h Head) Append(dst []byte) []byte {
	dst = append(append(dst, magic...), 1, byte(h.Channels))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.PreSkip))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.InputRate))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(h.Gain))
	dst = append(dst, h.Family)
	if h.Family != 0 {
		dst = append(append(dst, h.Streams, h.Coupled), h.Mapping...)
	}
	return dst
}

// Samples returns how many samples at 48 kHz a packet holds, 0 if it is
// broken. It is at most 5,760, which is 120 ms.
func Samples(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	config := int(packet[0] >> 3)
	var n int
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		n = [4]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		n = [2]int{480, 960}[config&1]
	default: // CELT: 2.5, 5, 10, 20 ms
		n = 120 << (config & 3)
	}
	switch packet[0] & 3 {
	case 1, 2:
		n *= 2
	case 3:
		if len(packet) < 2 {
			return 0
		}
		n *= int(packet[1] & 0x3f)
	}
	if n > 5760 {
		return 0
	}
	return n
}

// Duration returns how long a packet sounds, 0 if it is broken.
func Duration(packet []byte) time.Duration {
	return time.Duration(Samples(packet)) * time.Second / Rate
}
