package rtmp

import (
	"errors"
	"net"
	"time"

	"weir/internal/hub"
	sockets "weir/internal/link"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/wire/rtmp"
)

// errHandedOver tells that a send loop has the player now, its session and its
// connection included.
var errHandedOver = errors.New("handed over to a send loop")

// handOver gives a player, whose playing has been answered, to a send loop. It
// returns errHandedOver when that is done, nil if the player has to be served
// here, and else why it ends.
func (c *conn) handOver(sub *hub.Subscription, only sender.Only, gather time.Duration) error {
	loops := c.env.Loops
	tcp := sockets.TCP(c.nc)
	if tcp == nil || loops.Kind() == "goroutine" {
		return nil
	}
	chunk := c.link.ChunkSize()
	c.session.MoveBy(nil)
	_, peer, err := c.link.Detach()
	if err != nil {
		return err
	}
	// The loop is to keep the conversation, not the connection that it was had by.
	nc := c.nc
	c.nc, c.link = nil, nil
	c.present.nc.Store(nil)
	given := loops.HandOver(sender.Handoff{
		Session: c.session, Conn: tcp, Sub: sub, Spec: sender.Spec{Form: media.FormRTMP, ChunkSize: chunk, Only: only}, Gather: gather,
		Peer: func(o *sender.Control, dst, b []byte) ([]byte, error) { return listen(peer, o, dst, b) },
		Move: c.mover(peer),
		Done: func(nc net.Conn, err error) { c.back(peer, nc, err) },
	})
	if given {
		return errHandedOver
	}
	c.use(nc)
	c.link = peer.Attach(c.session.Context(), c.session.Conn(nc), link.Options{})
	c.movable()
	return nil
}

// use has the conversation go on by nc.
func (c *conn) use(nc net.Conn) {
	c.nc = nc
	c.present.nc.Store(&nc)
}

// listen heeds what the player says to the loop.
func listen(peer *link.Peer, o *sender.Control, dst, b []byte) ([]byte, error) {
	ended := false
	dst, err := peer.Feed(dst, b, func(e rtmp.Event) {
		switch e.Kind {
		case rtmp.Paused:
			o.Pause(true)
		case rtmp.Resumed:
			o.Pause(false)
		case rtmp.Ended:
			ended = true
		}
	})
	if err == nil && ended {
		err = sender.ErrBack
	}
	return dst, err
}

// back is told that the loop is through with the player: it has gone, or it has
// stopped playing and may want something else on the same connection.
func (c *conn) back(peer *link.Peer, nc net.Conn, err error) {
	if nc == nil {
		if errors.Is(err, sender.ErrBack) {
			err = nil
		}
		c.end(err)
		return
	}
	c.session.Leave(nil)
	c.use(sockets.Quiet(nc, &c.server.beat))
	defer nc.Close()
	c.link = peer.Attach(c.session.Context(), c.session.Conn(c.nc), link.Options{})
	defer c.link.Close()
	c.movable()
	c.end(service.Guard(c.log, func() error { return c.wishes(laterWish) }))
}
