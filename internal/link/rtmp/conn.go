// Package rtmp joins the protocol of package wire/rtmp to connections, in both
// roles: a [Conn] is what a server accepted, a [Client] what was dialled.
//
// It knows words and no policy. A server's room takes a [Conn] through Open,
// Accept and ReadWish, decides, and then says StartPublish, StartPlay or Refuse.
//
// A connection is bound to a context: when that is done, all calls return its
// cause, and that is the one way to interrupt them. Every call that reads has a
// timeout, and every write has one too. One goroutine reads at a time; writing is
// safe from any.
package rtmp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/wire/rtmp"
)

// HandshakeTimeout is how long a client has for the handshake.
const HandshakeTimeout = 10 * time.Second

const (
	defaultTimeout = 30 * time.Second
	// smallMessage bounds the messages of those who do not publish, in bytes.
	smallMessage = 64 << 10
	// maxReplies bounds what waits to be sent to a peer that asks and does not
	// read, in bytes.
	maxReplies = 64 << 10
)

// ErrEnded is returned when the client has ended its publication or playing. It
// may wish for something else on the same connection.
var ErrEnded = errors.New("rtmp: ended by the client")

var (
	errReplies  = errors.New("rtmp: the peer does not read our answers")
	errDetached = errors.New("rtmp: the connection was taken apart")
)

// Options of a [Conn]. Zero fields mean the defaults.
type Options struct {
	// MessageLimit bounds a publisher's messages in bytes; 16 MiB by default.
	// Others' are bounded at 64 KiB.
	MessageLimit int
	// ConnectTimeout is how long connect may take after the handshake; 30 s.
	ConnectTimeout time.Duration
	// WriteTimeout is how long one write may block; 30 s.
	WriteTimeout time.Duration
}

// A Conn is the server's end of a connection.
type Conn struct {
	socket
	options Options

	// Owned by the reading goroutine.
	reader    *rtmp.Reader
	base      uint64 // bytes received before the reader
	aggregate rtmp.Aggregate
	proxied   netip.Addr
	schema    rtmp.Schema

	mu     sync.Mutex
	server *rtmp.Server // nil once it was taken apart; guarded by mu
}

// NewConn returns a Conn that waits for Open. It owns nc from now on. When ctx
// is done all calls fail with its cause; Close is still needed.
func NewConn(ctx context.Context, nc net.Conn, o Options) *Conn {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = defaultTimeout
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = defaultTimeout
	}
	c := &Conn{options: o, server: rtmp.NewServer()}
	c.reader = rtmp.NewReader(&c.socket, rtmp.Limits{Message: smallMessage})
	c.take = func(dst []byte) []byte {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.server == nil {
			return dst
		}
		return c.server.Take(dst)
	}
	c.queued = func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.server != nil && c.server.Pending() > 0
	}
	c.bind(ctx, nc, o.WriteTimeout)
	return c
}

// Open does the handshake and reads connect. A connect that SRS refuses, one
// without tcUrl, is refused here in words. Answer with Accept or Reject.
func (c *Conn) Open() (rtmp.ConnectInfo, error) {
	c.begin(HandshakeTimeout)
	if err := c.handshake(); err != nil {
		return rtmp.ConnectInfo{}, fmt.Errorf("handshake: %w", err)
	}
	c.begin(c.options.ConnectTimeout)
	for {
		_, event, err := c.next()
		if errors.Is(err, rtmp.ErrConnect) {
			c.Reject(rtmp.ConnectRejected, "tcUrl is missing")
		}
		if err != nil {
			return rtmp.ConnectInfo{}, fmt.Errorf("connect: %w", err)
		}
		if event.Kind == rtmp.Connect {
			return *event.Connect, nil
		}
	}
}

func (c *Conn) handshake() error {
	hello := make([]byte, rtmp.HelloSize)
	if _, err := io.ReadFull(c, hello[:1]); err != nil {
		return err
	}
	if hello[0] == rtmp.ProxyMark {
		if err := c.proxyHeader(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, hello[:1]); err != nil {
			return err
		}
	}
	if hello[0] != 3 { // said now: who speaks HTTP here sends no 1536 bytes
		return fmt.Errorf("%w but %d", rtmp.ErrPlainRequired, hello[0])
	}
	if _, err := io.ReadFull(c, hello[1:]); err != nil {
		return err
	}
	answer, schema, err := rtmp.AnswerHello(hello, 0, rand.Reader)
	if err != nil {
		return err
	}
	c.schema = schema
	if err := c.write(net.Buffers{answer}); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, hello[1:]); err != nil { // C2 proves nothing
		return err
	}
	c.base = c.received.Load()
	return nil
}

func (c *Conn) proxyHeader() error {
	head := make([]byte, rtmp.ProxyHeaderSize)
	head[0] = rtmp.ProxyMark
	if _, err := io.ReadFull(c, head[1:]); err != nil {
		return err
	}
	n, err := rtmp.ProxyBodySize(head)
	if err != nil {
		return err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	c.proxied = rtmp.ProxyAddr(body)
	return nil
}

// Proxied returns the client's address as a proxy told it before the handshake,
// or the zero Addr. Anybody can say so: it is for the log.
func (c *Conn) Proxied() netip.Addr { return c.proxied }

// Remote and Local return the addresses of the connection, IPv4 ones never in
// IPv6 form; the zero AddrPort if it has none, as a pipe.
func (c *Conn) Remote() netip.AddrPort { return addrPort(c.nc.RemoteAddr()) }

// Local returns our address; see Remote.
func (c *Conn) Local() netip.AddrPort { return addrPort(c.nc.LocalAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Schema says how the handshake was made.
func (c *Conn) Schema() rtmp.Schema { return c.schema }

// Received and Sent count bytes. Both are safe for concurrent use.
func (c *Conn) Received() uint64 { return c.received.Load() }

// Sent counts the bytes that were sent; see Received.
func (c *Conn) Sent() uint64 { return c.sent.Load() }

// next reads a message and lets the server answer it.
func (c *Conn) next() (rtmp.Message, rtmp.Event, error) {
	m, err := c.reader.ReadMessage()
	if err != nil {
		return m, rtmp.Event{}, err
	}
	c.mu.Lock()
	c.server.Received(c.base + c.reader.Received())
	event, err := c.server.Handle(m)
	pending := c.server.Pending()
	c.mu.Unlock()
	if err != nil {
		c.flush()
		return m, event, fmt.Errorf("%v message: %w", m.Type, err)
	}
	if pending > maxReplies {
		return m, event, errReplies
	}
	if pending > 0 {
		c.dismount()
	}
	// An encoder that has said all may be gone before our answer, but what it
	// said counts. If it is gone, reading will tell.
	c.flush()
	return m, event, nil
}

// say lets the server say something and sends it.
func (c *Conn) say(f func(s *rtmp.Server)) error {
	c.mu.Lock()
	if c.server == nil {
		c.mu.Unlock()
		return errDetached
	}
	f(c.server)
	c.mu.Unlock()
	return c.flush()
}

// Accept answers connect.
func (c *Conn) Accept(r rtmp.Reply) error {
	return c.say(func(s *rtmp.Server) { s.Accept(r) })
}

// Reject answers connect with a refusal: [rtmp.ConnectRejected], and a
// description for the one who reads the client's log.
func (c *Conn) Reject(code, description string) error {
	return c.say(func(s *rtmp.Server) { s.Reject(code, description) })
}

// ReadWish waits until the client says what it wants, and answers all that it
// says on the way there. Answer with StartPublish, StartPlay or Refuse before
// anything else is read.
func (c *Conn) ReadWish(timeout time.Duration) (rtmp.Wish, error) {
	c.begin(timeout)
	c.reader.SetLimits(rtmp.Limits{Message: smallMessage})
	c.aggregate = rtmp.Aggregate{}
	c.mu.Lock()
	event, err := c.server.Next()
	c.mu.Unlock()
	c.flush() // see next
	for err == nil && event.Kind != rtmp.Wished {
		_, event, err = c.next()
	}
	if err != nil {
		return rtmp.Wish{}, fmt.Errorf("identify: %w", err)
	}
	return *event.Wish, nil
}

// StartPublish tells the client that it is publishing. Go on with ReadMedia.
func (c *Conn) StartPublish() error {
	c.reader.SetLimits(rtmp.Limits{Message: c.options.MessageLimit})
	return c.say((*rtmp.Server).StartPublish)
}

// StartPlay tells the client that it is playing. Go on with Write, from one
// goroutine, and ReadControl, from another.
func (c *Conn) StartPlay() error { return c.say((*rtmp.Server).StartPlay) }

// Refuse answers a wish with an error such as [rtmp.PublishBadName] or
// [rtmp.PlayStreamNotFound].
func (c *Conn) Refuse(code, description string) error {
	return c.say(func(s *rtmp.Server) { s.Refuse(code, description) })
}

// Status tells the client something of its stream.
func (c *Conn) Status(st rtmp.Status) error {
	return c.say(func(s *rtmp.Server) { s.Status(st) })
}

// StreamEOF tells a player that the stream is over.
func (c *Conn) StreamEOF() error { return c.say((*rtmp.Server).StreamEOF) }

// Redirect tells a player to go to another server; see [rtmp.Server.Redirect].
func (c *Conn) Redirect(tcURL, full string) error {
	return c.say(func(s *rtmp.Server) { s.Redirect(tcURL, full) })
}

// RequestReconnect asks the client to go on elsewhere and reports whether it can
// be asked; see [rtmp.Server.RequestReconnect].
func (c *Conn) RequestReconnect(tcURL, description string) (asked bool, err error) {
	err = c.say(func(s *rtmp.Server) { asked = s.RequestReconnect(tcURL, description) })
	return asked, err
}

// Ping asks the client for a pong; time is in milliseconds of any clock.
func (c *Conn) Ping(time uint32) error {
	return c.say(func(s *rtmp.Server) { s.Ping(time) })
}

// ReadMedia returns the next audio, video or data message of a publisher, or
// [ErrEnded]. timeout is how long the client may send none, whatever else it
// sends; 0 for ever.
func (c *Conn) ReadMedia(timeout time.Duration) (rtmp.Message, error) {
	c.begin(timeout)
	for {
		m, ok, err := c.aggregate.Next()
		if ok || err != nil {
			return m, err
		}
		m, event, err := c.next()
		switch {
		case err != nil:
			return m, err
		case event.Kind == rtmp.Media:
			return m, nil
		case event.Kind == rtmp.Ended:
			return m, ErrEnded
		case m.Type == rtmp.TypeAggregate:
			c.aggregate = rtmp.NewAggregate(m)
		}
	}
}

// ReadControl returns the next thing that a player does: a pause, which has been
// answered, a changed buffer, a pong; or [ErrEnded]. Players may say nothing for
// hours, so timeout is usually 0.
func (c *Conn) ReadControl(timeout time.Duration) (rtmp.Event, error) {
	c.begin(timeout)
	for {
		_, event, err := c.next()
		switch {
		case err != nil:
			return event, err
		case event.Kind == rtmp.Ended:
			return event, ErrEnded
		case event.Kind != rtmp.None:
			return event, nil
		}
	}
}

// ReadCommand returns the client's next command without answering it, for
// conversations of another kind, such as a bandwidth test. Pings and
// acknowledgements are seen to.
func (c *Conn) ReadCommand(timeout time.Duration) (rtmp.Command, error) {
	c.begin(timeout)
	for {
		m, err := c.reader.ReadMessage()
		if err != nil {
			return rtmp.Command{}, err
		}
		if m.Type == rtmp.TypeCommandAMF0 || m.Type == rtmp.TypeCommandAMF3 {
			return rtmp.ParseCommand(m)
		}
		c.mu.Lock()
		c.server.Received(c.base + c.reader.Received())
		_, err = c.server.Handle(m)
		c.mu.Unlock()
		if err != nil {
			return rtmp.Command{}, err
		}
		c.flush()
	}
}

// Command sends a command on the connection, with values behind its transaction.
func (c *Conn) Command(name string, transaction float64, values ...any) error {
	body := rtmp.AppendCommand(nil, name, transaction, values...)
	m := rtmp.Message{Type: rtmp.TypeCommandAMF0, CSID: rtmp.CSIDCommand}
	return c.Write(rtmp.AppendParts(nil, m, c.ChunkSize(), body))
}

// ChunkSize is what Write's bytes must be cut at.
func (c *Conn) ChunkSize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.ChunkSize()
}

// Write sends whole messages, already in chunks, behind our answers that are
// waiting. The bytes are only read.
func (c *Conn) Write(b ...[]byte) error { return c.write(net.Buffers(b)) }

// Close closes the connection.
func (c *Conn) Close() error { return c.close() }

// Linger closes our direction and drops what the client still sends until it
// closes too, or for as long as d. A refusal would be lost otherwise: closing a
// connection with unread bytes resets it. Close is still needed.
func (c *Conn) Linger(d time.Duration) {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.begin(d)
	// LimitReader: a publisher that does not listen is not listened to for long.
	io.Copy(io.Discard, io.LimitReader(&c.socket, 4<<20))
}
