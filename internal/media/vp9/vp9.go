// Package vp9 reads and writes the VPCodecConfigurationRecord that VP8 and
// VP9 have in FLV and MP4 (VP Codec ISO Media File Format Binding), and the
// size of VP9 and VP8 key frames, which the record does not hold.
package vp9

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"weir/internal/media/bits"
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("vp9: bad syntax")

// Config is a VPCodecConfigurationRecord.
type Config struct {
	Profile, Level              byte // level is ten times the number: 31 is 3.1
	BitDepth                    byte
	Chroma                      byte // 0 and 1 4:2:0, 2 4:2:2, 3 4:4:4
	FullRange                   bool
	Primaries, Transfer, Matrix byte
	Init                        []byte // codec initialization data, empty for VP8 and VP9
}

// Record returns the record in b without the version and flags of the box
// around it, which some writers leave in place. They cannot be mistaken: where
// the flags are zero, a record has its bit depth.
func Record(b []byte) []byte {
	if len(b) >= 12 && b[0] <= 1 && b[1] == 0 && b[2] == 0 && b[3] == 0 {
		return b[4:]
	}
	return b
}

// ParseConfig parses a record; Init is a slice of b.
func ParseConfig(b []byte) (Config, error) {
	if len(b) < 8 {
		return Config{}, fmt.Errorf("%w: configuration record of %d bytes", ErrSyntax, len(b))
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	if n > len(b)-8 {
		return Config{}, fmt.Errorf("%w: initialization data of %d bytes in %d", ErrSyntax, n, len(b)-8)
	}
	return Config{
		Profile: b[0], Level: b[1], BitDepth: b[2] >> 4, Chroma: b[2] >> 1 & 7, FullRange: b[2]&1 != 0,
		Primaries: b[3], Transfer: b[4], Matrix: b[5], Init: b[8 : 8+n],
	}, nil
}

// Append appends the record.
func (c Config) Append(dst []byte) []byte {
	depth := c.BitDepth<<4 | c.Chroma&7<<1
	if c.FullRange {
		depth |= 1
	}
	dst = append(dst, c.Profile, c.Level, depth, c.Primaries, c.Transfer, c.Matrix)
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(c.Init))), c.Init...)
}

// LevelName returns the name of a level: "3.1"; "" for 0, which means unknown.
func LevelName(level byte) string {
	if level == 0 {
		return ""
	}
	return strconv.Itoa(int(level/10)) + "." + strconv.Itoa(int(level%10))
}

// Size returns the width and height in pixels that a VP9 key frame tells (VP9
// specification 6.2), and whether frame is one.
func Size(frame []byte) (width, height int, ok bool) {
	r := bits.New(frame)
	if r.Bits(2) != 2 {
		return 0, 0, false
	}
	profile := r.Bits(1) | r.Bits(1)<<1
	if profile == 3 {
		r.Skip(1)
	}
	if r.Flag() || r.Bits(1) != 0 { // show_existing_frame, frame_type
		return 0, 0, false
	}
	r.Skip(2) // show_frame, error_resilient_mode
	if r.Bits(24) != 0x498342 {
		return 0, 0, false
	}
	color(&r, profile)
	width, height = int(r.Bits(16))+1, int(r.Bits(16))+1
	return width, height, r.OK()
}

// SizeVP8 returns the width and height in pixels that a VP8 key frame tells
// (RFC 6386 9.1), and whether frame is one.
func SizeVP8(frame []byte) (width, height int, ok bool) {
	if len(frame) < 10 || frame[0]&1 != 0 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return 0, 0, false
	}
	return int(binary.LittleEndian.Uint16(frame[6:]) & 0x3fff), int(binary.LittleEndian.Uint16(frame[8:]) & 0x3fff), true
}
