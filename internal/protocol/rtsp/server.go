// Package rtsp is the door for players of RTSP/1.0, with the packets of RTP between the
// messages of their connection.
//
// Who asks for a description signs in to play; it is given the tracks that there are,
// sets up those that it wants, and plays. Until then its connection has a goroutine, from
// then on it is a send loop's, where there are loops: see [conn.handOver]. What is said on
// the wire is in wire/rtsp, and what is sent is made in sender.
package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtsp"
)

// protocol is our name, at the desk too.
const protocol = "rtsp"

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  protocol,
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.RTSPServer, blocks.RTSP, blocks.VhostRoot, blocks.Play, blocks.TimeShift},
	New: func(env service.Env) (service.Service, error) {
		return &server{env: env, entrance: link.NewEntrance()}, nil
	},
}

type server struct {
	env      service.Env
	entrance *link.Entrance
	wg       sync.WaitGroup // connections that no loop has
	refusing atomic.Int32   // clients that are being turned away
}

// Doors implements service.Door.
func (s *server) Doors(c *config.Snapshot) []link.Want {
	conf := blocks.RTSPServer.In(c)
	if !conf.Enabled {
		return nil
	}
	return []link.Want{{Part: "rtsp_server", Name: "RTSP", Listen: conf.Listen, To: s.entrance}}
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.entrance.Close() })()
	l := service.Proxied(s.entrance, s.env.Conf)
	for {
		nc, err := l.Accept()
		if err != nil {
			break
		}
		s.wg.Go(func() { s.serve(ctx, nc) })
	}
	s.wg.Wait()
	return nil
}

// serve signs a connection in and sees it through.
func (s *server) serve(ctx context.Context, nc net.Conn) {
	v := session.Visitor{Protocol: protocol, Remote: link.Remote(nc), Local: link.Local(nc)}
	sess, err := s.env.Desk.Connect(ctx, v)
	if err != nil {
		s.env.Log.Info("RTSP client refused", "ip", v.Remote.String(), "err", err)
		s.turnAway(nc, err)
		return
	}
	log := s.env.Log.With(slog.String("cid", sess.ID))
	log.Info("RTSP client", "ip", v.Remote.String())
	c := &conn{server: s, env: &s.env, session: sess, log: log}
	c.use(nc)
	c.end(service.Guard(log, c.run))
}

const (
	// refusals is the most clients at one time that are told why they are not let in;
	// those beyond are shut out without a word.
	refusals = 64
	// refusalTime is how long that may take for each.
	refusalTime = 3 * time.Second
)

// turnAway tells a client that has no session why not.
func (s *server) turnAway(nc net.Conn, why error) {
	defer nc.Close()
	defer s.refusing.Add(-1)
	if s.refusing.Add(1) > refusals {
		return
	}
	nc.SetDeadline(time.Now().Add(refusalTime))
	service.Guard(s.env.Log, func() error {
		var buf []byte
		for b := make([]byte, 2<<10); ; {
			n, err := nc.Read(b)
			if err != nil {
				return nil
			}
			buf = append(buf, b[:n]...)
			m, n, err := rtsp.Next(buf)
			if err != nil {
				return nil
			}
			if n > 0 {
				r := rtsp.Response{Status: status(why), CSeq: m.Header.Get("CSeq"), Server: s.env.Server}
				nc.Write(r.Append(nil))
				return nil
			}
		}
	})
}

// end signs the client out, unless a send loop has it now.
func (c *conn) end(err error) {
	if errors.Is(err, errHandedOver) {
		return
	}
	c.quit()
	if errors.Is(err, errGone) {
		err = nil
	}
	c.session.Close(err)
	in, out := c.session.Bytes()
	attrs := []any{"recv", in, "send", out}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		attrs = append(attrs, "err", err)
	}
	c.log.Info("client disconnect peer", attrs...)
}

func (s *server) live(key hub.Key) bool {
	st := s.env.Hub.Stream(key)
	return st != nil && st.Shown() != nil
}
