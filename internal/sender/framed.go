package sender

import (
	"strconv"

	"weir/internal/media"
	"weir/internal/wire/websocket"
)

// Framing is what the pieces of an answer over HTTP stand in.
type Framing uint8

// The framings.
const (
	Chunked   Framing = iota // HTTP/1.1's chunks, one an entry
	WebSocket                // WebSocket's messages, one an entry
	Bare                     // nothing: the answer ends with the connection
)

// Close appends what ends an answer well.
func (fr Framing) Close(dst []byte) []byte {
	switch fr {
	case Chunked:
		return append(dst, "0\r\n\r\n"...)
	case WebSocket:
		return websocket.AppendClose(dst, websocket.Normal)
	}
	return dst
}

// A body is a format, whose bytes are framed. Its methods are those of a form.
type body interface {
	size(f *media.Frame) int
	appendFrame(dst []byte, f *media.Frame) []byte
	note(s *start, f *media.Frame, fresh bool)
	prologue(dst []byte, v *progress, s *start) []byte
}

// framed makes a form of a format and a framing.
type framed struct {
	body
	framing Framing
}

// frameOverhead is the most that a framing adds to a piece.
const frameOverhead = max(8+4, websocket.MaxHead)

func (f framed) size(fr *media.Frame) int {
	n := f.body.size(fr)
	if n == 0 {
		return 0
	}
	return n + frameOverhead
}

func (f framed) appendFrame(dst []byte, fr *media.Frame) []byte {
	return f.wrap(dst, f.body.size(fr), func(dst []byte) []byte { return f.body.appendFrame(dst, fr) })
}

func (f framed) prologue(dst []byte, v *progress, s *start) []byte {
	const most = 1 << 28
	return f.wrap(dst, most, func(dst []byte) []byte { return f.body.prologue(dst, v, s) })
}

func (f framed) epilogue(dst []byte) []byte { return f.framing.Close(dst) }

// wrap frames what fill appends, which is n bytes at most.
func (f framed) wrap(dst []byte, n int, fill func(dst []byte) []byte) []byte {
	switch f.framing {
	case Chunked:
		return httpChunk(dst, n, fill)
	case WebSocket:
		return wsMessage(dst, n, fill)
	}
	return fill(dst)
}

// httpChunk makes one chunk of HTTP/1.1's chunked coding of what fill appends at
// most n bytes of.
func httpChunk(dst []byte, n int, fill func(dst []byte) []byte) []byte {
	// The size stands before what it counts: room for it is left and filled in,
	// with leading zeros, which the grammar allows (RFC 9112 7.1).
	digits := len(strconv.FormatInt(int64(n), 16))
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	dst = append(dst, '\r', '\n')
	body := len(dst)
	dst = fill(dst)
	size := len(dst) - body
	if size == 0 {
		return dst[:at] // an empty chunk would end the answer
	}
	const hex = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		dst[at+i] = hex[size&15]
		size >>= 4
	}
	return append(dst, '\r', '\n')
}

// wsMessage makes one message of a WebSocket of what fill appends at most n bytes
// of.
func wsMessage(dst []byte, n int, fill func(dst []byte) []byte) []byte {
	at, guess := len(dst), websocket.HeadLen(n)
	dst = append(dst, make([]byte, guess)...)
	dst = fill(dst)
	size := len(dst) - at - guess
	if size == 0 {
		return dst[:at]
	}
	// The head must be the shortest, so what stands behind a longer one moves up.
	if head := websocket.HeadLen(size); head < guess {
		copy(dst[at+head:], dst[at+guess:])
		dst = dst[:at+head+size]
	}
	websocket.AppendHead(dst[:at], websocket.Binary, size)
	return dst
}
