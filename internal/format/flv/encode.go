package flv

import (
	"time"

	"weir/internal/media"
)

// legacy reports whether the frames of t go out in the form from before
// Enhanced RTMP. Every client of old knows that form, so it is used wherever
// it can say what is to be said.
func legacy(t *media.Track) bool {
	if t.ID != 0 {
		return false
	}
	switch t.Codec {
	case media.H264, media.AAC, media.MP3, media.PCMA, media.PCMU, media.Speex:
		return true
	case media.H265:
		return t.Legacy
	}
	return false
}

// Type returns the type of the tag or message for a track of kind k.
func Type(k media.Kind) uint8 {
	switch k {
	case media.Video:
		return TypeVideo
	case media.Audio:
		return TypeAudio
	}
	return TypeScript
}

// KindOf returns what the tags of a type hold; ok is false for what are no frames, such as
// script data.
func KindOf(typ uint8) (k media.Kind, ok bool) {
	switch typ {
	case TypeVideo:
		return media.Video, true
	case TypeAudio:
		return media.Audio, true
	}
	return media.Data, false
}

// AppendBody appends the body of f's message: [BodyHeader], then its payload.
func AppendBody(dst []byte, f *media.Frame) []byte {
	return append(AppendBodyHeader(dst, f), f.Payload...)
}

// AppendBodyHeader appends the bytes of f's message that precede the payload,
// so that a writer can share the payload. They are at most 12; for data tracks
// there are none.
//
// The composition time is the difference of the two times in whole
// milliseconds, so the presentation time is as exact as a millisecond allows.
func AppendBodyHeader(dst []byte, f *media.Frame) []byte {
	t := f.Track
	switch t.Kind {
	case media.Video:
		frame := byte(InterFrame)
		if f.Key {
			frame = byte(KeyFrame)
		}
		return appendVideoHeader(dst, t, frame, cto(f))
	case media.Audio:
		if legacy(t) {
			return appendSound(dst, t, 1)
		}
		return appendEx(dst, t, 0x90, exCodedFrames, exAudioMultitrack)
	}
	return dst
}

// cto returns f's composition time in milliseconds, as 24 bits can hold it.
func cto(f *media.Frame) int32 {
	ms := media.Milliseconds(f.DTS+f.CTO) - media.Milliseconds(f.DTS)
	return int32(max(-1<<23, min(ms, 1<<23-1)))
}

func appendVideoHeader(dst []byte, t *media.Track, frame byte, cto int32) []byte {
	if legacy(t) {
		return append24(append(dst, frame<<4|videoID(t), 1), uint32(cto))
	}
	typ := byte(exCodedFrames)
	timed := t.Codec == media.H264 || t.Codec == media.H265
	if timed && cto == 0 {
		typ, timed = exVideoCodedFramesX, false
	}
	dst = appendEx(dst, t, 0x80|frame<<4, typ, exVideoMultitrack)
	if timed {
		dst = append24(dst, uint32(cto))
	}
	return dst
}

func videoID(t *media.Track) byte {
	if t.Codec == media.H265 {
		return idH265
	}
	return idH264
}

// appendEx appends an enhanced header: first holds the high bits of its first
// byte, multi is the packet type for many tracks.
func appendEx(dst []byte, t *media.Track, first, typ, multi byte) []byte {
	cc, _ := FourCCOf(t.Codec)
	if t.ID == 0 {
		return append32(append(dst, first|typ), uint32(cc))
	}
	dst = append(dst, first|multi, oneTrack<<4|typ)
	return append(append32(dst, uint32(cc)), t.ID)
}

// appendSound appends the header of a legacy audio message (annex E.4.2.1);
// packet is AAC's packet type.
func appendSound(dst []byte, t *media.Track, packet byte) []byte {
	stereo := byte(0)
	if t.Channels > 1 {
		stereo = 1
	}
	switch t.Codec {
	case media.AAC:
		return append(dst, formatAAC<<4|0x0f, packet) // always so, whatever it is
	case media.MP3:
		format := byte(formatMP3)
		if t.SampleRate == 8000 {
			format = formatMP38K
		}
		return append(dst, format<<4|soundRate(t.SampleRate)<<2|2|stereo)
	case media.PCMA:
		return append(dst, formatPCMA<<4|soundRate(t.SampleRate)<<2|2|stereo)
	case media.PCMU:
		return append(dst, formatPCMU<<4|soundRate(t.SampleRate)<<2|2|stereo)
	}
	return append(dst, formatSpeex<<4|1<<2|2)
}

func soundRate(hz int) byte {
	switch {
	case hz >= 32000:
		return 3
	case hz >= 16000:
		return 2
	case hz >= 11025:
		return 1
	}
	return 0
}

// AppendConfigBody appends the sequence header of t, and reports whether it
// has one.
func AppendConfigBody(dst []byte, t *media.Track) ([]byte, bool) {
	if len(t.Config) == 0 {
		return dst, false
	}
	switch t.Codec {
	case media.H264, media.H265, media.AV1, media.VP8, media.VP9:
		if legacy(t) {
			dst = append(dst, byte(KeyFrame)<<4|videoID(t), 0, 0, 0, 0)
		} else {
			dst = appendEx(dst, t, 0x80|byte(KeyFrame)<<4, exSequenceStart, exVideoMultitrack)
		}
	case media.AAC:
		if legacy(t) {
			dst = appendSound(dst, t, 0)
		} else {
			dst = appendEx(dst, t, 0x90, exSequenceStart, exAudioMultitrack)
		}
	case media.Opus:
		dst = appendEx(dst, t, 0x90, exSequenceStart, exAudioMultitrack)
	case media.FLAC:
		dst = appendEx(dst, t, 0x90, exSequenceStart, exAudioMultitrack)
		dst = append(append(dst, flacMarker...), 0x80, 0, 0, byte(len(t.Config)))
	default:
		return dst, false
	}
	return append(dst, t.Config...), true
}

// AppendPictureBody appends what is told of t's picture, and reports whether there is
// anything, and a form for it: who knows of it knows of Enhanced RTMP's first version.
func AppendPictureBody(dst []byte, t *media.Track) ([]byte, bool) {
	if t.Kind != media.Video || len(t.Picture) == 0 || legacy(t) {
		return dst, false
	}
	return append(appendEx(dst, t, 0x80|byte(KeyFrame)<<4, exVideoMetadata, exVideoMultitrack), t.Picture...), true
}

// AppendFileHeader appends the header of an FLV file (annex E.2) with the
// size of no tag before the first one.
func AppendFileHeader(dst []byte, hasAudio, hasVideo bool) []byte {
	var flags byte
	if hasAudio {
		flags |= 4
	}
	if hasVideo {
		flags |= 1
	}
	return append(dst, 'F', 'L', 'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0)
}

// tagHeaderLen is how long a tag's header is; its size follows the tag in
// four bytes.
const tagHeaderLen = 11

// AppendTag appends a whole tag, with its size behind it, whose body is the
// given parts in order. The timestamp is in milliseconds. The body is under
// 16 MiB.
func AppendTag(dst []byte, typ uint8, ts uint32, body ...[]byte) []byte {
	at := len(dst)
	dst = appendTagHeader(dst, typ, ts)
	for _, b := range body {
		dst = append(dst, b...)
	}
	return finishTag(dst, at)
}

func appendTagHeader(dst []byte, typ uint8, ts uint32) []byte {
	return append(dst, typ, 0, 0, 0, byte(ts>>16), byte(ts>>8), byte(ts), byte(ts>>24), 0, 0, 0)
}

// finishTag writes the size of the tag that begins at at.
func finishTag(dst []byte, at int) []byte {
	n := uint32(len(dst) - at - tagHeaderLen)
	dst[at+1], dst[at+2], dst[at+3] = byte(n>>16), byte(n>>8), byte(n)
	return append32(dst, n+tagHeaderLen)
}

// TagSize returns how many bytes [AppendFrameTag] appends at most.
func TagSize(f *media.Frame) int { return tagHeaderLen + 12 + len(f.Payload) + 4 }

// AppendFrameTag appends f as a tag at ts, in milliseconds.
func AppendFrameTag(dst []byte, f *media.Frame, ts uint32) []byte {
	at := len(dst)
	dst = appendTagHeader(dst, Type(f.Track.Kind), ts)
	return finishTag(AppendBody(dst, f), at)
}

// AppendLayout appends what a player must have before the frames of l:
// onMetaData, if there is any, and the sequence headers in the order of the
// tracks. The metadata is always at 0: ffmpeg takes it for a subtitle elsewhere.
func AppendLayout(dst []byte, l *media.Layout, ts uint32) []byte {
	if l.Meta != nil {
		dst = AppendTag(dst, TypeScript, 0, onMetaData, l.Meta)
	}
	for _, t := range l.Tracks {
		at := len(dst)
		tag, ok := AppendConfigBody(appendTagHeader(dst, Type(t.Kind), ts), t)
		if ok {
			dst = finishTag(tag, at)
		}
	}
	return dst
}

// Timestamp returns a time as the timestamp of a tag: milliseconds, wrapping
// after 49.7 days.
func Timestamp(d time.Duration) uint32 { return uint32(media.Milliseconds(d)) }
