// Package mpegps turns MPEG program streams (ISO/IEC 13818-1 2.5, and system streams
// of ISO/IEC 11172-1) into frames: as GB/T 28181 devices send them in RTP, and as
// recorders and ffmpeg's muxers vob and mpeg write them.
//
// What is bounded: an element of the stream has at most 64 KiB, and twice that is
// kept; of each elementary stream what package elementary keeps of it.
package mpegps

import (
	"bytes"
	"encoding/binary"
	"time"

	"weir/internal/format/elementary"
	"weir/internal/media"
)

// Start codes (ISO/IEC 13818-1 tables 2-22 and 2-39).
const (
	codeEnd     = 0xb9
	codePack    = 0xba
	codeSystem  = 0xbb
	codeMap     = 0xbc
	codePrivate = 0xbd
	codeAudio   = 0xc0 // to 0xdf
	codeVideo   = 0xe0 // to 0xef
)

// Stream types of the map (table 2-34, and GB/T 28181 annex C).
const (
	typeMPEG1Sound = 0x03
	typeMPEG2Sound = 0x04
	typeAAC        = 0x0f
	typeH264       = 0x1b
	typeH265       = 0x24
	typeAC3        = 0x81
	typePCMA       = 0x90
	typePCMU       = 0x91
)

// maxElement is the longest element of the stream: a PES packet.
const maxElement = 6 + 0xffff

// A Demuxer takes a program stream cut anywhere and makes frames of the first picture
// and the first sound that it knows: H.264, H.265, AAC with ADTS, MP3, AC-3, PCMA and
// PCMU. What the streams are is told by a map in the stream; without one, pictures and
// sound are known by how they begin. Times are unwrapped over 33 bits. A Demuxer is for
// one goroutine; frames and their payloads are the caller's.
type Demuxer struct {
	left    []byte // of an element that is not all there
	seeking bool   // the next pack header is looked for
	types   [256]byte
	video   *picture
	audio   *sound
	clock   media.Unwrapper
	lost    uint64
}

// picture and sound are the two streams that are taken.
type picture struct {
	code  byte
	units *elementary.Units // nil until the codec is known
}

type sound struct {
	code, sub byte // sub is DVD's number of a private stream, 0 if it has none
	frames    *elementary.Audio
}

// NewDemuxer returns a Demuxer.
func NewDemuxer() *Demuxer {
	return &Demuxer{seeking: true, clock: media.Unwrapper{Bits: 33, Rate: 90000}}
}

// Lost counts the places where the stream had to be found again.
func (d *Demuxer) Lost() uint64 { return d.lost }

// Gap says that bytes are missing before those that are fed next.
func (d *Demuxer) Gap() {
	d.lost++
	d.left, d.seeking = d.left[:0], true
	if d.video != nil && d.video.units != nil {
		d.video.units.Reset()
	}
	if d.audio != nil {
		d.audio.frames.Reset()
	}
}

// Feed takes bytes and appends the frames that are whole now. A picture is known to be
// whole only when the next one begins.
func (d *Demuxer) Feed(dst []*media.Frame, b []byte) []*media.Frame {
	if len(d.left) > 0 {
		d.left = append(d.left, b...)
		b = d.left
	}
	for len(b) > 0 {
		if d.seeking {
			i := bytes.Index(b, []byte{0, 0, 1, codePack})
			if i < 0 {
				b = b[max(0, len(b)-3):]
				break
			}
			b, d.seeking = b[i:], false
		}
		n, ok := element(b)
		switch {
		case !ok:
			d.Gap()
			b = b[1:]
			continue
		case n == 0 || n > len(b): // more is needed
			d.keep(b)
			return dst
		}
		dst = d.take(dst, b[:n])
		b = b[n:]
	}
	d.keep(b)
	return dst
}

func (d *Demuxer) keep(b []byte) {
	d.left = append(d.left[:0], b...)
}

// Flush appends the frame that has not been known to be whole so far, at the end of
// the stream.
func (d *Demuxer) Flush(dst []*media.Frame) []*media.Frame {
	if d.video != nil && d.video.units != nil {
		dst = d.video.units.Flush(dst)
	}
	return dst
}

// element returns the length of the element that b begins with, 0 if too little of it
// is there to know, and false if it is none.
func element(b []byte) (n int, ok bool) {
	if !bytes.HasPrefix([]byte{0, 0, 1}, b[:min(3, len(b))]) {
		return 0, false
	}
	if len(b) < 6 {
		return 0, len(b) < 4 || b[3] >= codeEnd
	}
	switch code := b[3]; {
	case code < codeEnd:
		return 0, false
	case code == codeEnd:
		return 4, true
	case code == codePack && b[4]>>6 == 1: // MPEG-2
		if len(b) < 14 {
			return 0, true
		}
		return 14 + int(b[13]&7), true
	case code == codePack && b[4]>>4 == 2: // MPEG-1
		return 12, true
	case code == codePack:
		return 0, false
	}
	return 6 + int(binary.BigEndian.Uint16(b[4:])), true
}

// take takes a whole element.
func (d *Demuxer) take(dst []*media.Frame, b []byte) []*media.Frame {
	switch code := b[3]; {
	case code == codeMap:
		return d.learn(dst, b)
	case code == codePrivate, code >= codeAudio && code < codeVideo+16:
		h, ok := parsePES(b)
		if !ok {
			d.lost++
			return dst
		}
		var pts, dts time.Duration
		if h.timed {
			pts = d.clock.Unwrap(h.pts)
			dts = pts
			if h.dts != h.pts {
				dts = d.clock.Unwrap(h.dts)
			}
		}
		if code >= codeVideo {
			return d.picture(dst, code, h, dts, pts-dts)
		}
		return d.sound(dst, code, h, pts)
	}
	return dst
}

// learn reads the program stream map (2.5.4).
func (d *Demuxer) learn(dst []*media.Frame, b []byte) []*media.Frame {
	if len(b) < 16 || b[6]&0x80 == 0 { // not current
		return dst
	}
	info := int(binary.BigEndian.Uint16(b[8:]))
	if 12+info > len(b)-4 {
		return dst
	}
	size := int(binary.BigEndian.Uint16(b[10+info:]))
	e := b[12+info : len(b)-4]
	e = e[:min(size, len(e))]
	d.types = [256]byte{}
	for len(e) >= 4 {
		d.types[e[1]] = e[0]
		n := 4 + int(binary.BigEndian.Uint16(e[2:]))
		if n > len(e) {
			break
		}
		e = e[n:]
	}
	// A stream that has become another one begins anew.
	if v := d.video; v != nil && v.units != nil && d.types[v.code] != 0 && videoCodec(d.types[v.code]) != v.units.Codec {
		dst = v.units.Flush(dst)
		d.video = nil
	}
	if a := d.audio; a != nil && a.sub == 0 && d.types[a.code] != 0 && audioCodec(d.types[a.code]) != a.frames.Codec {
		d.audio = nil
	}
	return dst
}

func videoCodec(typ byte) media.Codec {
	switch typ {
	case typeH264:
		return media.H264
	case typeH265:
		return media.H265
	}
	return 0
}

func audioCodec(typ byte) media.Codec {
	switch typ {
	case typeAAC:
		return media.AAC
	case typeMPEG1Sound, typeMPEG2Sound:
		return media.MP3
	case typeAC3:
		return media.AC3
	case typePCMA:
		return media.PCMA
	case typePCMU:
		return media.PCMU
	}
	return 0
}

// picture takes a packet of a video stream.
func (d *Demuxer) picture(dst []*media.Frame, code byte, h pes, dts, cto time.Duration) []*media.Frame {
	if d.video == nil {
		codec := videoCodec(d.types[code])
		if d.types[code] == 0 {
			codec = guessVideo(h.body)
		}
		if codec == 0 {
			return dst
		}
		d.video = &picture{code: code, units: &elementary.Units{Video: elementary.Video{Codec: codec}}}
	}
	if d.video.code != code {
		return dst
	}
	return d.video.units.Push(dst, h.body, dts, cto, h.timed)
}

// sound takes a packet of an audio stream, or of a private one.
func (d *Demuxer) sound(dst []*media.Frame, code byte, h pes, pts time.Duration) []*media.Frame {
	body, sub := h.body, byte(0)
	codec := audioCodec(d.types[code])
	if code == codePrivate && d.types[code] == 0 { // as on DVD: AC-3 behind four bytes
		if len(body) < 4 || body[0]&0xf8 != 0x80 {
			return dst
		}
		sub, codec, body = body[0], media.AC3, body[4:]
	}
	if d.audio == nil {
		if d.types[code] == 0 && sub == 0 {
			codec = guessAudio(body)
		}
		if codec == 0 {
			return dst
		}
		d.audio = &sound{code: code, sub: sub, frames: &elementary.Audio{Codec: codec}}
	}
	if d.audio.code != code || d.audio.sub != sub {
		return dst
	}
	return d.audio.frames.Append(dst, body, pts, h.timed)
}

// guessVideo tells the codec by the first unit that only one of them has.
func guessVideo(b []byte) media.Codec {
	for {
		i := bytes.Index(b, []byte{0, 0, 1})
		if i < 0 || i+5 > len(b) {
			return 0
		}
		switch b = b[i+3:]; {
		case b[0]&0x9f == 7, b[0] == 9: // SPS, delimiter
			return media.H264
		case b[0]>>1 >= 32 && b[0]>>1 <= 35 && b[0]&1 == 0 && b[1] == 1: // parameter sets, delimiter
			return media.H265
		}
	}
}

// guessAudio tells the codec by the header of a frame.
func guessAudio(b []byte) media.Codec {
	for len(b) >= 2 {
		switch {
		case b[0] == 0xff && b[1]&0xf6 == 0xf0:
			return media.AAC
		case b[0] == 0xff && b[1]&0xe0 == 0xe0 && b[1]&0x06 != 0:
			return media.MP3
		case b[0] == 0x0b && b[1] == 0x77:
			return media.AC3
		}
		b = b[1:]
	}
	return 0
}
