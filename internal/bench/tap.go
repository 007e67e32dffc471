package bench

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"weir/internal/wire/rtmp"
)

// A tap is the connection of a viewer below all protocols. It counts what comes,
// and can take the socket away from those above, who then find it closed.
type tap struct {
	*net.TCPConn
	v *viewer

	mu    sync.Mutex
	taken bool // guarded by mu

	// Owned by the reading goroutine.
	got  uint64
	head []byte // what came first, to find the acknowledgement window in
}

// maxHead is how much of the beginning is kept: a handshake of RTMP and what the
// server says before it plays.
const maxHead = 8 << 10

// newTap returns a tap on a connection that was just dialled.
func newTap(c *net.TCPConn, v *viewer) *tap { return &tap{TCPConn: c, v: v} }

func (t *tap) isTaken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken
}

// take takes the socket away.
func (t *tap) take() *net.TCPConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = true
	t.TCPConn.SetDeadline(time.Time{})
	return t.TCPConn
}

// Read reads and counts.
func (t *tap) Read(p []byte) (int, error) {
	if t.isTaken() {
		return 0, io.EOF
	}
	n, err := t.TCPConn.Read(p)
	if n > 0 {
		if t.got += uint64(n); len(t.head) < maxHead && t.v.run.kind == kindRTMP {
			t.head = append(t.head, p[:min(n, maxHead-len(t.head))]...)
		}
		t.v.came(n, time.Now().UnixNano())
	}
	return n, err
}

// Write writes, or drops what comes after the end.
func (t *tap) Write(p []byte) (int, error) {
	if t.isTaken() {
		return len(p), nil
	}
	return t.TCPConn.Write(p)
}

// WriteBuffers writes several in one call.
func (t *tap) WriteBuffers(b *net.Buffers) (int64, error) {
	if t.isTaken() {
		return io.Copy(io.Discard, b)
	}
	return b.WriteTo(t.TCPConn)
}

// Close closes the connection, unless it was taken away.
func (t *tap) Close() error {
	if t.isTaken() {
		return nil
	}
	return t.TCPConn.Close()
}

// SetDeadline and its kin do nothing when the socket was taken away.
func (t *tap) SetDeadline(by time.Time) error {
	if t.isTaken() {
		return nil
	}
	return t.TCPConn.SetDeadline(by)
}

// SetReadDeadline is SetDeadline for reading.
func (t *tap) SetReadDeadline(by time.Time) error {
	if t.isTaken() {
		return nil
	}
	return t.TCPConn.SetReadDeadline(by)
}

// SetWriteDeadline is SetDeadline for writing.
func (t *tap) SetWriteDeadline(by time.Time) error {
	if t.isTaken() {
		return nil
	}
	return t.TCPConn.SetWriteDeadline(by)
}

// window returns what the server wants to have acknowledged, in bytes, 0 for
// nothing. The message stands alone at the beginning of what it says, with a full
// header, so it is found by searching; under TLS it is not found.
func (t *tap) window() uint32 {
	const pattern = "\x02\x00\x00\x00\x00\x00\x04\x05\x00\x00\x00\x00"
	if i := bytes.Index(t.head, []byte(pattern)); i >= 0 && len(t.head) >= i+len(pattern)+4 {
		return binary.BigEndian.Uint32(t.head[i+len(pattern):])
	}
	return 0
}

// acks acknowledges what was received on a connection that was taken away.
type acks struct {
	window   uint32 // 0 for no acknowledgements
	got, ack uint64
}

// came counts n bytes and returns the message that is due, if any. Half the
// window keeps servers from waiting.
func (a *acks) came(n int) []byte {
	a.got += uint64(n)
	if a.window == 0 || a.got-a.ack < uint64(a.window/2) {
		return nil
	}
	a.ack = a.got
	return rtmp.AppendAcknowledgement(nil, uint32(a.got))
}
