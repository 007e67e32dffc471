package rtp

import (
	"encoding/binary"
	"time"
)

// Is reports whether a datagram is RTP or RTCP rather than STUN or DTLS (RFC 7983).
func Is(b []byte) bool { return len(b) >= 4 && b[0]>>6 == 2 }

// IsRTCP tells RTCP from RTP at one port (RFC 5761 4).
func IsRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// Find returns what an extension says, nil if it is not there (RFC 8285 4.2,
// 4.3).
func (h *Header) Find(id uint8) []byte {
	b := h.Extension
	two := h.Profile>>4 == 0x100
	if id == 0 || h.Profile != 0xbede && !two {
		return nil
	}
	for len(b) > 0 {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		var got uint8
		var n, head int
		if two {
			if len(b) < 2 {
				return nil
			}
			got, n, head = b[0], int(b[1]), 2
		} else {
			if b[0]>>4 == 15 {
				return nil
			}
			got, n, head = b[0]>>4, int(b[0]&15)+1, 1
		}
		if len(b) < head+n {
			return nil
		}
		if got == id {
			return b[head : head+n]
		}
		b = b[head+n:]
	}
	return nil
}

// PutHeader writes a header without extensions into b, which has room for HeaderSize.
func PutHeader(b []byte, marker bool, typ uint8, seq uint16, timestamp, ssrc uint32) {
	b[0] = 0x80
	b[1] = typ
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
}

// DelayMost is how many bytes [PutDelay] adds to a header at most.
const DelayMost = 8

// PutDelay makes the header of n bytes at the beginning of b, which has DelayMost more, tell how
// long a player is to keep pictures at least, in steps of 10 ms (the extension
// playout-delay of WebRTC: twelve bits each for least and most). The header has no
// extension yet but that of [PutCounter]. It returns how long it is then.
func PutDelay(b []byte, n int, id uint8, least time.Duration) int {
	words := uint32(n-HeaderSize+3) / 4
	if words == 0 {
		b[0] |= 0x10
		words, n = 1, n+4
	}
	binary.BigEndian.PutUint32(b[HeaderSize:], 0xbede<<16|words)
	most := uint32(min(least/(10*time.Millisecond), 0xfff))
	binary.BigEndian.PutUint32(b[n:], uint32(id)<<28|2<<24|most<<12|0xfff)
	return n + 4
}

// PutCounter writes a header with one extension of two bytes, such as the counter of
// transport-wide congestion control, and returns its length.
func PutCounter(b []byte, marker bool, typ uint8, seq uint16, timestamp, ssrc uint32, id uint8, counter uint16) int {
	PutHeader(b, marker, typ, seq, timestamp, ssrc)
	b[0] |= 0x10
	binary.BigEndian.PutUint32(b[12:], 0xbede<<16|1)
	b[16] = id<<4 | 1
	binary.BigEndian.PutUint16(b[17:], counter)
	b[19] = 0
	return 20
}
