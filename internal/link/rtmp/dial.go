package rtmp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"weir/internal/format/amf"
	"weir/internal/wire/rtmp"
)

// DialOptions of a [Client]. Zero fields mean the defaults.
type DialOptions struct {
	// TcURL and Stream replace what the address says: the address of the app,
	// and the name with its parameters.
	TcURL, Stream string
	// App replaces the app of the address.
	App string

	PageURL, SwfURL string
	FlashVer        string     // "WIN 15,0,0,239" by default
	Args            amf.Object // the second object of connect; nil for none
	Capabilities    rtmp.Capabilities

	// Schema is the handshake to try; simple by default.
	Schema rtmp.Schema
	// FMLE makes Publish send releaseStream and FCPublish first, as encoders
	// do; without it only createStream, as SRS's edges and forwarders do.
	FMLE bool

	// Timeout is for dialling, handshake and connect together, and again for
	// Publish and Play; 5 s by default.
	Timeout time.Duration
	// WriteTimeout is how long one write may block; 30 s by default.
	WriteTimeout time.Duration
	// ChunkSize is what we send with; 60000 by default.
	ChunkSize int
	// MessageLimit bounds the server's messages in bytes; 16 MiB by default.
	MessageLimit int

	// TLS is used for rtmps addresses; nil for Go's defaults.
	TLS *tls.Config
	// Dial replaces net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial connects to the server of an address such as
// "rtmp://host/app/stream?key=value", and tells it the app. Follow with Publish
// or Play. ctx is for the life of the client, not for dialling only.
func Dial(ctx context.Context, rawURL string, o DialOptions) (*Client, error) {
	t, err := rtmp.ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if t.Schema != "rtmp" && t.Schema != "rtmps" {
		return nil, fmt.Errorf("rtmp: cannot dial %.64q", rawURL)
	}
	setDefaults(&o, t)
	start := time.Now()
	dialCtx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	nc, err := o.Dial(dialCtx, "tcp", t.Addr())
	if err != nil {
		return nil, err
	}
	if t.Schema == "rtmps" {
		conf := o.TLS.Clone()
		if conf == nil {
			conf = &tls.Config{}
		}
		if conf.ServerName == "" {
			conf.ServerName = t.Host
		}
		tc := tls.Client(nc, conf)
		if err := tc.HandshakeContext(dialCtx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = tc
	}
	c := newClient(ctx, nc, o)
	c.begin(max(o.Timeout-time.Since(start), time.Nanosecond))
	if err := c.open(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func setDefaults(o *DialOptions, t rtmp.Target) {
	if o.TcURL == "" {
		o.TcURL = t.TcURL()
	}
	if o.App == "" {
		o.App = t.App
	}
	if o.Stream == "" {
		o.Stream = t.Stream + t.Param
	}
	if o.FlashVer == "" {
		o.FlashVer = "WIN 15,0,0,239"
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = defaultTimeout
	}
	if o.ChunkSize < rtmp.DefaultChunkSize {
		o.ChunkSize = 60000
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}

// open does the handshake and connect.
func (c *Client) open() error {
	hello, err := rtmp.AppendHello(nil, c.options.Schema, 0, rand.Reader)
	if err != nil {
		return err
	}
	if err := c.write(net.Buffers{hello}); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	answer := make([]byte, rtmp.AnswerSize)
	if _, err := io.ReadFull(&c.socket, answer); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c2, _, err := rtmp.FinishHello(hello, answer, rand.Reader)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.base = c.received.Load()

	c.mu.Lock()
	c.out = append(c.out, c2...)
	c.mu.Unlock()
	c.transaction = 1
	values := []any{c.connectObject()}
	if c.options.Args != nil {
		values = append(values, c.options.Args)
	}
	if err := c.command(rtmp.CSIDCommand, 0, "connect", 1, values...); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	answered, err := c.await(1)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if len(answered.Args) > 0 {
		info, _ := amf.Properties(answered.Args[0])
		c.server = rtmp.ParseCapabilities(info)
		c.info, _ = amf.Properties(info.Get("data"))
	}
	c.chunkSize = c.options.ChunkSize
	c.mu.Lock() // sent together with the next command
	c.out = rtmp.AppendWindowAckSize(c.out, windowAckSize)
	c.out = rtmp.AppendSetChunkSize(c.out, c.chunkSize)
	c.mu.Unlock()
	return nil
}

func (c *Client) connectObject() amf.Object {
	o := c.options
	object := amf.Object{
		{Key: "app", Value: o.App},
		{Key: "flashVer", Value: o.FlashVer},
		{Key: "swfUrl", Value: o.SwfURL},
		{Key: "tcUrl", Value: o.TcURL},
		{Key: "fpad", Value: false},
		{Key: "capabilities", Value: 239},
		{Key: "audioCodecs", Value: 3575},
		{Key: "videoCodecs", Value: 252},
		{Key: "videoFunction", Value: 1},
		{Key: "pageUrl", Value: o.PageURL},
		{Key: "objectEncoding", Value: 0},
	}
	if o.FMLE {
		object = append(object, amf.Property{Key: "type", Value: "nonprivate"})
	}
	if o.Capabilities.Has {
		object = append(object, o.Capabilities.Properties()...)
	}
	return object
}
