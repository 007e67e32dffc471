// Package h265 reads and writes what a server must know of H.265 (ITU-T
// H.265, ISO/IEC 23008-2): unit types, the sequence parameter set and the
// HEVCDecoderConfigurationRecord that FLV and MP4 carry.
//
// It decodes no pictures. All input is bounded by its own length, counts
// included.
package h265

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"weir/internal/media/bits"
	"weir/internal/media/nal"
)

// Unit types (H.265 table 7-1).
const (
	TypeBLA       = 16 // first of the types of random access pictures
	TypeIDR       = 19
	TypeCRA       = 21
	typeLastIRAP  = 23
	TypeVPS       = 32
	TypeSPS       = 33
	TypePPS       = 34
	TypeAUD       = 35
	TypePrefixSEI = 39
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("h265: bad syntax")

// Type returns the type of a unit, 0 for an empty one.
func Type(unit []byte) byte {
	if len(unit) == 0 {
		return 0
	}
	return unit[0] >> 1 & 0x3f
}

// IsKey reports whether the access unit, of units behind lengths of size
// bytes, has a slice of a random access picture.
func IsKey(payload []byte, size int) bool {
	for n := 0; len(payload) > 0 && n < nal.MaxUnits; n++ {
		unit, rest, err := nal.Next(payload, size)
		if err != nil {
			return false
		}
		if t := Type(unit); t >= TypeBLA && t <= typeLastIRAP {
			return true
		}
		payload = rest
	}
	return false
}

// ProfileTierLevel is the general part of profile_tier_level (H.265 7.3.3).
type ProfileTierLevel struct {
	Space       byte   // general_profile_space, 0 to 3
	Tier        byte   // general_tier_flag: 0 Main, 1 High
	Profile     byte   // general_profile_idc, 0 to 31
	Compat      uint32 // general_profile_compatibility_flags, flag 0 highest
	Constraints uint64 // 48 bits of constraint flags
	Level       byte   // general_level_idc: 30 times the level
}

// SPS is what we use of a sequence parameter set.
type SPS struct {
	ProfileTierLevel
	SubLayers      byte // temporal layers, 1 to 7
	Nested         bool // sps_temporal_id_nesting_flag
	ChromaFormat   byte // chroma_format_idc: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4
	BitDepthLuma   byte
	BitDepthChroma byte
	Width, Height  int // in pixels, after the conformance window
}

// ParseSPS parses a whole unit of type SPS (H.265 7.3.2.2), header included.
func ParseSPS(unit []byte) (SPS, error) {
	if Type(unit) != TypeSPS || len(unit) < 4 {
		return SPS{}, fmt.Errorf("%w: not a sequence parameter set", ErrSyntax)
	}
	var buf [256]byte
	r := bits.New(nal.Unescape(buf[:0], unit[2:]))
	var s SPS
	r.Skip(4) // sps_video_parameter_set_id
	sub := int(r.Bits(3))
	s.SubLayers = byte(sub) + 1
	s.Nested = r.Flag()
	s.Space, s.Tier, s.Profile = byte(r.Bits(2)), byte(r.Bits(1)), byte(r.Bits(5))
	s.Compat = r.Bits(32)
	s.Constraints = uint64(r.Bits(16))<<32 | uint64(r.Bits(32))
	s.Level = byte(r.Bits(8))
	skipSubLayers(&r, sub)
	r.UE() // sps_seq_parameter_set_id
	chroma := r.UE()
	if chroma > 3 {
		return SPS{}, fmt.Errorf("%w: chroma format %d", ErrSyntax, chroma)
	}
	s.ChromaFormat = byte(chroma)
	cx, cy := int64(1), int64(1)
	if chroma == 1 || chroma == 2 {
		cx = 2
	}
	if chroma == 1 {
		cy = 2
	}
	if chroma == 3 {
		r.Skip(1) // separate_colour_plane_flag
	}
	width, height := int64(r.UE()), int64(r.UE())
	if r.Flag() {
		left, right, top, bottom := int64(r.UE()), int64(r.UE()), int64(r.UE()), int64(r.UE())
		width -= (left + right) * cx
		height -= (top + bottom) * cy
	}
	s.BitDepthLuma = 8 + byte(min(r.UE(), 8))
	s.BitDepthChroma = 8 + byte(min(r.UE(), 8))
	if !r.OK() {
		return SPS{}, fmt.Errorf("%w: sequence parameter set ends early", ErrSyntax)
	}
	if width <= 0 || height <= 0 || width > 1<<16 || height > 1<<16 {
		return SPS{}, fmt.Errorf("%w: picture of %d by %d", ErrSyntax, width, height)
	}
	s.Width, s.Height = int(width), int(height)
	return s, nil
}

// skipSubLayers passes over the part of profile_tier_level for n sub-layers.
func skipSubLayers(r *bits.Reader, n int) {
	var profile, level [8]bool
	for i := range n {
		profile[i], level[i] = r.Flag(), r.Flag()
	}
	if n > 0 {
		r.Skip(2 * (8 - n))
	}
	for i := range n {
		if profile[i] {
			r.Skip(88)
		}
		if level[i] {
			r.Skip(8)
		}
	}
}

// An Array holds the units of one type in a [Config].
type Array struct {
	Type     byte
	Complete bool // all units of the type are here, none in the stream
	Units    [][]byte
}

// Config is an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 8.3.3.1).
type Config struct {
	ProfileTierLevel
	MinSpatialSegmentation uint16
	Parallelism            byte
	ChromaFormat           byte
	BitDepthLuma           byte
	BitDepthChroma         byte
	AvgFrameRate           uint16
	ConstantFrameRate      byte
	SubLayers              byte
	Nested                 bool
	// LengthSize is in how many bytes the length of each unit is written: 1,
	// 2 or 4.
	LengthSize int
	Arrays     []Array
}

// ParseConfig parses a record. Its units are slices of b.
func ParseConfig(b []byte) (Config, error) {
	if len(b) < 23 {
		return Config{}, fmt.Errorf("%w: decoder configuration of %d bytes", ErrSyntax, len(b))
	}
	c := Config{
		ProfileTierLevel: ProfileTierLevel{
			Space: b[1] >> 6, Tier: b[1] >> 5 & 1, Profile: b[1] & 0x1f,
			Compat:      binary.BigEndian.Uint32(b[2:]),
			Constraints: uint64(binary.BigEndian.Uint16(b[6:]))<<32 | uint64(binary.BigEndian.Uint32(b[8:])),
			Level:       b[12],
		},
		MinSpatialSegmentation: binary.BigEndian.Uint16(b[13:]) & 0xfff,
		Parallelism:            b[15] & 3,
		ChromaFormat:           b[16] & 3,
		BitDepthLuma:           b[17]&7 + 8,
		BitDepthChroma:         b[18]&7 + 8,
		AvgFrameRate:           binary.BigEndian.Uint16(b[19:]),
		ConstantFrameRate:      b[21] >> 6,
		SubLayers:              b[21] >> 3 & 7,
		Nested:                 b[21]&4 != 0,
		LengthSize:             int(b[21]&3) + 1,
	}
	if c.LengthSize == 3 {
		return Config{}, fmt.Errorf("%w: unit lengths of 3 bytes", ErrSyntax)
	}
	n := int(b[22])
	b = b[23:]
	for i := range n {
		if len(b) < 3 {
			return Config{}, fmt.Errorf("%w: array %d of %d is not there", ErrSyntax, i, n)
		}
		a := Array{Type: b[0] & 0x3f, Complete: b[0]&0x80 != 0}
		count := int(binary.BigEndian.Uint16(b[1:]))
		b = b[3:]
		for range count {
			unit, rest, err := nal.Next(b, 2)
			if err != nil {
				return Config{}, fmt.Errorf("%w: array %d: %w", ErrSyntax, i, err)
			}
			a.Units, b = append(a.Units, unit), rest
		}
		c.Arrays = append(c.Arrays, a)
	}
	return c, nil
}

// Units returns the units of one type.
func (c Config) Units(typ byte) [][]byte {
	var units [][]byte
	for _, a := range c.Arrays {
		if a.Type == typ {
			units = append(units, a.Units...)
		}
	}
	return units
}

// NewConfig makes the record for given parameter sets, with lengths of four
// bytes. There must be one of each at least; the first sequence parameter set
// gives the profile.
func NewConfig(vps, sps, pps [][]byte) (Config, error) {
	if len(vps) == 0 || len(sps) == 0 || len(pps) == 0 || max(len(vps), len(sps), len(pps)) > nal.MaxUnits {
		return Config{}, fmt.Errorf("%w: %d video, %d sequence and %d picture parameter sets", ErrSyntax, len(vps), len(sps), len(pps))
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return Config{}, err
	}
	return Config{
		ProfileTierLevel: s.ProfileTierLevel,
		ChromaFormat:     s.ChromaFormat, BitDepthLuma: s.BitDepthLuma, BitDepthChroma: s.BitDepthChroma,
		SubLayers: s.SubLayers, Nested: s.Nested, LengthSize: 4,
		Arrays: []Array{{TypeVPS, true, vps}, {TypeSPS, true, sps}, {TypePPS, true, pps}},
	}, nil
}

// Append appends the record. Units are at most 65,535 bytes long.
func (c Config) Append(dst []byte) []byte {
	dst = append(dst, 1, c.Space<<6|c.Tier<<5|c.Profile)
	dst = binary.BigEndian.AppendUint32(dst, c.Compat)
	dst = binary.BigEndian.AppendUint16(dst, uint16(c.Constraints>>32))
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.Constraints))
	dst = append(dst, c.Level)
	dst = binary.BigEndian.AppendUint16(dst, 0xf000|c.MinSpatialSegmentation)
	dst = append(dst, 0xfc|c.Parallelism, 0xfc|c.ChromaFormat, 0xf8|(c.BitDepthLuma-8)&7, 0xf8|(c.BitDepthChroma-8)&7)
	dst = binary.BigEndian.AppendUint16(dst, c.AvgFrameRate)
	last := c.ConstantFrameRate<<6 | c.SubLayers<<3 | byte(c.LengthSize-1)
	if c.Nested {
		last |= 4
	}
	dst = append(dst, last, byte(len(c.Arrays)))
	for _, a := range c.Arrays {
		head := a.Type
		if a.Complete {
			head |= 0x80
		}
		dst = binary.BigEndian.AppendUint16(append(dst, head), uint16(len(a.Units)))
		for _, u := range a.Units {
			dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(u))), u...)
		}
	}
	return dst
}

// ProfileName returns the name of a general_profile_idc as SRS's API has it:
// "Main", "Main10", or "Other".
func ProfileName(idc byte) string {
	switch idc {
	case 1:
		return "Main"
	case 2:
		return "Main10"
	case 3:
		return "Main Still Picture"
	case 4:
		return "Rext"
	}
	return "Other"
}

// LevelName returns the name of a general_level_idc: "4", "4.1".
func LevelName(idc byte) string {
	s := strconv.Itoa(int(idc / 30))
	if tenth := idc % 30 / 3; tenth != 0 {
		s += "." + strconv.Itoa(int(tenth))
	}
	return s
}
