package rtmp

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"weir/internal/format/amf"
	"weir/internal/wire/rtmp"
)

// A StatusError is what a server refused or ended in words.
type StatusError struct {
	rtmp.Status
	// Redirect is where the server says the stream is, a full address, or "".
	Redirect string
}

func (e *StatusError) Error() string {
	if e.Description == "" || e.Description == e.Code {
		return "rtmp: server says " + e.Code
	}
	return fmt.Sprintf("rtmp: server says %s: %s", e.Code, e.Description)
}

// A Client is the client's end of a connection, after connect. One goroutine
// reads and one writes.
type Client struct {
	socket
	options DialOptions
	name    string

	// Immutable after Dial.
	info      amf.Object
	server    rtmp.Capabilities
	chunkSize int // of what we send

	// Owned by the reading goroutine.
	reader      *rtmp.Reader
	base        uint64
	acks        rtmp.Acks
	aggregate   rtmp.Aggregate
	early       []rtmp.Message // media that came before Play.Start
	transaction float64

	// Owned by the writing goroutine.
	batch []byte

	mu  sync.Mutex
	out []byte // guarded by mu

	// Set by Publish and Play, before media flows.
	stream     uint32
	publishing bool
}

const (
	// batchSize is how much WriteMessage gathers before it sends, in bytes.
	batchSize = 64 << 10
	// windowAckSize is how much a server shall take before it acknowledges.
	windowAckSize = 2500000
)

func newClient(ctx context.Context, nc net.Conn, o DialOptions) *Client {
	c := &Client{options: o, name: o.Stream, chunkSize: rtmp.DefaultChunkSize}
	c.reader = rtmp.NewReader(&c.socket, rtmp.Limits{Message: o.MessageLimit})
	c.take = func(dst []byte) []byte {
		c.mu.Lock()
		defer c.mu.Unlock()
		dst = append(dst, c.out...)
		c.out = c.out[:0]
		return dst
	}
	c.queued = func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.out) > 0
	}
	c.bind(ctx, nc, o.WriteTimeout)
	return c
}

// Server returns what the server said of itself in the answer to connect: the
// srs_ fields, if it is one of ours.
func (c *Client) Server() amf.Object { return c.info }

// Capabilities returns what the server said that it can do beyond plain RTMP.
func (c *Client) Capabilities() rtmp.Capabilities { return c.server }

// Received counts bytes, as Sent does. Both are safe for concurrent use.
func (c *Client) Received() uint64 { return c.received.Load() }

// Sent counts the bytes that were sent; see Received.
func (c *Client) Sent() uint64 { return c.sent.Load() }

// Publish asks to publish and waits for the permission. Go on with WriteMessage,
// and with Drain in another goroutine.
func (c *Client) Publish() error {
	c.begin(c.options.Timeout)
	if c.options.FMLE {
		for _, name := range [...]string{"releaseStream", "FCPublish"} {
			c.transaction++
			c.queueCommand(rtmp.CSIDCommand, 0, name, c.transaction, nil, c.name)
		}
	}
	if err := c.createStream(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	c.transaction++
	if err := c.command(rtmp.CSIDPublish, c.stream, "publish", c.transaction, nil, c.name, "live"); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := c.awaitStatus(rtmp.PublishStart); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	c.publishing = true
	return nil
}

// Play asks to play and waits until the server begins. Go on with ReadMessage.
func (c *Client) Play() error {
	c.begin(c.options.Timeout)
	if err := c.createStream(); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	c.transaction++
	c.queueCommand(rtmp.CSIDPublish, c.stream, "play", c.transaction, nil, c.name, -2000)
	c.mu.Lock()
	c.out = rtmp.AppendUserControl(c.out, rtmp.UserControl{Type: rtmp.SetBufferLength, Value: c.stream, Buffer: 3000})
	c.mu.Unlock()
	if err := c.flush(); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	if err := c.awaitStatus(rtmp.PlayStart); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	return nil
}

func (c *Client) createStream() error {
	c.transaction++
	if err := c.command(rtmp.CSIDCommand, 0, "createStream", c.transaction, nil); err != nil {
		return err
	}
	answered, err := c.await(c.transaction)
	if err != nil {
		return err
	}
	id := answered.Number(0, rtmp.StreamID)
	if id < 0 || id >= 1<<32 {
		return fmt.Errorf("rtmp: server gave stream %v", id)
	}
	c.stream = uint32(id)
	return nil
}

// await waits for the answer to a call.
func (c *Client) await(transaction float64) (rtmp.Command, error) {
	for {
		command, _, err := c.next()
		if err != nil {
			return command, err
		}
		switch command.Name {
		case "_result":
			if command.Transaction == transaction {
				return command, nil
			}
		case "_error":
			// Many servers know no releaseStream and say so.
			if command.Transaction == transaction {
				return command, refusal(command)
			}
		}
	}
}

// awaitStatus waits for onStatus with a code. Media that comes before it is kept,
// and is as good.
func (c *Client) awaitStatus(code string) error {
	for {
		command, m, err := c.next()
		if err != nil {
			return err
		}
		if m.Type == rtmp.TypeAudio || m.Type == rtmp.TypeVideo {
			c.early = append(c.early, m)
			return nil
		}
		if command.Name == "onStatus" && refusal(command).Code == code {
			return nil
		}
	}
}

// refusal makes an error of a _error or onStatus.
func refusal(command rtmp.Command) *StatusError {
	e := &StatusError{Status: rtmp.Status{Level: "error", Code: command.Name}}
	if len(command.Args) == 0 {
		return e
	}
	o, _ := amf.Properties(command.Args[0])
	e.Description = o.Text("description")
	if level := o.Text("level"); level != "" {
		e.Level = level
	}
	if code := o.Text("code"); code != "" {
		e.Code = code
	}
	e.More = o
	ex, _ := amf.Properties(o.Get("ex"))
	if ex == nil { // where Flash Media Server has it
		data, _ := amf.Properties(o.Get("data"))
		ex, _ = amf.Properties(data.Get("ex"))
	}
	if e.Redirect = ex.Text("redirect2"); e.Redirect == "" {
		e.Redirect = ex.Text("redirect")
	}
	return e
}

// next reads a message and answers it if it is one of control. Of what is left,
// a command is decoded, and an onStatus that ends all is an error.
func (c *Client) next() (rtmp.Command, rtmp.Message, error) {
	m, err := c.reader.ReadMessage()
	if err != nil {
		return rtmp.Command{}, m, err
	}
	var command rtmp.Command
	c.mu.Lock()
	before := len(c.out)
	if seq, due := c.acks.Due(c.base + c.reader.Received()); due {
		c.out = rtmp.AppendAcknowledgement(c.out, seq)
	}
	switch m.Type {
	case rtmp.TypeWindowAckSize:
		c.acks.Window, err = rtmp.ParseUint32(m.Payload)
	case rtmp.TypeUserControl:
		var u rtmp.UserControl
		if u, err = rtmp.ParseUserControl(m.Payload); u.Type == rtmp.PingRequest && err == nil {
			c.out = rtmp.AppendUserControl(c.out, rtmp.UserControl{Type: rtmp.PingResponse, Value: u.Value})
		}
	case rtmp.TypeCommandAMF0, rtmp.TypeCommandAMF3:
		command, err = rtmp.ParseCommand(m)
	}
	pending := len(c.out)
	c.mu.Unlock()
	if err == nil && pending > maxReplies {
		err = errReplies
	}
	if err == nil && pending > before {
		err = c.flush()
	}
	if err == nil && command.Name == "onStatus" {
		if e := refusal(command); e.Level == "error" || over(e.Code) {
			err = e
		}
	}
	if command.Name == "close" && err == nil {
		err = io.EOF
	}
	return command, m, err
}

// over reports whether a status ends a stream, though it is no error.
func over(code string) bool {
	switch code {
	case rtmp.ConnectClosed, rtmp.ConnectReconnect, rtmp.PlayStop, rtmp.PlayComplete, rtmp.PlayUnpublishNotify:
		return true
	}
	return false
}

// ReadMessage returns the next audio, video or data message of a stream that is
// played. timeout is how long the server may send none; 0 for ever. A
// [StatusError] tells what the server said when it ended the stream.
func (c *Client) ReadMessage(timeout time.Duration) (rtmp.Message, error) {
	c.begin(timeout)
	if len(c.early) > 0 {
		m := c.early[0]
		c.early = c.early[1:]
		return m, nil
	}
	for {
		m, ok, err := c.aggregate.Next()
		if ok || err != nil {
			return m, err
		}
		_, m, err = c.next()
		switch {
		case err != nil:
			return m, err
		case m.Type.Media():
			return m, nil
		case m.Type == rtmp.TypeAggregate:
			c.aggregate = rtmp.NewAggregate(m)
		}
	}
}

// Drain reads, answers and drops what the server sends to a publisher until the
// connection ends, and returns why. Without it pings go unanswered.
func (c *Client) Drain() error {
	for {
		if _, err := c.ReadMessage(0); err != nil {
			return err
		}
	}
}

// ReadCommand returns the server's next command, for conversations of another
// kind, such as a bandwidth test.
func (c *Client) ReadCommand(timeout time.Duration) (rtmp.Command, error) {
	c.begin(timeout)
	for {
		command, _, err := c.next()
		if err != nil || command.Name != "" {
			return command, err
		}
	}
}

// Command sends a command on the connection, with values behind its transaction.
func (c *Client) Command(name string, transaction float64, values ...any) error {
	return c.command(rtmp.CSIDCommand, 0, name, transaction, values...)
}

func (c *Client) command(csid, stream uint32, name string, transaction float64, values ...any) error {
	c.queueCommand(csid, stream, name, transaction, values...)
	return c.flush()
}

func (c *Client) queueCommand(csid, stream uint32, name string, transaction float64, values ...any) {
	body := rtmp.AppendCommand(nil, name, transaction, values...)
	m := rtmp.Message{Type: rtmp.TypeCommandAMF0, CSID: csid, StreamID: stream}
	c.mu.Lock()
	c.out = rtmp.AppendParts(c.out, m, c.chunkSize, body)
	c.mu.Unlock()
}

// WriteMessage adds a message of a publisher to a batch, which is sent when it is
// over 64 KiB or with Flush. timestamp is absolute, in milliseconds. The parts of
// the body are copied.
func (c *Client) WriteMessage(typ rtmp.MessageType, timestamp uint32, parts ...[]byte) error {
	m := rtmp.Message{Type: typ, Timestamp: timestamp, StreamID: c.stream, CSID: rtmp.CSIDStream}
	switch typ {
	case rtmp.TypeAudio:
		m.CSID = rtmp.CSIDAudio
	case rtmp.TypeVideo:
		m.CSID = rtmp.CSIDVideo
	}
	c.batch = rtmp.AppendParts(c.batch, m, c.chunkSize, parts...)
	if len(c.batch) < batchSize {
		return nil
	}
	return c.Flush()
}

// Flush sends the batch.
func (c *Client) Flush() error {
	if len(c.batch) == 0 {
		return nil
	}
	err := c.write(net.Buffers{c.batch})
	if c.batch = c.batch[:0]; cap(c.batch) > 4*batchSize {
		c.batch = nil
	}
	return err
}

// Write sends whole messages, already cut at DialOptions.ChunkSize. It must not
// be mixed with WriteMessage without Flush between.
func (c *Client) Write(b ...[]byte) error { return c.write(net.Buffers(b)) }

// Stream returns the message stream that the server gave to Publish or Play.
func (c *Client) Stream() uint32 { return c.stream }

// Close ends a publication in words, if the server takes them within a second,
// and closes the connection. What WriteMessage has gathered is sent before,
// unless another goroutine is just writing.
func (c *Client) Close() error {
	if c.publishing && c.ctx.Err() == nil {
		if c.options.FMLE {
			c.queueCommand(rtmp.CSIDCommand, 0, "FCUnpublish", 0, nil, c.name)
		}
		c.queueCommand(rtmp.CSIDCommand, 0, "deleteStream", 0, nil, c.stream)
		select {
		case c.turn <- struct{}{}:
			// The batch is older than what is queued.
			if c.sendBatch(); c.ctx.Err() == nil {
				c.put(nil, time.Second)
			}
			<-c.turn
		default:
		}
	}
	return c.close()
}

// sendBatch writes the batch alone; the caller has the turn.
func (c *Client) sendBatch() {
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	if len(c.batch) > 0 {
		n, _ := c.nc.Write(c.batch)
		c.sent.Add(uint64(n))
		c.batch = nil
	}
}
