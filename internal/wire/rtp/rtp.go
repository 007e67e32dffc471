// Package rtp reads and writes packets of RTP (RFC 3550): the header with its
// extensions, and the payloads of the codecs that WebRTC has: H.264 (RFC 6184), H.265
// (RFC 7798), VP8 (RFC 7741), VP9 (RFC 9628), AV1 (the AOM's payload format), Opus
// (RFC 7587) and G.711 (RFC 3551); for RTSP AAC (RFC 3640) and MP3 (RFC 2250) can be
// sent too. It puts packets that overtook each other back in order.
//
// A [Packer] cuts frames into payloads that point into the frame: a packet is a few
// bytes and a slice, so that what all viewers share is neither copied nor made twice.
// A [Sorter] holds at most the packets that it waits with. Nothing here reads a clock.
package rtp

import (
	"encoding/binary"
	"errors"
)

// HeaderSize is the least that a packet has before its payload, in bytes.
const HeaderSize = 12

// ErrSyntax is a packet that is none of RTP.
var ErrSyntax = errors.New("rtp: not a packet")

// A Header is what stands before the payload of a packet (5.1).
type Header struct {
	Marker      bool
	PayloadType uint8 // 0 to 127
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	// Profile and Extension are the header extension (5.3.1), whose contents alias
	// the packet; Extension is nil if there is none.
	Profile   uint16
	Extension []byte
}

// Parse reads a packet. The payload, which may be empty, is without padding and
// aliases b. Contributing sources are passed over.
func Parse(b []byte) (h Header, payload []byte, err error) {
	if len(b) < HeaderSize || b[0]>>6 != 2 {
		return h, nil, ErrSyntax
	}
	h = Header{Marker: b[1]&0x80 != 0, PayloadType: b[1] & 0x7f, Sequence: binary.BigEndian.Uint16(b[2:]),
		Timestamp: binary.BigEndian.Uint32(b[4:]), SSRC: binary.BigEndian.Uint32(b[8:])}
	padded, extended, at := b[0]&0x20 != 0, b[0]&0x10 != 0, HeaderSize+4*int(b[0]&15)
	if extended {
		if len(b) < at+4 {
			return h, nil, ErrSyntax
		}
		h.Profile = binary.BigEndian.Uint16(b[at:])
		n := 4 * int(binary.BigEndian.Uint16(b[at+2:]))
		if at += 4; at+n > len(b) {
			return h, nil, ErrSyntax
		}
		h.Extension = b[at : at+n : at+n]
		at += n
	}
	end := len(b)
	if padded {
		if b[end-1] == 0 {
			return h, nil, ErrSyntax
		}
		end -= int(b[end-1])
	}
	if at > end {
		return h, nil, ErrSyntax
	}
	return h, b[at:end:end], nil
}

// Append appends the header, without its extension if its length is no multiple of
// four bytes.
func (h Header) Append(dst []byte) []byte {
	first, second := byte(0x80), h.PayloadType&0x7f
	if h.Marker {
		second |= 0x80
	}
	extended := h.Extension != nil && len(h.Extension)%4 == 0 && len(h.Extension) <= 4*0xffff
	if extended {
		first |= 0x10
	}
	dst = append(dst, first, second)
	dst = binary.BigEndian.AppendUint16(dst, h.Sequence)
	dst = binary.BigEndian.AppendUint32(dst, h.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, h.SSRC)
	if extended {
		dst = binary.BigEndian.AppendUint16(dst, h.Profile)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Extension)/4))
		dst = append(dst, h.Extension...)
	}
	return dst
}
