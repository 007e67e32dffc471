package rtsp

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/media"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/wire/rtsp"
)

// play sends the stream until the client ends that. It returns errHandedOver if a send
// loop does so from now on.
func (c *conn) play(m *rtsp.Message) error {
	r := c.response(m, rtsp.OK)
	r.Header, r.Open = rtsp.Header{"Range", "npt=now-"}, true
	head := r.Append(nil)
	c.log.Info("connected stream", "vhost", c.ask.Key.Vhost, "app", c.ask.Key.App, "stream", c.ask.Key.Stream, "param", c.ask.Said.Param)
	if tcp := link.TCP(c.nc); c.sub != nil && tcp != nil && c.env.Loops.Kind() != "goroutine" {
		if c.handOver(tcp, head) {
			return errHandedOver
		}
	}
	return c.serveViewer(head)
}

// handOver gives the client to a send loop, and reports whether it was taken.
func (c *conn) handOver(tcp *net.TCPConn, head []byte) bool {
	c.unblock() // the loop sees to the session's end
	tcp.SetDeadline(time.Time{})
	nc := c.nc
	// The loop may be through with the client before this returns.
	c.nc, c.w, c.read = nil, nil, nil
	given := c.env.Loops.HandOver(sender.Handoff{
		Session: c.session, Conn: tcp, Sub: c.sub, Gather: c.gather,
		Spec: sender.Spec{Form: media.FormRTSP, Channels: c.channels},
		Head: head, Tail: []byte("\r\n"), RTSP: &c.told,
		Peer: c.listen,
		Done: c.back,
	})
	if !given {
		c.use(nc)
	}
	return given
}

// What a client that plays wants.
type wish int

const (
	nothing wish = iota
	pause
	resume
	teardown
)

// heed appends the answer to a message of a client that plays.
func (c *conn) heed(dst []byte, m *rtsp.Message) ([]byte, wish) {
	if m.Method == "" {
		return dst, nothing
	}
	r, w := c.general(m), nothing
	if r == nil {
		r = c.response(m, rtsp.OK)
		switch m.Method {
		case "PAUSE":
			w = pause
		case "PLAY":
			w = resume
			r.Header = rtsp.Header{"Range", "npt=now-"}
		case "TEARDOWN":
			w = teardown
		default:
			r.Status = rtsp.WrongState
		}
	}
	return r.Append(dst), w
}

// listen heeds what the client says to the loop.
func (c *conn) listen(o *sender.Control, dst, b []byte) ([]byte, error) {
	c.buf = append(c.buf, b...)
	for {
		m, n, err := rtsp.Next(c.buf)
		if err != nil {
			return dst, err
		}
		if n == 0 {
			if len(c.buf) == 0 {
				c.buf = nil // a viewer has no buffer while it is silent
			}
			return dst, nil
		}
		var w wish
		dst, w = c.heed(dst, &m)
		c.buf = c.buf[n:]
		switch w {
		case pause:
			o.Pause(true)
		case resume:
			o.Pause(false)
		case teardown:
			return dst, sender.ErrBack
		}
	}
}

// back is told that the loop is through with the client: it has gone, or it has stopped
// playing and may want something else on the same connection.
func (c *conn) back(nc net.Conn, err error) {
	if nc == nil {
		if errors.Is(err, sender.ErrBack) {
			err = nil
		}
		c.end(err)
		return
	}
	c.use(nc)
	c.leave(nil)
	c.end(service.Guard(c.log, c.run))
}

// serveViewer sends until the client ends that. The reader returns only after the writer.
func (c *conn) serveViewer(head []byte) error {
	enc := sender.NewRTSP(c.stream(), c.channels, &c.told)
	var writing sync.Mutex
	send := func(b net.Buffers) error {
		writing.Lock()
		defer writing.Unlock()
		c.nc.SetWriteDeadline(time.Now().Add(writeTime))
		if err := context.Cause(c.session.Context()); err != nil {
			return err
		}
		_, err := c.w.(interface {
			WriteBuffers(b *net.Buffers) (int64, error)
		}).WriteBuffers(&b)
		return err
	}
	if err := send(net.Buffers{enc.Finish(head)}); err != nil {
		return err
	}
	if c.sub != nil {
		c.sub.SkipToLive()
	}
	v := &sender.Viewer{Sub: c.feed, Encoder: enc, Log: c.log, MinInterval: c.conf.SendMinInterval,
		End: func(e *hub.EndError) error {
			if c.sub == nil {
				return e
			}
			return nil
		},
		Write: func(b net.Buffers) error {
			if err := send(b); err != nil {
				return err
			}
			if enc.Over() {
				return sender.ErrChanged
			}
			return nil
		}}
	ctx, cancel := context.WithCancelCause(c.session.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := service.Guard(c.log, func() error { return v.Run(ctx) })
		if ctx.Err() == nil {
			c.session.Kick(err) // wakes the reader: there is nothing more to play
		}
	})
	err := c.control(v, send)
	cancel(err)
	if err != nil {
		c.nc.SetWriteDeadline(time.Unix(1, 0))
	}
	wg.Wait()
	if err == nil {
		c.leave(nil)
	}
	return err
}

// control heeds what the client says until it stops playing, or is gone.
func (c *conn) control(v *sender.Viewer, send func(net.Buffers) error) error {
	c.nc.SetReadDeadline(time.Time{})
	for {
		m, n, err := rtsp.Next(c.buf)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := c.more(); err != nil {
				return err
			}
			continue
		}
		c.buf = c.buf[n:]
		answer, w := c.heed(nil, &m)
		if len(answer) > 0 {
			if err := send(net.Buffers{answer}); err != nil {
				return err
			}
		}
		switch w {
		case pause:
			v.Pause(true)
		case resume:
			v.Pause(false)
		case teardown:
			return nil
		}
	}
}
