// Package flv speaks the message bodies that FLV files and RTMP share, and the
// tags of FLV files: the legacy forms of Adobe's "Video File Format
// Specification 10.1", annex E, and Enhanced RTMP v2 (veovera, 2026-01-31).
//
// [ParseVideo] and [ParseAudio] take a body apart. An [Ingest] turns the
// bodies of one publication into frames. [AppendBody], [AppendConfigBody] and
// their kin go the other way, and [Reader] and [AppendTag] handle files.
//
// Payloads are slices of the body they came from; nothing is copied unless
// its framing must change. Bodies are bounded by [MaxBody], the tracks of a
// publication by [MaxTracks], the units of an access unit by nal.MaxUnits and
// codec configurations by [MaxConfig].
package flv

import (
	"errors"
	"time"

	"weir/internal/media"
)

// Limits of what is accepted.
const (
	// MaxBody is the longest body of a tag or message, in bytes.
	MaxBody = 16 << 20
	// MaxTracks is how many tracks a publication may have.
	MaxTracks = 32
	// MaxConfig is the longest codec configuration, in bytes.
	MaxConfig = 64 << 10
)

// Errors that callers may want to tell apart. All errors that input causes
// wrap one of them.
var (
	// ErrSyntax means that a body or tag is malformed.
	ErrSyntax = errors.New("flv: bad syntax")
	// ErrCodec means that a body is of a codec that we do not know.
	ErrCodec = errors.New("flv: unsupported codec")
	// ErrConfig means that a codec configuration makes no sense.
	ErrConfig = errors.New("flv: bad codec configuration")
	// ErrPayload means that an access unit is broken.
	ErrPayload = errors.New("flv: bad payload")
	// ErrLimit means that the input is over one of our limits.
	ErrLimit = errors.New("flv: over the limit")
)

// Tag and RTMP message types.
const (
	TypeAudio  = 8
	TypeVideo  = 9
	TypeScript = 18
	// TypeScript3 is a script message that begins with a zero byte, from
	// peers that speak AMF3.
	TypeScript3 = 15
)

// FrameType is the kind of a video frame (annex E.4.3.1).
type FrameType uint8

// The frame types.
const (
	KeyFrame          FrameType = 1
	InterFrame        FrameType = 2
	DisposableFrame   FrameType = 3
	GeneratedKeyFrame FrameType = 4
	CommandFrame      FrameType = 5
)

// Key reports whether decoding can start at such a frame.
func (t FrameType) Key() bool { return t == KeyFrame || t == GeneratedKeyFrame }

// PacketType says what a part of a message holds, in legacy and enhanced form
// and for sound and picture alike.
type PacketType uint8

// The packet types.
const (
	// Sequence holds a codec configuration.
	Sequence PacketType = iota
	// Coded holds a frame.
	Coded
	// End tells that the sequence is over; it holds nothing.
	End
	// Metadata holds AMF0 pairs about the picture, such as colorInfo.
	Metadata
	// TSSequence holds a configuration as a descriptor of MPEG-TS (AV1).
	TSSequence
	// Multichannel holds the layout of sound channels.
	Multichannel
	// Command is a seek command of old servers; it holds nothing of use.
	Command
)

var packetTypes = [...]string{"sequence", "coded", "end", "metadata", "ts-sequence", "multichannel", "command"}

// String returns a word for the type.
func (t PacketType) String() string {
	if int(t) < len(packetTypes) {
		return packetTypes[t]
	}
	return "unknown"
}

// FourCC is a codec's name in Enhanced RTMP, as four characters packed big
// endian.
type FourCC uint32

// String returns the four characters, with points for what cannot be printed.
func (c FourCC) String() string {
	b := [4]byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)}
	for i, ch := range b {
		if ch < ' ' || ch > '~' {
			b[i] = '.'
		}
	}
	return string(b[:])
}

func fourCC(s string) FourCC {
	return FourCC(s[0])<<24 | FourCC(s[1])<<16 | FourCC(s[2])<<8 | FourCC(s[3])
}

var fourCCs = [...]struct {
	cc    FourCC
	codec media.Codec
}{
	{fourCC("avc1"), media.H264},
	{fourCC("hvc1"), media.H265},
	{fourCC("av01"), media.AV1},
	{fourCC("vp08"), media.VP8},
	{fourCC("vp09"), media.VP9},
	{fourCC("mp4a"), media.AAC},
	{fourCC(".mp3"), media.MP3},
	{fourCC("Opus"), media.Opus},
	{fourCC("ac-3"), media.AC3},
	{fourCC("ec-3"), media.EAC3},
	{fourCC("fLaC"), media.FLAC},
}

// Codec returns the codec of the name, or 0.
func (c FourCC) Codec() media.Codec {
	for _, f := range fourCCs {
		if f.cc == c {
			return f.codec
		}
	}
	return 0
}

// FourCCOf returns the codec's name, and whether it has one.
func FourCCOf(codec media.Codec) (FourCC, bool) {
	for _, f := range fourCCs {
		if f.codec == codec {
			return f.cc, true
		}
	}
	return 0, false
}

// hasCTO tells the codecs whose enhanced frames begin with a composition time
// offset.
func hasCTO(cc FourCC) bool {
	switch cc {
	case fourCC("avc1"), fourCC("hvc1"), fourCC("vvc1"):
		return true
	}
	return false
}

// A Part is what a message says for one track. Ordinary messages have one
// part; Multitrack messages may have more.
type Part struct {
	// Track is the track's ID, 0 in messages that name none.
	Track uint8
	Kind  media.Kind
	// Codec is 0 if we do not know it; then FourCC or ID tells.
	Codec media.Codec
	// Legacy says that the message has no FourCC but an ID: the codec id of
	// video, the sound format of audio.
	Legacy bool
	FourCC FourCC
	ID     uint8

	Type PacketType
	// Frame has meaning for video.
	Frame FrameType
	// CTO is the composition time offset, with the nanoseconds of a ModEx
	// prefix added.
	CTO time.Duration
	// Sound is the first byte of a legacy audio message: format, rate, size
	// and channels.
	Sound uint8
	// Payload is a slice of the body.
	Payload []byte
}
