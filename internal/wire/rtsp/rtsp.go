// Package rtsp reads what clients of RTSP/1.0 (RFC 2326) say and writes what they are
// answered: requests, responses, the packets of RTP and RTCP that stand between them on
// the same connection (10.12), the header Transport, and the SDP that describes a stream.
//
// [Next] cuts one message after the other off what has come. All that a client sends is
// bounded, and nothing here reads a clock.
package rtsp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of a message.
const (
	// MaxHead is the longest request line with its header, in bytes.
	MaxHead = 16 << 10
	// MaxLines is the most lines of a header.
	MaxLines = 64
	// MaxBody is the longest body, in bytes.
	MaxBody = 64 << 10
	// MaxMessage is the longest message, and so the most that [Next] has to be given.
	MaxMessage = MaxHead + MaxBody
)

// Version is the one that is spoken.
const Version = "RTSP/1.0"

// ErrSyntax is wrapped by errors of what is no message, or is over a limit.
var ErrSyntax = errors.New("rtsp: not a message")

// A Message is a request, a packet, or a response of the client, which is nothing but
// that: Method and Packet are empty then.
type Message struct {
	// Method, URL and Version are those of a request.
	Method, URL, Version string
	Header               Header
	// Body aliases what was read.
	Body []byte

	// Packet is one of RTP or RTCP, which aliases what was read, and Channel where it
	// came. It is nil for requests and responses.
	Packet  []byte
	Channel uint8
}

// A Header is what stands behind the first line: names and values in turn.
type Header []string

// Get returns the value of a name, however it is spelled, "" if it is not there.
func (h Header) Get(name string) string {
	for i := 0; i+1 < len(h); i += 2 {
		if strings.EqualFold(h[i], name) {
			return h[i+1]
		}
	}
	return ""
}

// frameHead is what stands before a packet: a dollar sign, the channel, the length.
const frameHead = 4

// Next reads the first message of b, which has n bytes. If n is 0 and there is no error
// more has to come, up to MaxMessage bytes in all. Empty lines before a message, which
// some clients send, are part of it.
func Next(b []byte) (m Message, n int, err error) {
	at := 0
	for at < len(b) && (b[at] == '\r' || b[at] == '\n') {
		at++
	}
	if at > MaxHead {
		return m, 0, fmt.Errorf("%w: nothing but empty lines", ErrSyntax)
	}
	if at == len(b) {
		return m, 0, nil
	}
	if b[at] == '$' {
		return packet(b, at)
	}
	head, rest, err := cutHead(b[at:])
	if err != nil || head == nil {
		return m, 0, err
	}
	m, err = parseHead(string(head))
	if err != nil {
		return m, 0, err
	}
	size, err := bodySize(m.Header)
	if err != nil || len(rest) < size {
		return Message{}, 0, err
	}
	m.Body = rest[:size:size]
	return m, len(b) - len(rest) + size, nil
}

func packet(b []byte, at int) (m Message, n int, err error) {
	p := b[at:]
	if len(p) < frameHead {
		return m, 0, nil
	}
	size := int(binary.BigEndian.Uint16(p[2:]))
	if len(p) < frameHead+size {
		return m, 0, nil
	}
	m.Channel, m.Packet = p[1], p[frameHead:frameHead+size:frameHead+size]
	return m, at + frameHead + size, nil
}

// cutHead returns what stands before the first empty line; head is nil if there is none
// yet. Lines may end with a line feed alone.
func cutHead(b []byte) (head, rest []byte, err error) {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 || from+i > MaxHead {
			break
		}
		line := bytes.TrimSuffix(b[from:from+i], []byte("\r"))
		if len(line) == 0 {
			return b[:from], b[from+i+1:], nil
		}
		from += i + 1
	}
	if len(b) > MaxHead {
		return nil, nil, fmt.Errorf("%w: its header has more than %d bytes", ErrSyntax, MaxHead)
	}
	// What is no text will never become a message: it need not be waited for.
	for _, c := range b {
		if c < ' ' && c != '\r' && c != '\n' && c != '\t' {
			return nil, nil, fmt.Errorf("%w: byte %#x in its header", ErrSyntax, c)
		}
	}
	return nil, nil, nil
}

// parseHead reads the first line and the header, which has a line each.
func parseHead(text string) (m Message, err error) {
	first, text, _ := strings.Cut(text, "\n")
	first = strings.TrimSuffix(first, "\r")
	if !printable(first) {
		return m, fmt.Errorf("%w: first line is %.80q", ErrSyntax, first)
	}
	if !strings.HasPrefix(first, "RTSP/") {
		f := strings.Fields(first)
		if len(f) != 3 || !token(f[0]) {
			return m, fmt.Errorf("%w: first line is %.80q", ErrSyntax, first)
		}
		m.Method, m.URL, m.Version = f[0], f[1], f[2]
	}
	for n := 0; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if n == MaxLines {
			return m, fmt.Errorf("%w: more than %d lines of a header", ErrSyntax, MaxLines)
		}
		if !printable(line) {
			return m, fmt.Errorf("%w: line %.80q", ErrSyntax, line)
		}
		if line[0] == ' ' || line[0] == '\t' { // goes on from the line before (RFC 2068 4.2)
			if len(m.Header) == 0 {
				return m, fmt.Errorf("%w: line %.80q", ErrSyntax, line)
			}
			m.Header[len(m.Header)-1] += " " + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(strings.TrimSpace(name)) {
			return m, fmt.Errorf("%w: line %.80q", ErrSyntax, line)
		}
		m.Header = append(m.Header, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return m, nil
}

// printable reports whether a line may be repeated in a response and in a log.
func printable(line string) bool {
	return !strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// token reports whether s may be a method or the name of a header.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r) })
}

func bodySize(h Header) (int, error) {
	s := h.Get("Content-Length")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n > MaxBody {
		return 0, fmt.Errorf("%w: Content-Length is %.40q, at most %d is read", ErrSyntax, s, MaxBody)
	}
	return int(n), nil
}

// PutFrame writes what stands before a packet of n bytes, at most 65535, into b, which
// has room for FrameHead bytes.
func PutFrame(b []byte, channel uint8, n int) {
	b[0], b[1] = '$', channel
	binary.BigEndian.PutUint16(b[2:], uint16(n))
}

// FrameHead is how many bytes [PutFrame] writes.
const FrameHead = frameHead
