// Package av1 reads and writes what a server must know of AV1 (AV1 Bitstream
// & Decoding Process Specification, and the AV1 binding to ISO-BMFF): open
// bitstream units, the sequence header and the AV1CodecConfigurationRecord.
//
// It decodes no pictures. All input is bounded by its own length.
package av1

import (
	"errors"
	"fmt"
	"strconv"

	"weir/internal/media/bits"
)

// Types of open bitstream units (AV1 6.2.2).
const (
	TypeSequenceHeader    = 1
	TypeTemporalDelimiter = 2
	TypeFrameHeader       = 3
	TypeMetadata          = 5
	TypeFrame             = 6
	TypePadding           = 15
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("av1: bad syntax")

// Next cuts the first unit off b, in the low-overhead format (AV1 5.2): whole
// is the unit with its header, body the unit without. A unit that has no size
// of its own goes to the end of b.
func Next(b []byte) (typ byte, whole, body, rest []byte, err error) {
	if len(b) == 0 || b[0]&0x80 != 0 {
		return 0, nil, nil, nil, fmt.Errorf("%w: no unit header", ErrSyntax)
	}
	typ = b[0] >> 3 & 15
	head := 1 + int(b[0]>>2&1)
	if len(b) < head {
		return 0, nil, nil, nil, fmt.Errorf("%w: unit header ends early", ErrSyntax)
	}
	if b[0]&2 == 0 {
		return typ, b, b[head:], nil, nil
	}
	size, n := leb128(b[head:])
	if n == 0 || size > uint64(len(b)-head-n) {
		return 0, nil, nil, nil, fmt.Errorf("%w: unit of %d bytes in %d", ErrSyntax, size, len(b)-head-n)
	}
	end := head + n + int(size)
	return typ, b[:end], b[head+n : end], b[end:], nil
}

// leb128 decodes a number of up to 8 bytes; n is 0 if it does not end.
func leb128(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 8; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// AppendUnit appends a unit of the given type with a size field.
func AppendUnit(dst []byte, typ byte, body []byte) []byte {
	dst = append(dst, typ<<3|2)
	n := uint64(len(body))
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(append(dst, byte(n)), body...)
}

// SequenceHeader is what we use of a sequence header.
type SequenceHeader struct {
	Profile       byte // seq_profile: 0 Main, 1 High, 2 Professional
	Level         byte // seq_level_idx of the first operating point
	Tier          byte // seq_tier of it
	BitDepth      byte // 8, 10 or 12
	Mono          bool
	SubX, SubY    bool // chroma subsampling
	ChromaPos     byte // chroma_sample_position
	Width, Height int  // max_frame_width and _height
}

// ParseSequenceHeader parses the body of a sequence header (AV1 5.5).
func ParseSequenceHeader(body []byte) (SequenceHeader, error) {
	r := bits.New(body)
	s := SequenceHeader{Profile: byte(r.Bits(3))}
	r.Skip(1) // still_picture
	reduced := r.Flag()
	if reduced {
		s.Level = byte(r.Bits(5))
	} else {
		s.operatingPoints(&r)
	}
	wb, hb := int(r.Bits(4))+1, int(r.Bits(4))+1
	s.Width, s.Height = int(r.Bits(wb))+1, int(r.Bits(hb))+1
	if !reduced && r.Flag() {
		r.Skip(7) // frame id lengths
	}
	r.Skip(3) // 128x128 superblocks, filter intra, intra edge filter
	if !reduced {
		skipTools(&r)
	}
	r.Skip(3) // superres, cdef, restoration
	s.colour(&r)
	if !r.OK() || s.Profile > 2 {
		return SequenceHeader{}, fmt.Errorf("%w: sequence header", ErrSyntax)
	}
	return s, nil
}

func (s *SequenceHeader) operatingPoints(r *bits.Reader) {
	model, delay := false, 0
	if r.Flag() { // timing_info_present_flag
		r.Skip(64)
		if r.Flag() { // equal_picture_interval
			zeros := 0
			for !r.Flag() && r.OK() {
				zeros++
			}
			if zeros < 32 {
				r.Skip(zeros)
			}
		}
		if model = r.Flag(); model {
			delay = int(r.Bits(5)) + 1
			r.Skip(32 + 10)
		}
	}
	display := r.Flag()
	n := int(r.Bits(5)) + 1
	for i := range n {
		r.Skip(12) // operating_point_idc
		level, tier := byte(r.Bits(5)), byte(0)
		if level > 7 {
			tier = byte(r.Bits(1))
		}
		if i == 0 {
			s.Level, s.Tier = level, tier
		}
		if model && r.Flag() {
			r.Skip(2*delay + 1)
		}
		if display && r.Flag() {
			r.Skip(4)
		}
	}
}

// skipTools passes over the coding tools that no container asks for.
func skipTools(r *bits.Reader) {
	r.Skip(4) // interintra, masked compound, warped motion, dual filter
	hint := r.Flag()
	if hint {
		r.Skip(2)
	}
	screen := uint32(2) // SELECT_SCREEN_CONTENT_TOOLS
	if !r.Flag() {
		screen = r.Bits(1)
	}
	if screen > 0 && !r.Flag() {
		r.Skip(1) // seq_force_integer_mv
	}
	if hint {
		r.Skip(3)
	}
}

// colour parses color_config (AV1 5.5.2).
func (s *SequenceHeader) colour(r *bits.Reader) {
	s.BitDepth = 8
	if r.Flag() {
		s.BitDepth = 10
		if s.Profile == 2 && r.Flag() {
			s.BitDepth = 12
		}
	}
	if s.Profile != 1 {
		s.Mono = r.Flag()
	}
	primaries, transfer, matrix := uint32(2), uint32(2), uint32(2) // unspecified
	if r.Flag() {
		primaries, transfer, matrix = r.Bits(8), r.Bits(8), r.Bits(8)
	}
	if s.Mono {
		r.Skip(1)
		s.SubX, s.SubY = true, true
		return
	}
	if primaries == 1 && transfer == 13 && matrix == 0 { // sRGB
		return
	}
	r.Skip(1) // color_range
	switch {
	case s.Profile == 0:
		s.SubX, s.SubY = true, true
	case s.Profile == 1:
	case s.BitDepth == 12:
		s.SubX = r.Flag()
		s.SubY = s.SubX && r.Flag()
	default:
		s.SubX = true
	}
	if s.SubX && s.SubY {
		s.ChromaPos = byte(r.Bits(2))
	}
}

// Config is an AV1CodecConfigurationRecord (AV1-ISOBMFF 2.3).
type Config struct {
	Profile, Level, Tier byte
	BitDepth             byte // 8, 10 or 12
	Mono, SubX, SubY     bool
	ChromaPos            byte
	Delay                byte // initial_presentation_delay_minus_one plus 1, or 0 if absent
	// Units holds configOBUs: usually a sequence header.
	Units []byte
}

// ParseConfig parses a record; Units is a slice of b.
func ParseConfig(b []byte) (Config, error) {
	if len(b) < 4 || b[0] != 0x81 {
		return Config{}, fmt.Errorf("%w: not a configuration record of version 1", ErrSyntax)
	}
	c := Config{
		Profile: b[1] >> 5, Level: b[1] & 0x1f, Tier: b[2] >> 7, BitDepth: 8,
		Mono: b[2]&0x10 != 0, SubX: b[2]&8 != 0, SubY: b[2]&4 != 0, ChromaPos: b[2] & 3,
		Units: b[4:],
	}
	if b[2]&0x40 != 0 {
		c.BitDepth = 10
		if b[2]&0x20 != 0 {
			c.BitDepth = 12
		}
	}
	if b[3]&0x10 != 0 {
		c.Delay = b[3]&15 + 1
	}
	return c, nil
}

// NewConfig makes the record for a sequence header, given as a whole unit
// with its size.
func NewConfig(unit []byte) (Config, error) {
	typ, _, body, _, err := Next(unit)
	if err != nil {
		return Config{}, err
	}
	if typ != TypeSequenceHeader {
		return Config{}, fmt.Errorf("%w: unit of type %d is no sequence header", ErrSyntax, typ)
	}
	s, err := ParseSequenceHeader(body)
	if err != nil {
		return Config{}, err
	}
	return Config{
		Profile: s.Profile, Level: s.Level, Tier: s.Tier, BitDepth: s.BitDepth,
		Mono: s.Mono, SubX: s.SubX, SubY: s.SubY, ChromaPos: s.ChromaPos, Units: unit,
	}, nil
}

// SequenceHeader parses the sequence header among the record's units.
func (c Config) SequenceHeader() (SequenceHeader, error) {
	for b := c.Units; len(b) > 0; {
		typ, _, body, rest, err := Next(b)
		if err != nil {
			return SequenceHeader{}, err
		}
		if typ == TypeSequenceHeader {
			return ParseSequenceHeader(body)
		}
		b = rest
	}
	return SequenceHeader{}, fmt.Errorf("%w: no sequence header", ErrSyntax)
}

// Append appends the record.
func (c Config) Append(dst []byte) []byte {
	flags := c.Tier<<7 | c.ChromaPos&3
	for _, f := range []struct {
		on  bool
		bit byte
	}{{c.BitDepth > 8, 0x40}, {c.BitDepth > 10, 0x20}, {c.Mono, 0x10}, {c.SubX, 8}, {c.SubY, 4}} {
		if f.on {
			flags |= f.bit
		}
	}
	var delay byte
	if c.Delay > 0 {
		delay = 0x10 | (c.Delay-1)&15
	}
	return append(append(dst, 0x81, c.Profile<<5|c.Level&0x1f, flags, delay), c.Units...)
}

// AppendWithoutDelimiters appends the units of a temporal unit, less temporal
// delimiters and padding, each with a size.
func AppendWithoutDelimiters(dst, b []byte) ([]byte, error) {
	for len(b) > 0 {
		typ, whole, body, rest, err := Next(b)
		if err != nil {
			return dst, err
		}
		b = rest
		switch {
		case typ == TypeTemporalDelimiter || typ == TypePadding:
		case whole[0]&2 != 0:
			dst = append(dst, whole...)
		case whole[0]&4 != 0: // keep the extension byte
			sized := AppendUnit(nil, typ, body)
			dst = append(append(dst, whole[0]|2, whole[1]), sized[1:]...)
		default:
			dst = AppendUnit(dst, typ, body)
		}
	}
	return dst, nil
}

// ProfileName returns the name of a seq_profile.
func ProfileName(p byte) string {
	switch p {
	case 0:
		return "Main"
	case 1:
		return "High"
	case 2:
		return "Professional"
	}
	return "Other"
}

// LevelName returns the name of a seq_level_idx: "4.0"; 31 is "Max".
func LevelName(idx byte) string {
	if idx == 31 {
		return "Max"
	}
	return strconv.Itoa(2+int(idx>>2)) + "." + strconv.Itoa(int(idx&3))
}
