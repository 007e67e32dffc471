package rtmp

import (
	"context"
	"fmt"
	"net"
	"time"

	"weir/internal/wire/rtmp"
)

// A Peer is the conversation of a [Conn] that was taken apart.
type Peer struct {
	reader *rtmp.Reader
	server *rtmp.Server
	base   uint64
}

// Detach takes the Conn apart, for a send loop that reads and writes the socket
// itself: the connection with deadlines removed, and the conversation. Nobody may
// be reading, and no other call may follow; who says something meanwhile is waited
// for, or told that it is too late. If the context is done already the error is its
// cause, and Close is still needed; else its end does nothing any more.
func (c *Conn) Detach() (net.Conn, *Peer, error) {
	select {
	case c.turn <- struct{}{}: // for good: nobody writes here any more
	case <-c.ctx.Done():
		return nil, nil, context.Cause(c.ctx)
	}
	if c.queued() {
		if err := c.put(nil, c.writeTimeout); err != nil {
			<-c.turn
			return nil, nil, err
		}
	}
	if !c.stop() {
		<-c.turn
		return nil, nil, context.Cause(c.ctx)
	}
	c.mu.Lock()
	server := c.server
	c.server = nil
	c.mu.Unlock()
	c.nc.SetDeadline(time.Time{})
	c.reader.SetSource(nil)
	server.Shrink()
	return c.nc, &Peer{c.reader, server, c.base}, nil
}

// Attach makes a Conn of a conversation and its connection again, as NewConn does
// of a new one.
func (p *Peer) Attach(ctx context.Context, nc net.Conn, o Options) *Conn {
	c := NewConn(ctx, nc, o)
	p.reader.SetSource(&c.socket)
	c.reader, c.server, c.base = p.reader, p.server, p.base
	return c
}

// Feed takes bytes that the client sent, which may be none, and appends the
// answers to dst. It calls event for all but rtmp.None; [rtmp.Ended] among them.
// The first call also handles what was read before Detach.
func (p *Peer) Feed(dst, b []byte, event func(rtmp.Event)) ([]byte, error) {
	p.reader.Feed(b)
	for {
		m, ok, err := p.reader.Next()
		if !ok || err != nil {
			// Most viewers say nothing for seconds.
			p.reader.Shrink()
			dst = p.server.Take(dst)
			p.server.Shrink()
			return dst, err
		}
		p.server.Received(p.base + p.reader.Received())
		e, err := p.server.Handle(m)
		if err != nil {
			return p.server.Take(dst), fmt.Errorf("%v message: %w", m.Type, err)
		}
		if p.server.Pending() > maxReplies {
			return dst, errReplies
		}
		if e.Kind != rtmp.None {
			event(e)
		}
	}
}

// Say lets the server say something, such as [rtmp.Server.Status], and appends it
// to dst.
func (p *Peer) Say(dst []byte, f func(s *rtmp.Server)) []byte {
	f(p.server)
	dst = p.server.Take(dst)
	p.server.Shrink()
	return dst
}
