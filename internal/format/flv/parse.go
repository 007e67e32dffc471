package flv

import (
	"encoding/binary"
	"fmt"
	"time"

	"weir/internal/media"
)

// Codec ids and sound formats of the legacy form.
const (
	idH264 = 7
	idH265 = 12 // not Adobe's; common all the same

	formatMP3   = 2
	formatPCMA  = 7
	formatPCMU  = 8
	formatAAC   = 10
	formatSpeex = 11
	formatMP38K = 14
)

// Packet types of Enhanced RTMP; sound and picture number theirs differently.
const (
	exSequenceStart = 0
	exCodedFrames   = 1
	exSequenceEnd   = 2

	exVideoCodedFramesX = 3
	exVideoMetadata     = 4
	exVideoTSSequence   = 5
	exVideoMultitrack   = 6

	exAudioMultichannel = 4
	exAudioMultitrack   = 5

	exModEx = 7

	oneTrack             = 0
	manyTracks           = 1
	manyTracksManyCodecs = 2

	exAudioFormat = 9 // the sound format that announces an enhanced header
	modExNano     = 0
)

// A cursor reads a body from its start.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) uint(n int) uint32 {
	var v uint32
	for _, b := range c.take(n) {
		v = v<<8 | uint32(b)
	}
	return v
}

// int24 reads a signed number of three bytes, as milliseconds.
func (c *cursor) int24() time.Duration {
	return time.Duration(int32(c.uint(3)<<8)>>8) * time.Millisecond
}

func (c *cursor) err(what string) error {
	if c.bad {
		return fmt.Errorf("%w: %s ends early", ErrSyntax, what)
	}
	return nil
}

// ParseVideo appends the parts of a video message to dst. An empty body has
// none. On an error it returns the parts before it.
func ParseVideo(dst []Part, body []byte) ([]Part, error) {
	if len(body) == 0 {
		return dst, nil
	}
	c := cursor{b: body}
	head := uint8(c.uint(1))
	if head&0x80 != 0 {
		return parseEx(dst, &c, Part{Kind: media.Video, Frame: FrameType(head >> 4 & 7)}, head&15)
	}
	p := Part{Kind: media.Video, Legacy: true, Frame: FrameType(head >> 4), ID: head & 15}
	if p.Frame == CommandFrame {
		p.Type = Command
		return append(dst, p), nil
	}
	switch p.ID {
	case idH264:
		p.Codec = media.H264
	case idH265:
		p.Codec = media.H265
	default:
		p.Type, p.Payload = Coded, c.b
		return append(dst, p), nil
	}
	switch t := c.uint(1); t {
	case 0:
		p.Type = Sequence
	case 1:
		p.Type = Coded
	case 2:
		p.Type = End
		return append(dst, p), c.err("video message")
	default:
		return dst, fmt.Errorf("%w: AVC packet type %d", ErrSyntax, t)
	}
	p.CTO = c.int24()
	p.Payload = c.b
	if err := c.err("video message"); err != nil {
		return dst, err
	}
	return append(dst, p), nil
}

// ParseAudio appends the parts of an audio message to dst. An empty body is
// silence and has none. On an error it returns the parts before it.
func ParseAudio(dst []Part, body []byte) ([]Part, error) {
	if len(body) == 0 {
		return dst, nil
	}
	c := cursor{b: body}
	head := uint8(c.uint(1))
	if head>>4 == exAudioFormat {
		return parseEx(dst, &c, Part{Kind: media.Audio}, head&15)
	}
	p := Part{Kind: media.Audio, Legacy: true, ID: head >> 4, Sound: head, Type: Coded}
	switch p.ID {
	case formatMP3, formatMP38K:
		p.Codec = media.MP3
	case formatPCMA:
		p.Codec = media.PCMA
	case formatPCMU:
		p.Codec = media.PCMU
	case formatSpeex:
		p.Codec = media.Speex
	case formatAAC:
		p.Codec = media.AAC
		switch t := c.uint(1); t {
		case 0:
			p.Type = Sequence
		case 1:
		default:
			return dst, fmt.Errorf("%w: AAC packet type %d", ErrSyntax, t)
		}
	}
	p.Payload = c.b
	if err := c.err("audio message"); err != nil {
		return dst, err
	}
	return append(dst, p), nil
}

// parseEx parses what follows the first byte of an enhanced message: prefixes
// that modify it, perhaps a seek command, then one track or many.
func parseEx(dst []Part, c *cursor, p Part, typ uint8) ([]Part, error) {
	var nano time.Duration
	for typ == exModEx {
		size := int(c.uint(1)) + 1
		if size == 256 {
			size = int(c.uint(2)) + 1
		}
		data := c.take(size)
		next := uint8(c.uint(1))
		if err := c.err("ModEx"); err != nil {
			return dst, err
		}
		typ = next & 15
		if next>>4 == modExNano && len(data) >= 3 {
			nano = time.Duration(uint32(data[0])<<16 | uint32(data[1])<<8 | uint32(data[2]))
			if nano > 999999 {
				return dst, fmt.Errorf("%w: offset of %d ns", ErrSyntax, nano)
			}
		}
	}
	video := p.Kind == media.Video
	if video && typ != exVideoMetadata && p.Frame == CommandFrame {
		p.Type = Command
		return append(dst, p), nil
	}
	multi := uint8(oneTrack)
	multitrack := video && typ == exVideoMultitrack || !video && typ == exAudioMultitrack
	if multitrack {
		b := uint8(c.uint(1))
		multi, typ = b>>4, b&15
	}
	var coded bool
	if p.Type, coded = exType(video, typ); p.Type > Command {
		return dst, fmt.Errorf("%w: %v packet type %d", ErrSyntax, p.Kind, typ)
	}
	if multi > manyTracksManyCodecs {
		return dst, fmt.Errorf("%w: multitrack type %d", ErrSyntax, multi)
	}
	if multi != manyTracksManyCodecs {
		p.FourCC = FourCC(c.uint(4))
	}
	for n := 0; ; n++ {
		if n == MaxTracks {
			return dst, fmt.Errorf("%w: more than %d tracks in a message", ErrLimit, MaxTracks)
		}
		part := p
		if multi == manyTracksManyCodecs {
			part.FourCC = FourCC(c.uint(4))
		}
		if multitrack {
			part.Track = uint8(c.uint(1))
		}
		own := cursor{b: c.b}
		if multi != oneTrack {
			own.b = c.take(int(c.uint(3)))
		}
		if err := c.err("enhanced message"); err != nil {
			return dst, err
		}
		part.Codec = part.FourCC.Codec()
		if part.Codec.Kind() != part.Kind {
			part.Codec = 0
		}
		if coded && hasCTO(part.FourCC) {
			part.CTO = own.int24()
		}
		if err := own.err("frame"); err != nil {
			return dst, err
		}
		if part.Type == Coded {
			part.CTO += nano
		}
		part.Payload = own.b
		dst = append(dst, part)
		if multi == oneTrack || len(c.b) == 0 {
			return dst, nil
		}
	}
}

// exType translates a packet type; coded says that it is CodedFrames, which
// may have a composition time. The type is over Command if there is none such.
func exType(video bool, typ uint8) (t PacketType, coded bool) {
	switch {
	case typ == exSequenceStart:
		return Sequence, false
	case typ == exCodedFrames:
		return Coded, true
	case typ == exSequenceEnd:
		return End, false
	case video && typ == exVideoCodedFramesX:
		return Coded, false
	case video && typ == exVideoMetadata:
		return Metadata, false
	case video && typ == exVideoTSSequence:
		return TSSequence, false
	case !video && typ == exAudioMultichannel:
		return Multichannel, false
	}
	return Command + 1, false
}

// append24 appends a number of three bytes.
func append24(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>16), byte(v>>8), byte(v))
}

func append32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
