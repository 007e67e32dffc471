package rtp

import "encoding/binary"

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
