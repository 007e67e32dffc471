// Package elementary turns elementary streams, as transport and program streams
// carry them, into frames: pictures with start codes, sound with a header before
// each frame.
//
// What is bounded: a picture has at most [nal.MaxUnits] units, what is kept of an
// unfinished sound frame is less than [MaxAudio]. Bytes are copied.
package elementary

import (
	"bytes"
	"slices"
	"time"

	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
	"weir/internal/media/nal"
)

// Video makes frames of one H.264 or H.265 stream.
type Video struct {
	// Codec is media.H264 or media.H265; ID is the track's.
	Codec media.Codec
	ID    uint8

	track         *media.Track
	vps, sps, pps [][]byte
	units         [][]byte
	split         [][]byte
}

// Track returns the track as it is now, nil before its parameter sets have come.
func (v *Video) Track() *media.Track { return v.track }

// Append appends the frame that an access unit with start codes (H.264 annex B) is.
// Nothing is appended if it holds no picture, makes no sense, or came before its
// parameter sets. Parameter sets and delimiters are taken out: they stand in the
// track, and a change of them is a new track.
func (v *Video) Append(dst []*media.Frame, unit []byte, dts, cto time.Duration) []*media.Frame {
	v.split = v.split[:0]
	for {
		u, rest := nal.NextAnnexB(unit)
		if len(u) == 0 {
			break
		}
		if len(v.split) == nal.MaxUnits {
			return dst
		}
		v.split, unit = append(v.split, u), rest
	}
	return v.AppendUnits(dst, v.split, dts, cto)
}

// AppendUnits is Append for an access unit that comes unit by unit.
func (v *Video) AppendUnits(dst []*media.Frame, units [][]byte, dts, cto time.Duration) []*media.Frame {
	v.units = v.units[:0]
	var vps, sps, pps [][]byte
	size := 0
	for _, u := range units {
		switch v.kind(u) {
		case partVPS:
			vps = append(vps, u)
		case partSPS:
			sps = append(sps, u)
		case partPPS:
			pps = append(pps, u)
		case partNothing:
		default:
			v.units = append(v.units, u)
			size += 4 + len(u)
		}
	}
	v.take(vps, sps, pps)
	if v.track == nil || size == 0 {
		return dst
	}
	p := make([]byte, 0, size)
	for _, u := range v.units {
		p = append(append(p, byte(len(u)>>24), byte(len(u)>>16), byte(len(u)>>8), byte(len(u))), u...)
	}
	clear(v.units)
	key := false
	if v.Codec == media.H264 {
		key = h264.IsKey(p, 4)
	} else {
		key = h265.IsKey(p, 4)
	}
	return append(dst, &media.Frame{Track: v.track, Source: dts, CTO: cto, Key: key, Payload: p})
}

// The parts of an access unit that are told apart.
type part byte

const (
	partOther part = iota
	partNothing
	partVPS
	partSPS
	partPPS
)

func (v *Video) kind(u []byte) part {
	if v.Codec == media.H264 {
		switch h264.Type(u) {
		case h264.TypeAUD, 12: // filler data
			return partNothing
		case h264.TypeSPS:
			return partSPS
		case h264.TypePPS:
			return partPPS
		}
		return partOther
	}
	switch h265.Type(u) {
	case h265.TypeAUD, 38: // filler data
		return partNothing
	case h265.TypeVPS:
		return partVPS
	case h265.TypeSPS:
		return partSPS
	case h265.TypePPS:
		return partPPS
	}
	return partOther
}

// take makes a new track if parameter sets are others than before.
func (v *Video) take(vps, sps, pps [][]byte) {
	changed := false
	for _, s := range []struct {
		had *[][]byte
		now [][]byte
	}{{&v.vps, vps}, {&v.sps, sps}, {&v.pps, pps}} {
		if len(s.now) == 0 || slices.EqualFunc(*s.had, s.now, bytes.Equal) {
			continue
		}
		changed = true
		*s.had = nil
		for _, b := range s.now {
			*s.had = append(*s.had, bytes.Clone(b))
		}
	}
	if !changed {
		return
	}
	t := &media.Track{ID: v.ID, Kind: media.Video, Codec: v.Codec}
	if v.Codec == media.H264 {
		c, err := h264.NewConfig(v.sps, v.pps)
		if err != nil {
			return
		}
		if s, err := h264.ParseSPS(v.sps[0]); err == nil {
			t.Width, t.Height = s.Width, s.Height
		}
		t.Config, t.Profile, t.Level = c.Append(nil), h264.ProfileName(c.Profile), h264.LevelName(c.Level)
	} else {
		c, err := h265.NewConfig(v.vps, v.sps, v.pps)
		if err != nil {
			return
		}
		if s, err := h265.ParseSPS(v.sps[0]); err == nil {
			t.Width, t.Height = s.Width, s.Height
		}
		t.Config, t.Profile, t.Level = c.Append(nil), h265.ProfileName(c.Profile), h265.LevelName(c.Level)
	}
	v.track = t
}
