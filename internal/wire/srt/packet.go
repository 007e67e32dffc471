package srt

import "encoding/binary"

// Control types (3.2).
const (
	ctlHandshake = 0
	ctlKeepAlive = 1
	ctlACK       = 2
	ctlNAK       = 3
	ctlShutdown  = 5
	ctlACKACK    = 6
	ctlDropReq   = 7
	ctlExt       = 0x7fff
)

// Bits of a data packet's second word (3.1).
const (
	flagSolo    = 3 << 30
	flagRexmit  = 1 << 26
	shiftKey    = 27
	maskMessage = maxMessage
)

var be = binary.BigEndian

// isControl reports whether a datagram, at least 16 bytes long, is not data.
func isControl(b []byte) bool { return b[0]&0x80 != 0 }

func controlType(b []byte) (typ, sub uint16) {
	return be.Uint16(b) & 0x7fff, be.Uint16(b[2:])
}

// Destination returns the socket id that a datagram is for, and false if it is no
// packet at all.
func Destination(b []byte) (id uint32, ok bool) {
	if len(b) < headerSize || len(b) > MaxDatagram {
		return 0, false
	}
	return be.Uint32(b[12:]), true
}

// appendControl appends the head of a control packet.
func appendControl(dst []byte, typ, sub uint16, info, stamp, to uint32) []byte {
	dst = be.AppendUint16(dst, 0x8000|typ)
	dst = be.AppendUint16(dst, sub)
	dst = be.AppendUint32(dst, info)
	dst = be.AppendUint32(dst, stamp)
	return be.AppendUint32(dst, to)
}

// A span is a run of sequence numbers, both ends of which belong to it.
type span struct{ first, last uint32 }

func (s span) len() int { return seqDiff(s.last, s.first) + 1 }

// appendLoss appends a loss list (Appendix A), as much of it as room bytes hold.
func appendLoss(dst []byte, loss []span, room int) []byte {
	for _, s := range loss {
		switch {
		case s.first == s.last && room >= 4:
			dst = be.AppendUint32(dst, s.first)
			room -= 4
		case s.first != s.last && room >= 8:
			dst = be.AppendUint32(dst, s.first|1<<31)
			dst = be.AppendUint32(dst, s.last)
			room -= 8
		default:
			return dst
		}
	}
	return dst
}

// parseLoss calls f with the runs of a loss list, and reports whether it is one: a
// run that has no end, or ends before it begins, is none.
func parseLoss(b []byte, f func(s span)) bool {
	for len(b) >= 4 {
		s := span{be.Uint32(b), be.Uint32(b)}
		b = b[4:]
		if s.first&(1<<31) != 0 {
			if len(b) < 4 {
				return false
			}
			s = span{s.first & maxSeq, be.Uint32(b)}
			b = b[4:]
		}
		if s.last&(1<<31) != 0 || seqDiff(s.last, s.first) < 0 {
			return false
		}
		f(s)
	}
	return len(b) == 0
}
