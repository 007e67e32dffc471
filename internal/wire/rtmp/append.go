package rtmp

import (
	"encoding/binary"
	"slices"
)

// AppendMessage appends the chunks of m: a header of type 0, then type 3.
// chunkSize is what the peer was told with Set Chunk Size. A payload over
// [MaxMessage] cannot be sent, and nothing is appended.
func AppendMessage(dst []byte, m Message, chunkSize int) []byte {
	return AppendParts(dst, m, chunkSize, m.Payload)
}

// AppendParts is AppendMessage with a payload in parts, so that a header of a
// few bytes and a shared body need not be joined first. m.Payload is not used.
func AppendParts(dst []byte, m Message, chunkSize int, parts ...[]byte) []byte {
	n := total(parts)
	if n > MaxMessage {
		return dst
	}
	dst = slices.Grow(dst, room(n, chunkSize))
	return appendBody(AppendHeader0(dst, m, n), m.CSID, m.Timestamp, chunkSize, parts)
}

// AppendDelta appends the chunks of a message that is delta milliseconds after
// the one before it on the same chunk stream and belongs to the same message
// stream: a header of type 1, then type 3. Such bytes hold no absolute time, so
// viewers that began at different moments can share them. A payload over
// [MaxMessage] cannot be sent, and nothing is appended.
func AppendDelta(dst []byte, csid uint32, delta uint32, typ MessageType, chunkSize int, parts ...[]byte) []byte {
	n := total(parts)
	if n > MaxMessage {
		return dst
	}
	dst = slices.Grow(dst, room(n, chunkSize))
	return appendBody(AppendHeader1(dst, csid, delta, typ, n), csid, delta, chunkSize, parts)
}

// AppendHeader0 appends the headers of the first chunk of m, with an absolute
// timestamp (5.3.1.2.1), for a payload of length bytes, at most [MaxMessage].
func AppendHeader0(dst []byte, m Message, length int) []byte {
	dst = appendBasic(dst, 0, m.CSID)
	dst = appendUint24(dst, min(m.Timestamp, 0xffffff))
	dst = append(appendUint24(dst, uint32(length)), byte(m.Type))
	dst = binary.LittleEndian.AppendUint32(dst, m.StreamID)
	return appendExtended(dst, m.Timestamp)
}

// AppendHeader1 appends the headers of the first chunk of a message that is
// delta milliseconds after the one before (5.3.1.2.2), for a payload of length
// bytes, at most [MaxMessage].
func AppendHeader1(dst []byte, csid uint32, delta uint32, typ MessageType, length int) []byte {
	dst = appendBasic(dst, 1, csid)
	dst = appendUint24(dst, min(delta, 0xffffff))
	dst = append(appendUint24(dst, uint32(length)), byte(typ))
	return appendExtended(dst, delta)
}

// AppendHeader3 appends the headers of a further chunk of a message whose first
// header said time, be it a timestamp or a delta.
func AppendHeader3(dst []byte, csid uint32, time uint32) []byte {
	return appendExtended(appendBasic(dst, 3, csid), time)
}

func appendBody(dst []byte, csid, time uint32, chunkSize int, parts [][]byte) []byte {
	if chunkSize <= 0 {
		chunkSize = DefaultChunkSize
	}
	left := chunkSize
	for _, p := range parts {
		for len(p) > 0 {
			if left == 0 {
				dst = AppendHeader3(dst, csid, time)
				left = chunkSize
			}
			n := min(left, len(p))
			dst = append(dst, p[:n]...)
			p = p[n:]
			left -= n
		}
	}
	return dst
}

func total(parts [][]byte) int {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// room returns how many bytes n bytes of payload take with their headers, at
// most.
func room(n, chunkSize int) int {
	if chunkSize <= 0 {
		chunkSize = DefaultChunkSize
	}
	return n + 18 + n/chunkSize*7
}

func appendBasic(dst []byte, format byte, csid uint32) []byte {
	format <<= 6
	switch {
	case csid < 64:
		return append(dst, format|byte(csid))
	case csid < 64+256:
		return append(dst, format, byte(csid-64))
	}
	return append(dst, format|1, byte(csid-64), byte((csid-64)>>8))
}

func appendUint24(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>16), byte(v>>8), byte(v))
}

func appendExtended(dst []byte, time uint32) []byte {
	if time < 0xffffff {
		return dst
	}
	return binary.BigEndian.AppendUint32(dst, time)
}
