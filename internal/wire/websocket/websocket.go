// Package websocket is the server's side of the WebSocket protocol (RFC 6455) for
// a server that sends and a client that listens: the answer to the handshake, the
// heads of frames that are sent, and a reader of what the client says.
//
// No extension is offered, so frames go as they are. What the client sends besides
// control frames is passed over, whatever its length, and kept nowhere.
package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// Op is what a frame is.
type Op byte

// The opcodes (RFC 6455 11.8).
const (
	Continuation Op = 0
	Text         Op = 1
	Binary       Op = 2
	Close        Op = 8
	Ping         Op = 9
	Pong         Op = 10
)

// The reasons for closing that we give (RFC 6455 7.4.1).
const (
	Normal        = 1000
	ProtocolError = 1002
)

// ErrClosed is returned by [Reader.Read] when the client has taken leave.
var ErrClosed = errors.New("websocket: closed by the client")

// ErrSyntax is wrapped by errors about what a client sent.
var ErrSyntax = errors.New("websocket: bad frame")

// maxControl is the longest payload of a control frame, in bytes (5.5).
const maxControl = 125

// ValidKey reports whether a Sec-WebSocket-Key is one: 16 bytes in base64 (4.1).
func ValidKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
}

// Accept returns the Sec-WebSocket-Accept that answers a key (4.2.2).
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// MaxHead is the longest head of a frame that is sent, in bytes.
const MaxHead = 10

// HeadLen returns how long the head of a frame of n bytes is: the shortest that
// can tell n, as 5.2 demands.
func HeadLen(n int) int {
	switch {
	case n <= maxControl:
		return 2
	case n <= 0xffff:
		return 4
	}
	return MaxHead
}

// AppendHead appends the head of a whole message of n bytes, not masked, as
// servers send it (5.1).
func AppendHead(dst []byte, op Op, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch HeadLen(n) {
	case 2:
		return append(dst, byte(n))
	case 4:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}

// AppendClose appends a Close frame with a reason.
func AppendClose(dst []byte, code uint16) []byte {
	return binary.BigEndian.AppendUint16(AppendHead(dst, Close, 2), code)
}

// A Reader reads what a client sends, in pieces of any size.
type Reader struct {
	head    [14]byte // of the frame in the making
	got     int      // of head
	rest    uint64   // of the payload, to come
	control [maxControl]byte
	n       int // of control
}

// Read takes the next bytes and appends to dst what the client is to be answered:
// a Pong for a Ping, a Close for a Close. It returns ErrClosed after that, or an
// error that wraps [ErrSyntax], and then too the answer says so.
func (r *Reader) Read(dst, b []byte) ([]byte, error) {
	for len(b) > 0 {
		if r.got < r.headLen() {
			r.head[r.got] = b[0]
			r.got++
			b = b[1:]
			if r.got == 2 {
				if err := r.check(); err != nil {
					return AppendClose(dst, ProtocolError), err
				}
			}
			if r.got < r.headLen() {
				continue
			}
			r.rest = r.length()
			if r.rest>>63 != 0 {
				return AppendClose(dst, ProtocolError), fmt.Errorf("%w: length %#x", ErrSyntax, r.rest)
			}
			r.n = 0
		}
		take := min(r.rest, uint64(len(b)))
		if r.op() >= Close {
			r.n += copy(r.control[r.n:], b[:take])
		}
		b = b[take:]
		if r.rest -= take; r.rest > 0 {
			continue
		}
		var err error
		if dst, err = r.finish(dst); err != nil {
			return dst, err
		}
		r.got = 0
	}
	return dst, nil
}

func (r *Reader) op() Op { return Op(r.head[0] & 15) }

// headLen is how long the head is as far as is known.
func (r *Reader) headLen() int {
	if r.got < 2 {
		return 2
	}
	switch r.head[1] & 0x7f {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	}
	return 2 + 4
}

// check looks at the first two bytes of a head.
func (r *Reader) check() error {
	op, n := r.op(), r.head[1]&0x7f
	switch {
	case r.head[0]&0x70 != 0:
		return fmt.Errorf("%w: reserved bits %#x", ErrSyntax, r.head[0])
	case op > Binary && op < Close || op > Pong:
		return fmt.Errorf("%w: opcode %d", ErrSyntax, op)
	case r.head[1]&0x80 == 0:
		return fmt.Errorf("%w: not masked", ErrSyntax)
	case op >= Close && (r.head[0]&0x80 == 0 || n > maxControl):
		return fmt.Errorf("%w: a control frame in pieces or too long", ErrSyntax)
	}
	return nil
}

func (r *Reader) length() uint64 {
	switch n := r.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(r.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(r.head[2:])
	default:
		return uint64(n)
	}
}

// finish answers a frame that is whole.
func (r *Reader) finish(dst []byte) ([]byte, error) {
	op := r.op()
	if op < Close || op == Pong {
		return dst, nil
	}
	mask, said := r.head[r.headLen()-4:], r.control[:r.n]
	for i := range said {
		said[i] ^= mask[i&3]
	}
	if op == Ping {
		return append(AppendHead(dst, Pong, len(said)), said...), nil
	}
	code := uint16(Normal)
	if len(said) >= 2 {
		if code = binary.BigEndian.Uint16(said); !sendable(code) {
			code = ProtocolError
		}
	}
	return AppendClose(dst, code), ErrClosed
}

// sendable reports whether a code may stand in a frame (7.4.2).
func sendable(code uint16) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
