package webrtc

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/link"
	"weir/internal/service"
	"weir/internal/wire/stun"
)

// A stream is one TCP connection of a peer that gets no UDP through: datagrams behind
// their lengths (RFC 4571). It has two goroutines; what is sent waits in a queue of
// bounded size, and is lost like any datagram if that is full.
type stream struct {
	nc   net.Conn
	room chan struct{} // one wake-up for who writes

	mu     sync.Mutex
	queue  []byte // guarded by mu
	closed bool   // guarded by mu
}

const (
	// firstTime is how long a connection may take to say who it is.
	firstTime = 10 * time.Second
	// queueMost is how many bytes may wait to be sent: a second of a good picture.
	queueMost = 1 << 20
	// writeTime is how long one write may block.
	writeTime = 10 * time.Second
	// frameMost is the longest datagram that is taken.
	frameMost = 2048
)

// accept takes connections until the entrance is closed.
func (s *server) accept() {
	l := service.Proxied(s.entrance, s.env.Conf)
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		s.conns.Go(func() { s.serveTCP(nc) })
	}
}

// serveTCP serves a connection, whose first datagram must be a check of STUN.
func (s *server) serveTCP(nc net.Conn) {
	t := &stream{nc: nc, room: make(chan struct{}, 1)}
	k := &socket{server: s, stream: t, peers: map[netip.AddrPort]*peer{}}
	if !s.hold(t) {
		nc.Close()
		return
	}
	defer s.drop(t)
	var writer sync.WaitGroup
	writer.Go(t.write)
	defer writer.Wait()
	defer t.close()
	from := path{sock: k, addr: link.Remote(nc)}
	buf := make([]byte, 2+frameMost)
	nc.SetReadDeadline(time.Now().Add(firstTime))
	for first := true; ; first = false {
		b, err := readFrame(nc, buf)
		if err != nil || first && !stun.Is(b) {
			return
		}
		now := time.Now()
		k.take(b, from, now)
		if k.empty() {
			continue // nobody's yet: the first deadline stands
		}
		nc.SetReadDeadline(now.Add(2 * time.Minute)) // consent ends it long before
	}
}

// readFrame reads one datagram.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	if n == 0 || n > frameMost {
		return nil, errFrame
	}
	_, err := io.ReadFull(r, buf[2:2+n])
	return buf[2 : 2+n], err
}

var errFrame = errors.New("a datagram of no length, or one that is too long")

// send queues a datagram.
func (t *stream) send(b []byte) {
	t.mu.Lock()
	if !t.closed && len(t.queue)+2+len(b) <= queueMost {
		t.queue = append(append(t.queue, byte(len(b)>>8), byte(len(b))), b...)
	}
	t.mu.Unlock()
	select {
	case t.room <- struct{}{}:
	default:
	}
}

// write sends what is queued until the connection is closed.
func (t *stream) write() {
	var spare []byte
	for range t.room {
		for {
			t.mu.Lock()
			b, closed := t.queue, t.closed
			t.queue = spare[:0]
			t.mu.Unlock()
			if len(b) > 0 {
				t.nc.SetWriteDeadline(time.Now().Add(writeTime))
				if _, err := t.nc.Write(b); err != nil {
					t.nc.Close() // whereby reading ends too
					return
				}
			}
			spare = b
			if closed {
				t.nc.Close()
				return
			}
			if len(b) == 0 {
				break
			}
		}
	}
}

// close ends the connection when what is queued was sent.
func (t *stream) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	select {
	case t.room <- struct{}{}:
	default:
	}
}

// hold lists a connection, so that it ends with the server; it reports false if that
// has ended.
func (s *server) hold(t *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut.Load() {
		return false
	}
	s.streams[t] = true
	return true
}

func (s *server) drop(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, t)
}

// empty reports whether no peer is at the socket.
func (k *socket) empty() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.peers) == 0
}
