// Package rtmp is the door for RTMP encoders and players.
//
// A connection has one goroutine that reads and, while it plays, one more that
// writes; the reader returns only after the writer. What is said on the wire is
// in wire/rtmp and link/rtmp; here is what is decided: who may do what, how long
// silence lasts, and how a refusal is told.
package rtmp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
	rtmplink "weir/internal/link/rtmp"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "rtmp",
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.Root, blocks.RTMPS, blocks.VhostRoot, blocks.Publish, blocks.Play, blocks.Bandcheck, blocks.TimeShift},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, entrance: link.NewEntrance(), secure: link.NewEntrance()}
		s.beat.After = env.Loops.Beat
		env.Loops.Follow(&s.beat)
		env.Endpoints.Add(s.endpoint())
		return s, nil
	},
}

type server struct {
	env      service.Env
	entrance *link.Entrance
	secure   *link.Entrance // of RTMPS
	pair     service.Pair
	wg       sync.WaitGroup // connections
	// beat reads for the publishers, where there are many.
	beat link.Beat

	refusing atomic.Int32 // clients that are being turned away
}

// Doors implements service.Door.
func (s *server) Doors(c *config.Snapshot) []link.Want {
	all := []link.Want{{Part: "rtmp", Name: "RTMP", Listen: blocks.Root.In(c).Listen, To: s.entrance}}
	if t := blocks.RTMPS.In(c); t.Enabled {
		all = append(all, link.Want{Part: "rtmps", Name: "RTMPS", Listen: t.Listen, To: s.secure})
	}
	return all
}

// Bind implements service.Binder.
func (s *server) Bind(context.Context) error {
	pair, err := s.load(s.env.Conf.Load())
	if err == nil {
		s.pair.Use(pair)
	}
	return err
}

// Unbind implements service.Binder; the doors are the group's.
func (s *server) Unbind() {}

// Prepare implements service.Preparer: it loads the certificate of RTMPS.
func (s *server) Prepare(_ context.Context, _, next *config.Snapshot) (service.Turn, error) {
	pair, err := s.load(next)
	return service.Turn{Commit: func() { s.pair.Use(pair) }}, err
}

func (s *server) load(c *config.Snapshot) (*link.Certificate, error) {
	t := blocks.RTMPS.In(c)
	if !t.Enabled {
		return nil, nil
	}
	return service.LoadPair(s.env, c, "rtmps", "rtmps", t.Cert, t.Key)
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		s.entrance.Close()
		s.secure.Close()
	})()
	s.wg.Go(func() {
		s.accept(ctx, tls.NewListener(service.Proxied(s.secure, s.env.Conf), s.pair.TLS(s.env.Managed)))
	})
	s.accept(ctx, service.Proxied(s.entrance, s.env.Conf))
	s.wg.Wait()
	return nil
}

// accept serves who comes, until the listener is closed.
func (s *server) accept(ctx context.Context, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serve(ctx, nc) })
	}
}

// serve signs a connection in and sees it through.
func (s *server) serve(ctx context.Context, nc net.Conn) {
	v := session.Visitor{Protocol: "rtmp", Remote: link.Remote(nc), Local: link.Local(nc), Connects: true}
	nc = link.Quiet(nc, &s.beat)
	defer nc.Close()
	present := &present{}
	present.nc.Store(&nc)
	v.Look = present.look
	about := &about{} // not the connection, which a player that only watches is to give up
	v.Detail = func() any { return *about }
	sess, err := s.env.Desk.Connect(ctx, v)
	if err != nil {
		s.env.Log.Info("RTMP client refused", "ip", v.Remote.String(), "err", err)
		s.turnAway(ctx, nc, err)
		return
	}
	log := s.env.Log.With(slog.String("cid", sess.ID))
	log.Info("RTMP client ", "ip", v.Remote.String())
	c := &conn{server: s, env: &s.env, nc: nc, session: sess, log: log, about: about, present: present}
	c.end(service.Guard(log, c.run))
}

// present is a connection that can be looked at, to see whether it has ended. It is not
// held on to by a session that a send loop has.
type present struct{ nc atomic.Pointer[net.Conn] }

func (p *present) look() {
	if nc := p.nc.Load(); nc != nil {
		link.Look(*nc)
	}
}

// about is what the API tells of a client that only RTMP knows. It is written before
// the client publishes or plays, and read only while it does.
type about struct {
	FlashVer  string `json:"flash_ver"`
	Handshake string `json:"handshake"` // "simple" or "complex"
}

// end signs the client out, unless a send loop has it now.
func (c *conn) end(err error) {
	if errors.Is(err, errHandedOver) {
		return
	}
	c.session.Close(err)
	c.logEnd(err)
}

const (
	// refusals is the most clients at one time that are told why they are not
	// let in; those beyond are shut out without a word.
	refusals = 64
	// refusalTime is how long that may take for each, the handshake included.
	refusalTime = 3 * time.Second
)

// turnAway tells a client that has no session why not, where SRS closes without
// a word: an encoder that hears nothing tries again at once.
func (s *server) turnAway(ctx context.Context, nc net.Conn, why error) {
	if s.refusing.Add(1) <= refusals {
		ctx, cancel := context.WithTimeout(ctx, refusalTime)
		defer cancel()
		c := rtmplink.NewConn(ctx, nc, rtmplink.Options{})
		defer c.Close()
		service.Guard(s.env.Log, func() error {
			if _, err := c.Open(); err == nil && c.Reject(words(false, why)) == nil {
				c.Linger(refuseTime)
			}
			return nil
		})
	}
	s.refusing.Add(-1)
}

// logEnd tells how a connection ended.
func (c *conn) logEnd(err error) {
	in, out := c.session.Bytes()
	attrs := []any{"recv", in, "send", out}
	switch {
	case err == nil || errors.Is(err, net.ErrClosed):
		c.log.Info("client disconnect peer", attrs...)
	case session.Code(err) == 1007:
		c.log.Info("client disconnect peer", append(attrs, "err", err)...)
	default:
		c.log.Warn("serve error", append(attrs, "code", session.Code(err), "err", err)...)
	}
}
