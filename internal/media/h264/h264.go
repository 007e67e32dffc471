// Package h264 reads and writes what a server must know of H.264 (ITU-T
// H.264, ISO/IEC 14496-10): unit types, the sequence parameter set and the
// AVCDecoderConfigurationRecord that FLV and MP4 carry.
//
// It decodes no pictures. All input is bounded by its own length, counts
// included.
package h264

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"weir/internal/media/bits"
	"weir/internal/media/nal"
)

// Unit types (H.264 table 7-1).
const (
	TypeSlice = 1
	TypeIDR   = 5
	TypeSEI   = 6
	TypeSPS   = 7
	TypePPS   = 8
	TypeAUD   = 9
	TypeEnd   = 10
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("h264: bad syntax")

// Type returns the type of a unit, 0 for an empty one.
func Type(unit []byte) byte {
	if len(unit) == 0 {
		return 0
	}
	return unit[0] & 0x1f
}

// IsKey reports whether the access unit, of units behind lengths of size
// bytes, has a slice of an IDR picture.
func IsKey(payload []byte, size int) bool {
	for n := 0; len(payload) > 0 && n < nal.MaxUnits; n++ {
		unit, rest, err := nal.Next(payload, size)
		if err != nil {
			return false
		}
		if Type(unit) == TypeIDR {
			return true
		}
		payload = rest
	}
	return false
}

// SPS is what we use of a sequence parameter set.
type SPS struct {
	Profile, Compat, Level byte // profile_idc, constraint flags, level_idc
	ChromaFormat           byte // chroma_format_idc: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4
	BitDepthLuma           byte
	BitDepthChroma         byte
	Width, Height          int // in pixels, after cropping
}

// ParseSPS parses a whole unit of type SPS (H.264 7.3.2.1.1), header byte
// included.
func ParseSPS(unit []byte) (SPS, error) {
	if Type(unit) != TypeSPS || len(unit) < 4 {
		return SPS{}, fmt.Errorf("%w: not a sequence parameter set", ErrSyntax)
	}
	var buf [256]byte
	r := bits.New(nal.Unescape(buf[:0], unit[1:]))
	s := SPS{Profile: byte(r.Bits(8)), Compat: byte(r.Bits(8)), Level: byte(r.Bits(8))}
	r.UE() // seq_parameter_set_id
	s.ChromaFormat, s.BitDepthLuma, s.BitDepthChroma = 1, 8, 8
	separate := false
	if hasChroma(s.Profile) {
		s.ChromaFormat = byte(min(r.UE(), 255))
		if s.ChromaFormat > 3 {
			return SPS{}, fmt.Errorf("%w: chroma format %d", ErrSyntax, s.ChromaFormat)
		}
		if s.ChromaFormat == 3 {
			separate = r.Flag()
		}
		s.BitDepthLuma = 8 + byte(min(r.UE(), 6))
		s.BitDepthChroma = 8 + byte(min(r.UE(), 6))
		r.Skip(1) // qpprime_y_zero_transform_bypass_flag
		if r.Flag() {
			skipScaling(&r, s.ChromaFormat)
		}
	}
	r.UE() // log2_max_frame_num_minus4
	switch r.UE() {
	case 0:
		r.UE() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.Skip(1)
		r.SE()
		r.SE()
		n := r.UE()
		for i := uint32(0); i < n && r.OK(); i++ {
			r.SE()
		}
	}
	r.UE() // max_num_ref_frames
	r.Skip(1)
	width := (int64(r.UE()) + 1) * 16
	height := (int64(r.UE()) + 1) * 16
	frame := r.Flag() // frame_mbs_only_flag
	if !frame {
		height *= 2
		r.Skip(1)
	}
	r.Skip(1) // direct_8x8_inference_flag
	if r.Flag() {
		// A unit of cropping is a chroma sample, and a pair of lines where
		// there are fields (H.264 7.4.2.1.1).
		cx, cy := int64(1), int64(1)
		if !separate && (s.ChromaFormat == 1 || s.ChromaFormat == 2) {
			cx = 2
		}
		if !separate && s.ChromaFormat == 1 {
			cy = 2
		}
		if !frame {
			cy *= 2
		}
		left, right, top, bottom := int64(r.UE()), int64(r.UE()), int64(r.UE()), int64(r.UE())
		width -= (left + right) * cx
		height -= (top + bottom) * cy
	}
	if !r.OK() {
		return SPS{}, fmt.Errorf("%w: sequence parameter set ends early", ErrSyntax)
	}
	if width <= 0 || height <= 0 || width > 1<<16 || height > 1<<16 {
		return SPS{}, fmt.Errorf("%w: picture of %d by %d", ErrSyntax, width, height)
	}
	s.Width, s.Height = int(width), int(height)
	return s, nil
}

// hasChroma tells the profiles whose parameter sets have a chroma format.
func hasChroma(profile byte) bool {
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		return true
	}
	return false
}

func skipScaling(r *bits.Reader, chroma byte) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.Flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := int32(8), int32(8)
		for range size {
			if next != 0 {
				next = (last + r.SE() + 256) % 256
			}
			if next != 0 {
				last = next
			}
		}
	}
}

// Config is an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1).
type Config struct {
	Profile, Compat, Level byte
	// LengthSize is in how many bytes the length of each unit is written: 1,
	// 2 or 4.
	LengthSize int
	// SPS and PPS hold whole units, SPSExt those of extensions.
	SPS, PPS, SPSExt [][]byte
	// Chroma and bit depths follow in records of high profiles.
	ChromaFormat, BitDepthLuma, BitDepthChroma byte
}

// ParseConfig parses a record. Its units are slices of b. A record that ends
// after the picture parameter sets, without the part for high profiles, is
// taken: many encoders write it so.
func ParseConfig(b []byte) (Config, error) {
	if len(b) < 6 {
		return Config{}, fmt.Errorf("%w: decoder configuration of %d bytes", ErrSyntax, len(b))
	}
	c := Config{Profile: b[1], Compat: b[2], Level: b[3], LengthSize: int(b[4]&3) + 1}
	if c.LengthSize == 3 {
		return Config{}, fmt.Errorf("%w: unit lengths of 3 bytes", ErrSyntax)
	}
	var err error
	n := int(b[5] & 0x1f)
	if c.SPS, b, err = sets(b[6:], n); err != nil {
		return Config{}, fmt.Errorf("sequence parameter sets: %w", err)
	}
	if len(b) == 0 {
		return c, nil
	}
	if c.PPS, b, err = sets(b[1:], int(b[0])); err != nil {
		return Config{}, fmt.Errorf("picture parameter sets: %w", err)
	}
	if hasChroma(c.Profile) && len(b) >= 4 {
		c.ChromaFormat, c.BitDepthLuma, c.BitDepthChroma = b[0]&3, b[1]&7+8, b[2]&7+8
		if ext, _, err := sets(b[4:], int(b[3])); err == nil {
			c.SPSExt = ext
		}
	}
	return c, nil
}

func sets(b []byte, n int) (units [][]byte, rest []byte, err error) {
	for range n {
		unit, r, err := nal.Next(b, 2)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		units, b = append(units, unit), r
	}
	return units, b, nil
}

// NewConfig makes the record for given parameter sets, with lengths of four
// bytes. There must be one sequence parameter set at least; it gives the
// profile.
func NewConfig(sps, pps [][]byte) (Config, error) {
	if len(sps) == 0 || len(pps) == 0 || len(sps) > 31 || len(pps) > 255 {
		return Config{}, fmt.Errorf("%w: %d sequence and %d picture parameter sets", ErrSyntax, len(sps), len(pps))
	}
	s, err := ParseSPS(sps[0])
	if err != nil {
		return Config{}, err
	}
	return Config{
		Profile: s.Profile, Compat: s.Compat, Level: s.Level, LengthSize: 4, SPS: sps, PPS: pps,
		ChromaFormat: s.ChromaFormat, BitDepthLuma: s.BitDepthLuma, BitDepthChroma: s.BitDepthChroma,
	}, nil
}

// Append appends the record. Units are at most 65,535 bytes long.
func (c Config) Append(dst []byte) []byte {
	dst = append(dst, 1, c.Profile, c.Compat, c.Level, 0xfc|byte(c.LengthSize-1), 0xe0|byte(len(c.SPS)))
	dst = appendSets(dst, c.SPS)
	dst = appendSets(append(dst, byte(len(c.PPS))), c.PPS)
	if hasChroma(c.Profile) && c.BitDepthLuma >= 8 && c.BitDepthChroma >= 8 {
		dst = append(dst, 0xfc|c.ChromaFormat, 0xf8|(c.BitDepthLuma-8), 0xf8|(c.BitDepthChroma-8), byte(len(c.SPSExt)))
		dst = appendSets(dst, c.SPSExt)
	}
	return dst
}

func appendSets(dst []byte, units [][]byte) []byte {
	for _, u := range units {
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(u))), u...)
	}
	return dst
}

// ProfileName returns the name of a profile_idc as SRS's API has it: "High",
// "High(422)", or "Other".
func ProfileName(idc byte) string {
	switch idc {
	case 66:
		return "Baseline"
	case 77:
		return "Main"
	case 88:
		return "Extended"
	case 100:
		return "High"
	case 110:
		return "High(10)"
	case 122:
		return "High(422)"
	case 144:
		return "High(444)"
	case 244:
		return "High(444+Predictive)"
	case 44:
		return "High(444+Intra)"
	}
	return "Other"
}

// LevelName returns the name of a level_idc: "3", "3.1".
func LevelName(idc byte) string {
	s := strconv.Itoa(int(idc / 10))
	if idc%10 != 0 {
		s += "." + strconv.Itoa(int(idc%10))
	}
	return s
}
