package rtmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store/past"
	"weir/internal/wire/rtmp"
)

// play sends the stream until the client ends that, or its duration is over.
func (c *conn) play(ctx context.Context, w rtmp.Wish, ask session.Ask) (err error) {
	vhost, _ := c.env.Conf.Load().Vhost(ask.Key.Vhost)
	conf, root := blocks.Play.Of(vhost), blocks.VhostRoot.Of(vhost)
	gather := conf.MWLatency
	if root.MinLatency {
		gather = 0
	}
	if vhost != nil {
		if start, asks, err := c.env.StartOf(vhost.Name, ask.Said.Param); err != nil {
			return c.refuse(w, err)
		} else if asks {
			return c.playPast(ctx, w, ask, start, conf)
		}
	}
	sub, err := c.session.Play(ctx, ask, hub.Options{Gather: gather})
	if m, ok := errors.AsType[*session.Moved](err); ok {
		return c.redirect(m, ask)
	}
	if err != nil {
		return c.refuse(w, err)
	}
	defer func() {
		if !errors.Is(err, errHandedOver) {
			c.leave(err)
		}
	}()
	c.connected(sub.Stream().Key, ask.Said.Param)
	if err := c.link.StartPlay(); err != nil {
		return err
	}
	if times(conf) == sender.Line && !conf.ATCAuto && conf.SendMinInterval == 0 && w.Duration == 0 {
		if err := c.handOver(sub, c.only(ask), gather); err != nil {
			return err
		}
	}
	return c.serveViewer(ctx, c.viewer(w, ask, sub, conf))
}

// viewer is what sends a player what it reads.
func (c *conn) viewer(w rtmp.Wish, ask session.Ask, feed sender.Feed, conf *blocks.PlayConfig) *sender.Viewer {
	return &sender.Viewer{
		Sub:         feed,
		Encoder:     &sender.RTMP{ChunkSize: c.link.ChunkSize(), Times: times(conf), Only: c.only(ask)},
		Write:       func(b net.Buffers) error { return c.link.Write(b...) },
		MinInterval: conf.SendMinInterval,
		Until:       w.Duration,
		Log:         c.log,
	}
}

// leave ends playing, with the reason.
func (c *conn) leave(err error) {
	if errors.Is(err, link.ErrEnded) {
		err = nil
	}
	c.session.Leave(err)
}

// serveViewer sends until the player ends that, or its duration is over. The reader
// returns only after the writer, so the connection has ended when it returns.
func (c *conn) serveViewer(ctx context.Context, v *sender.Viewer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := service.Guard(c.log, func() error { return v.Run(ctx) })
		if errors.Is(err, sender.ErrDuration) {
			err = errDuration
			c.link.Status(rtmp.Status{Level: "status", Code: rtmp.PlayComplete, Description: "Play duration is over."})
		}
		if ctx.Err() == nil {
			// Wakes the reader: there is nothing more to play.
			c.session.Kick(err)
		}
	})
	err := c.control(v)
	cancel(err)
	wg.Wait()
	return err
}

// playPast plays what the stream was, from where the player wants to begin.
func (c *conn) playPast(ctx context.Context, w rtmp.Wish, ask session.Ask, start past.Start, conf *blocks.PlayConfig) (err error) {
	err = c.session.Watch(ctx, ask)
	if m, ok := errors.AsType[*session.Moved](err); ok {
		return c.redirect(m, ask)
	}
	if err != nil {
		return c.refuse(w, err)
	}
	defer func() { c.leave(err) }()
	_, ask, _ = c.session.Doing()
	feed, behind, err := c.env.Play(ask.Key, start, false)
	if err != nil {
		return c.refuse(w, err)
	}
	c.connected(ask.Key, ask.Said.Param)
	c.log.Info("play from the past", "behind", behind.Round(time.Millisecond))
	if err := c.link.StartPlay(); err != nil {
		return err
	}
	return c.serveViewer(ctx, c.viewer(w, ask, feed, conf))
}

// only says which tracks a player gets: all of them if it said that it knows of several, or
// asks for them; and how exactly it is told their times.
func (c *conn) only(ask session.Ask) sender.Only {
	caps := c.connect.Capabilities
	several := caps.Ex&rtmp.CapsMultitrack != 0 || ask.AllTracks()
	return sender.Only{Main: !several, Nano: caps.Nano()}
}

// redirectTime is how long a player that is sent elsewhere has to go (SRS's figure).
const redirectTime = 3 * time.Second

// redirect sends a player to the server that has the stream, as SRS does: behind what
// begins a play.
func (c *conn) redirect(m *session.Moved, ask session.Ask) error {
	param := ask.Said.Param
	// The vhost was the host perhaps, which the other one's address does not say.
	if v, ok := c.env.Conf.Load().Vhost(ask.Key.Vhost); ok && v.Name != hub.DefaultVhost && !strings.Contains(param, "vhost=") {
		mark := "?"
		if param != "" {
			mark = "&"
		}
		param += mark + "vhost=" + v.Name
	}
	tcURL := "rtmp://" + m.Addr() + "/" + ask.Key.App
	if err := c.link.StartPlay(); err != nil {
		return err
	}
	if err := c.link.Redirect(tcURL, tcURL+"/"+ask.Key.Stream+param); err == nil {
		c.link.Linger(redirectTime)
	}
	return fmt.Errorf("sent elsewhere: %w", m)
}

// errDuration ends a player that has got as much as it asked for.
var errDuration = &session.Error{Code: 2019, Text: "play duration is over"}

// control heeds what the player says until it ends or is gone.
func (c *conn) control(v *sender.Viewer) error {
	for {
		e, err := c.link.ReadControl(0)
		if err != nil {
			return err
		}
		switch e.Kind {
		case rtmp.Paused:
			v.Pause(true)
		case rtmp.Resumed:
			v.Pause(false)
		}
	}
}

// times says which time players of a vhost get: the publisher's own where atc is
// on or time_jitter off, else the stream's, which starts at zero for each.
func times(conf *blocks.PlayConfig) sender.Times {
	if conf.ATC || conf.TimeJitter == "off" {
		return sender.Source
	}
	return sender.Line
}
