package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// upgrade are the headers of a request that asks for a WebSocket (RFC 6455 4.1). Any
// key will do: nobody between could mistake the answer.
const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d2VpciBiZW5jaCBrZXkhIQ==\r\n"

// messages reads what a server's messages hold, as one stream.
type messages struct {
	r    *bufio.Reader
	left uint64 // of the frame's payload
}

const (
	opBinary = 2 // the highest that carries data; 0 goes on, 1 is text
	opClose  = 8
)

// Read implements io.Reader.
func (m *messages) Read(p []byte) (int, error) {
	for m.left == 0 {
		if err := m.head(); err != nil {
			return 0, err
		}
	}
	n, err := m.r.Read(p[:min(uint64(len(p)), m.left)])
	if m.left -= uint64(n); err == io.EOF && m.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// head reads the head of a frame (RFC 6455 5.2), and passes over those of control.
func (m *messages) head() error {
	var b [8]byte
	if _, err := io.ReadFull(m.r, b[:2]); err != nil {
		return err
	}
	op, n := b[0]&0x0f, uint64(b[1]&0x7f)
	if b[1]&0x80 != 0 {
		return errors.New("a server's frame of WebSocket is masked")
	}
	if n >= 126 {
		size := 2 << (2 * (n - 126)) // 2 or 8 bytes
		clear(b[:])
		if _, err := io.ReadFull(m.r, b[8-size:]); err != nil {
			return err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	switch {
	case op == opClose:
		return io.EOF
	case op > opBinary:
		_, err := io.CopyN(io.Discard, m.r, int64(n))
		return err
	}
	m.left = n
	return nil
}
