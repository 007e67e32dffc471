package rtmp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store/past"
	"weir/internal/wire/rtmp"
)

const (
	// firstWish is how long a client may take to say what it wants after
	// connect, and laterWish after it ended what it did before (SRS: 30 s and
	// three minutes).
	firstWish = 30 * time.Second
	laterWish = 3 * time.Minute
	// refuseTime is how long a refused client has to read why.
	refuseTime = 500 * time.Millisecond
)

// conn is one connection. All fields are owned by run, but for what their
// types guard.
type conn struct {
	server  *server
	env     *service.Env
	nc      net.Conn
	session *session.Session
	log     *slog.Logger
	about   *about
	present *present

	link    *link.Conn
	connect rtmp.ConnectInfo
}

func (c *conn) run() error {
	ctx := c.session.Context()
	c.link = link.NewConn(ctx, c.session.Conn(c.nc), link.Options{})
	defer c.link.Close()
	info, err := c.link.Open()
	if err != nil {
		return err
	}
	c.connect = info
	*c.about = about{FlashVer: info.FlashVer, Handshake: "simple"}
	if c.link.Schema() != rtmp.Simple {
		c.about.Handshake = "complex"
	}
	if ip := c.link.Proxied(); ip.IsValid() && service.Trusts(c.env.Conf.Load(), c.session.Remote.Addr()) {
		c.session.IP = ip.String()
		c.log.Info("RTMP proxy tells the client", "ip", ip)
	}
	c.session.TcURL, c.session.PageURL, c.session.SwfURL = info.TcURL, info.PageURL, info.SwfURL
	c.session.Via = via(info)
	c.connect.Object, c.connect.Args = nil, nil // a player's conn is kept for as long as it watches
	target, err := rtmp.Resolve(info.TcURL, "")
	if err != nil {
		c.link.Reject(rtmp.ConnectRejected, err.Error())
		return err
	}
	c.log.Info("connect app", "tcUrl", info.TcURL, "pageUrl", info.PageURL, "swfUrl", info.SwfURL, "schema", target.Schema,
		"vhost", target.Vhost, "port", target.Port, "app", target.App)
	if err := c.accept(target); err != nil {
		return err
	}
	c.movable()
	if v, ok := c.env.Conf.Load().Vhost(target.Vhost); ok {
		if conf := blocks.Bandcheck.Of(v); conf.Enabled {
			return c.bandcheck(target, v.Name, conf)
		}
	}
	return c.wishes(firstWish)
}

// via returns the servers that a stream comes through, as another weir tells with
// connect.
func via(info rtmp.ConnectInfo) string {
	s := info.Args.Text(service.Via)
	if len(s) > maxVia {
		return ""
	}
	return s
}

// maxVia bounds what a peer may say of that, in bytes.
const maxVia = 1 << 10

// wishes does what the client wants, one after the other.
func (c *conn) wishes(wait time.Duration) error {
	for {
		w, err := c.link.ReadWish(wait)
		if err != nil {
			return err
		}
		if err := c.serve(c.session.Context(), w); err != nil {
			return err
		}
		wait = laterWish
	}
}

// accept answers connect with what the vhost has configured.
func (c *conn) accept(t rtmp.Target) error {
	snap := c.env.Conf.Load()
	vhost, _ := snap.Vhost(t.Vhost) // one that is unknown is refused at the wish
	root := blocks.VhostRoot.Of(vhost)
	return c.link.Accept(rtmp.Reply{
		Identity: rtmp.Identity{Server: c.env.Server, Version: c.env.Level, URL: "https://github.com/ossrs/srs", Authors: "the weir authors",
			ServerIP: c.session.Local.Addr().String(), PID: c.env.PID, ID: c.session.ID},
		ChunkSize:    blocks.ChunkSize(snap, vhost),
		OutAckSize:   uint32(max(0, root.OutAckSize)),
		InAckSize:    uint32(max(0, root.InAckSize)),
		Capabilities: capabilities,
	})
}

// serve does what the client wished for, until it ends that.
func (c *conn) serve(ctx context.Context, w rtmp.Wish) error {
	t, err := rtmp.Resolve(c.connect.TcURL, w.Name)
	if err != nil {
		return c.refuse(w, err)
	}
	kind := "rtmp-play"
	if w.Publish {
		kind = w.Flow.String()
	}
	until := "-1ms" // what SRS says of a player without an end
	if w.Publish || w.Duration > 0 {
		until = fmt.Sprintf("%dms", w.Duration.Milliseconds())
	}
	c.log.Info("client identified", "type", kind, "vhost", t.Vhost, "app", t.App, "stream", t.Stream, "param", t.Param, "duration", until)
	ask := session.Ask{
		Key:  hub.Key{Vhost: t.Vhost, App: t.App, Stream: t.Stream},
		Said: session.Said{Vhost: t.Vhost, App: t.App, Stream: t.Stream, Param: t.Param},
		Type: kind,
	}
	if w.Publish {
		err = c.publish(ctx, w, ask)
	} else {
		err = c.play(ctx, w, ask)
	}
	if errors.Is(err, link.ErrEnded) {
		return nil
	}
	return err
}

func (c *conn) connected(key hub.Key, param string) {
	t, _ := rtmp.Resolve(c.connect.TcURL, key.Stream) // it has been resolved before
	c.log.Info("connected stream", "tcUrl", c.connect.TcURL, "pageUrl", c.connect.PageURL, "swfUrl", c.connect.SwfURL,
		"schema", t.Schema, "vhost", key.Vhost, "port", t.Port, "app", key.App, "stream", key.Stream, "param", param)
}

// refuse tells the client, in RTMP's own words, why its wish is not granted,
// and returns the reason: the connection ends, as SRS's does.
func (c *conn) refuse(w rtmp.Wish, err error) error {
	code, text := words(w.Publish, err)
	if e := c.link.Refuse(code, text); e == nil {
		c.link.Linger(refuseTime)
	}
	return fmt.Errorf("refused: %w", err)
}

// words returns the status code and description for a refusal. Descriptions
// are for strangers: what a callback or a rule said stays in the log.
func words(publish bool, err error) (code, text string) {
	denied, failed := rtmp.PlayFailed, rtmp.PlayFailed
	if publish {
		denied, failed = rtmp.PublishDenied, rtmp.PublishFailed
	}
	switch {
	case errors.Is(err, hub.ErrBusy):
		return rtmp.PublishBadName, "Stream is already being published."
	case errors.Is(err, session.ErrNoVhost):
		return rtmp.ConnectRejected, "No such vhost."
	case errors.Is(err, session.ErrNoName) && publish:
		return rtmp.PublishBadName, "Stream name is empty."
	case errors.Is(err, session.ErrNoName):
		return rtmp.PlayStreamNotFound, "Stream name is empty."
	case errors.Is(err, session.ErrBadName) && publish:
		return rtmp.PublishBadName, "Stream name is not usable."
	case errors.Is(err, session.ErrBadName):
		return rtmp.PlayStreamNotFound, "Stream name is not usable."
	case errors.Is(err, session.ErrFull):
		return rtmp.ConnectRejected, "Server is full."
	case errors.Is(err, session.ErrShutdown):
		return rtmp.ConnectRejected, "Server is stopping."
	case errors.Is(err, rtmp.ErrTcURL):
		return failed, "Stream name is not usable."
	case errors.Is(err, session.ErrLoop):
		return denied, session.ErrLoop.Text
	case errors.Is(err, past.ErrNothing):
		return rtmp.PlayStreamNotFound, past.ErrNothing.Error() + "."
	case errors.Is(err, past.ErrTime), errors.Is(err, past.ErrFuture):
		return failed, err.Error() + "."
	case errors.Is(err, session.ErrKicked):
		return failed, "Ended by the operator."
	}
	return denied, "Access denied."
}
