package mp4

import (
	"fmt"

	"weir/internal/media"
	"weir/internal/media/opus"
)

// AppendInit appends the initialization segment of a layout: ftyp and moov.
// An error wraps [ErrTracks].
func AppendInit(dst []byte, l *media.Layout) ([]byte, error) {
	n := 0
	for _, t := range l.Tracks {
		if Supported(t) {
			n++
		}
	}
	if n == 0 {
		return dst, fmt.Errorf("%w among %d", ErrTracks, len(l.Tracks))
	}
	dst, at := begin(dst, "ftyp")
	dst = append(append32(append(dst, "iso6"...), 1), "iso6mp41dashcmfc"...)
	dst = end(dst, at)

	dst, moov := begin(dst, "moov")
	dst, at = beginFull(dst, "mvhd", 0, 0)
	dst = appendZeros(dst, 8)  // times
	dst = append32(dst, 1000)  // timescale
	dst = append32(dst, 0)     // duration: unknown
	dst = append32(dst, 1<<16) // rate 1
	dst = append16(dst, 1<<8)  // volume 1
	dst = appendZeros(dst, 10) // reserved
	dst = appendMatrix(dst)
	dst = appendZeros(dst, 24)
	dst = append32(dst, 0xffffffff) // next track: any
	dst = end(dst, at)
	for _, t := range l.Tracks {
		if !Supported(t) {
			continue
		}
		var err error
		if dst, err = appendTrack(dst, t); err != nil {
			return dst, err
		}
	}
	dst, mvex := begin(dst, "mvex")
	for _, t := range l.Tracks {
		if Supported(t) {
			dst, at = beginFull(dst, "trex", 0, 0)
			dst = append32(append32(dst, TrackID(t)), 1)
			dst = end(appendZeros(dst, 12), at)
		}
	}
	return end(end(dst, mvex), moov), nil
}

func appendMatrix(dst []byte) []byte {
	for i := range 9 {
		switch i {
		case 0, 4:
			dst = append32(dst, 1<<16)
		case 8:
			dst = append32(dst, 1<<30)
		default:
			dst = append32(dst, 0)
		}
	}
	return dst
}

func appendTrack(dst []byte, t *media.Track) ([]byte, error) {
	video := t.Kind == media.Video
	dst, trak := begin(dst, "trak")
	dst, at := beginFull(dst, "tkhd", 0, 7) // enabled, in movie and preview
	dst = appendZeros(dst, 8)
	dst = append32(dst, TrackID(t))
	dst = appendZeros(dst, 4+4+8+2+2) // duration, reserved, layer, group
	if video {
		dst = appendZeros(dst, 4)
	} else {
		dst = append32(dst, 1<<24) // volume 1
	}
	dst = appendMatrix(dst)
	dst = append32(append32(dst, uint32(t.Width)<<16), uint32(t.Height)<<16)
	dst = end(dst, at)

	dst, mdia := begin(dst, "mdia")
	dst, at = beginFull(dst, "mdhd", 0, 0)
	dst = appendZeros(dst, 8)
	dst = append32(append32(dst, uint32(Timescale(t))), 0)
	dst = append32(dst, uint32(language(t.Lang))<<16)
	dst = end(dst, at)
	dst, at = beginFull(dst, "hdlr", 0, 0)
	dst = append32(dst, 0)
	if video {
		dst = append(appendZeros(append(dst, "vide"...), 12), "video\x00"...)
	} else {
		dst = append(appendZeros(append(dst, "soun"...), 12), "audio\x00"...)
	}
	dst = end(dst, at)

	dst, minf := begin(dst, "minf")
	if video {
		dst, at = beginFull(dst, "vmhd", 0, 1)
		dst = end(appendZeros(dst, 8), at)
	} else {
		dst, at = beginFull(dst, "smhd", 0, 0)
		dst = end(appendZeros(dst, 4), at)
	}
	dst, dinf := begin(dst, "dinf")
	dst, dref := beginFull(dst, "dref", 0, 0)
	dst = append32(dst, 1)
	dst, at = beginFull(dst, "url ", 0, 1) // in this file
	dst = end(end(end(dst, at), dref), dinf)

	dst, stbl := begin(dst, "stbl")
	dst, at = beginFull(dst, "stsd", 0, 0)
	dst, err := appendEntry(append32(dst, 1), t)
	if err != nil {
		return dst, fmt.Errorf("%w: %v track %d: %w", ErrTracks, t.Kind, t.ID, err)
	}
	dst = end(dst, at)
	for _, empty := range []string{"stts", "stsc", "stco"} {
		dst, at = beginFull(dst, empty, 0, 0)
		dst = end(append32(dst, 0), at)
	}
	dst, at = beginFull(dst, "stsz", 0, 0)
	dst = end(appendZeros(dst, 8), at)
	return end(end(end(end(dst, stbl), minf), mdia), trak), nil
}

// language packs an ISO 639-2 code, "und" if lang is none.
func language(lang string) uint16 {
	if len(lang) != 3 {
		lang = "und"
	}
	var v uint16
	for i := range 3 {
		c := lang[i]
		if c < 'a' || c > 'z' {
			return language("und")
		}
		v = v<<5 | uint16(c-0x60)
	}
	return v
}

func appendEntry(dst []byte, t *media.Track) ([]byte, error) {
	switch t.Codec {
	case media.H264:
		return appendVideo(dst, t, "avc1", "avcC"), nil
	case media.H265:
		return appendVideo(dst, t, "hvc1", "hvcC"), nil
	case media.AV1:
		return appendVideo(dst, t, "av01", "av1C"), nil
	case media.VP9:
		return appendVideo(dst, t, "vp09", "vpcC"), nil
	case media.VP8:
		return appendVideo(dst, t, "vp08", "vpcC"), nil
	}
	return appendAudio(dst, t)
}

func appendVideo(dst []byte, t *media.Track, entry, config string) []byte {
	dst, at := begin(dst, entry)
	dst = append16(appendZeros(dst, 6), 1) // data reference
	dst = appendZeros(dst, 16)
	dst = append16(append16(dst, uint16(t.Width)), uint16(t.Height))
	dst = append32(append32(dst, 72<<16), 72<<16) // 72 dpi
	dst = append16(append32(dst, 0), 1)           // one frame in a sample
	dst = appendZeros(dst, 32)                    // compressor
	dst = append16(append16(dst, 24), 0xffff)     // depth
	dst, box := begin(dst, config)
	if config == "vpcC" {
		dst = append32(dst, 1<<24) // version 1
	}
	return end(end(append(dst, t.Config...), box), at)
}

// Object types of the MPEG-4 registration authority.
const (
	objectAAC   = 0x40
	objectMP3   = 0x6b
	objectMPEG2 = 0x69 // MP3 at the lower rates
)

func appendAudio(dst []byte, t *media.Track) ([]byte, error) {
	entry := "mp4a"
	switch t.Codec {
	case media.Opus:
		entry = "Opus"
	case media.AC3:
		entry = "ac-3"
	case media.EAC3:
		entry = "ec-3"
	case media.FLAC:
		entry = "fLaC"
	}
	dst, at := begin(dst, entry)
	dst = append16(appendZeros(dst, 6), 1)
	dst = appendZeros(dst, 8)
	dst = append16(append16(dst, uint16(t.Channels)), 16)
	rate := Timescale(t)
	if rate > 0xffff { // the field is 16.16
		rate = 0
	}
	dst = append32(append32(dst, 0), uint32(rate)<<16)
	var box int
	switch t.Codec {
	case media.AAC:
		dst = appendESDS(dst, TrackID(t), objectAAC, t.Config)
	case media.MP3:
		object := byte(objectMP3)
		if t.SampleRate < 32000 {
			object = objectMPEG2
		}
		dst = appendESDS(dst, TrackID(t), object, nil)
	case media.Opus:
		h, err := opus.ParseHead(t.Config)
		if err != nil {
			return dst, err
		}
		dst, box = begin(dst, "dOps")
		dst = append(dst, 0, byte(h.Channels))
		dst = append32(append16(dst, uint16(h.PreSkip)), uint32(h.InputRate))
		dst = append(append16(dst, uint16(h.Gain)), h.Family)
		if h.Family != 0 {
			dst = append(append(dst, h.Streams, h.Coupled), h.Mapping...)
		}
		dst = end(dst, box)
	case media.AC3:
		dst, box = begin(dst, "dac3")
		dst = end(append(dst, t.Config...), box)
	case media.EAC3:
		dst, box = begin(dst, "dec3")
		dst = end(append(dst, t.Config...), box)
	case media.FLAC:
		dst, box = beginFull(dst, "dfLa", 0, 0)
		dst = append(dst, 0x80, 0, 0, byte(len(t.Config))) // the last block, STREAMINFO
		dst = end(append(dst, t.Config...), box)
	}
	return end(dst, at), nil
}

// appendESDS appends the elementary stream descriptor (ISO/IEC 14496-1 7.2.6)
// with all sizes in four bytes.
func appendESDS(dst []byte, id uint32, object byte, config []byte) []byte {
	dst, at := beginFull(dst, "esds", 0, 0)
	const head = 5 // of a descriptor
	specific := 0
	if len(config) > 0 {
		specific = head + len(config)
	}
	dst = appendDescriptor(dst, 3, 3+head+13+specific+head+1)
	dst = append(append16(dst, uint16(id)), 0)
	dst = appendDescriptor(dst, 4, 13+specific)
	dst = append(dst, object, 0x15) // audio stream
	dst = appendZeros(dst, 3+4+4)   // buffer and bit rates: unknown
	if specific > 0 {
		dst = append(appendDescriptor(dst, 5, len(config)), config...)
	}
	dst = append(appendDescriptor(dst, 6, 1), 2)
	return end(dst, at)
}

func appendDescriptor(dst []byte, tag byte, n int) []byte {
	return append(dst, tag, 0x80|byte(n>>21), 0x80|byte(n>>14), 0x80|byte(n>>7), byte(n&0x7f))
}
