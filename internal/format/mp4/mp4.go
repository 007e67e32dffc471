// Package mp4 writes fragmented MP4 (ISO/IEC 14496-12, in the ways that CMAF,
// Media Source Extensions, HLS and DASH want it): an initialization segment
// for a layout, and fragments of one frame or of many.
//
// Times and names are those of the stream, so equal frames make equal bytes
// wherever they are made: decode times are [media.Frame.DTS] in the track's
// [Timescale], and a track's number, [TrackID], follows from its kind and ID.
//
// Everything appends to a slice and allocates nothing beside it. Tracks of
// codecs that MP4 cannot carry here (see [Supported]) are left out.
package mp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/av1"
	"weir/internal/media/h265"
	"weir/internal/media/opus"
	"weir/internal/media/vp9"
)

// ErrTracks means that a layout has no track that MP4 can carry, or one whose
// configuration is unusable.
var ErrTracks = errors.New("mp4: no usable track")

// Supported reports whether t can be carried. Video and AAC need their
// configuration; script data, G.711 and Speex are not carried.
func Supported(t *media.Track) bool {
	switch t.Codec {
	case media.H264, media.H265, media.AV1, media.VP8, media.VP9, media.AAC, media.Opus, media.FLAC, media.AC3, media.EAC3:
		return len(t.Config) > 0
	case media.MP3:
		return true
	}
	return false
}

// TrackID returns the number of a track: 1 and 2 for the main video and audio
// track, 3 and 4 for the next, and so on.
func TrackID(t *media.Track) uint32 {
	n := uint32(t.ID)*2 + 1
	if t.Kind == media.Audio {
		n++
	}
	return n
}

// Timescale returns how many ticks a second has in a track: 90,000 for
// video, the sample rate for audio.
func Timescale(t *media.Track) int64 {
	switch {
	case t.Kind == media.Video:
		return 90000
	case t.Codec == media.Opus || t.SampleRate <= 0:
		return 48000
	}
	return int64(t.SampleRate)
}

// defaultDuration is how long a frame lasts of which nothing else is known.
const defaultDuration = time.Second / 30

// Steps between two frames tell how long a frame lasts if they are within
// these bounds. A longer one is a pause. A shorter one is jitter, and believing
// it would leave a gap before the next frame, at which players stop; that a
// frame lasts too long harms nobody.
const (
	minDuration = 8 * time.Millisecond
	maxDuration = time.Second
)

// FrameDuration returns how long f lasts as far as f itself can tell: what its
// codec says, else the step from the frame before, else a thirtieth of a
// second.
func FrameDuration(f *media.Frame) time.Duration {
	rate := time.Duration(f.Track.SampleRate)
	switch c := f.Track.Codec; {
	case c == media.AAC:
		if c, err := aac.ParseConfig(f.Track.Config); err == nil {
			return c.FrameDuration()
		}
	case c == media.Opus:
		if d := opus.Duration(f.Payload); d > 0 {
			return d
		}
	case c == media.MP3 && rate >= 32000:
		return 1152 * time.Second / rate
	case c == media.MP3 && rate > 0:
		return 576 * time.Second / rate
	case c == media.AC3 && rate > 0:
		return 1536 * time.Second / rate
	}
	if d := f.DTS - f.Prev; d >= minDuration && d <= maxDuration {
		return d
	}
	return defaultDuration
}

// Codecs returns the names of a layout's tracks for the codecs parameter of a
// MIME type (RFC 6381), separated by commas: "avc1.64001f,mp4a.40.2".
func Codecs(l *media.Layout) string {
	var names []string
	for _, t := range l.Tracks {
		if s := Codec(t); s != "" {
			names = append(names, s)
		}
	}
	return strings.Join(names, ",")
}

// Codec returns a track's name for the codecs parameter, or "" if the track is
// not carried.
func Codec(t *media.Track) string {
	if !Supported(t) {
		return ""
	}
	switch t.Codec {
	case media.H264:
		if len(t.Config) >= 4 {
			return fmt.Sprintf("avc1.%02x%02x%02x", t.Config[1], t.Config[2], t.Config[3])
		}
	case media.H265:
		return hevcName(t)
	case media.AV1:
		if c, err := av1.ParseConfig(t.Config); err == nil {
			tier := 'M'
			if c.Tier != 0 {
				tier = 'H'
			}
			return fmt.Sprintf("av01.%d.%02d%c.%02d", c.Profile, c.Level, tier, c.BitDepth)
		}
	case media.VP8, media.VP9:
		if c, err := vp9.ParseConfig(t.Config); err == nil {
			level := c.Level
			if level == 0 { // unknown: say the lowest that decoders ask for
				level = 10
			}
			name := "vp09"
			if t.Codec == media.VP8 {
				name = "vp08"
			}
			return fmt.Sprintf("%s.%02d.%02d.%02d", name, c.Profile, level, c.BitDepth)
		}
	case media.AAC:
		if c, err := aac.ParseConfig(t.Config); err == nil {
			typ := c.Type
			switch {
			case c.PS:
				typ = aac.TypePS
			case c.SBR:
				typ = aac.TypeSBR
			}
			return fmt.Sprintf("mp4a.40.%d", typ)
		}
	case media.MP3:
		return "mp4a.6B"
	case media.Opus:
		return "opus"
	case media.AC3:
		return "ac-3"
	case media.EAC3:
		return "ec-3"
	case media.FLAC:
		return "fLaC"
	}
	return ""
}

// hevcName follows ISO/IEC 14496-15 annex E.3.
func hevcName(t *media.Track) string {
	c, err := h265.ParseConfig(t.Config)
	if err != nil {
		return ""
	}
	var compat uint32 // the flags with their order reversed
	for i := range 32 {
		compat |= c.Compat >> i & 1 << (31 - i)
	}
	tier := 'L'
	if c.Tier != 0 {
		tier = 'H'
	}
	s := fmt.Sprintf("hvc1.%s%d.%X.%c%d", []string{"", "A", "B", "C"}[c.Space&3], c.Profile, compat, tier, c.Level)
	for rest := c.Constraints << 16; rest != 0; rest <<= 8 {
		s += fmt.Sprintf(".%X", rest>>56)
	}
	return s
}

// begin starts a box; end writes its size.
func begin(dst []byte, name string) ([]byte, int) {
	at := len(dst)
	return append(append(dst, 0, 0, 0, 0), name...), at
}

// beginFull starts a box with version and flags.
func beginFull(dst []byte, name string, version byte, flags uint32) ([]byte, int) {
	dst, at := begin(dst, name)
	return append32(dst, uint32(version)<<24|flags), at
}

func end(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

func append16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func append32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func append64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

var zeros [64]byte

func appendZeros(dst []byte, n int) []byte { return append(dst, zeros[:n]...) }
