package server

import (
	"context"
	"log/slog"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/session"
)

// leastPithy is the least time between two lines about running sessions, whatever
// pithy_print_ms says.
const leastPithy = 100 * time.Millisecond

// pithy logs now and then how running sessions go: each pithy_print_ms one of those that
// publish and one of those that play, all in turn, so that the log does not grow with
// their number.
type pithy struct {
	desk  *session.Desk
	log   *slog.Logger
	every func() time.Duration
}

func (s *Server) pithy() *pithy {
	conf := s.env.Conf
	return &pithy{s.env.Desk, s.env.Log, func() time.Duration { return max(leastPithy, blocks.Root.In(conf.Load()).PithyPrint) }}
}

// Run logs until ctx is done. A new pithy_print_ms counts after the next line.
func (p *pithy) Run(ctx context.Context) error {
	var publisher, player string // whose turn it was
	t := time.NewTimer(p.every())
	defer t.Stop()
	for {
		select {
		case <-t.C:
			publisher = p.line(session.Publish, "publishing", publisher)
			player = p.line(session.Play, "playing", player)
			t.Reset(p.every())
		case <-ctx.Done():
			return nil
		}
	}
}

// line logs of the session that does act and is next after one, and returns its id.
func (p *pithy) line(act session.Act, what, after string) string {
	var first, next *session.Session
	for s := range p.desk.Sessions() { // by id
		if does, _, _ := s.Doing(); does != act {
			continue
		}
		if first == nil {
			first = s
		}
		if s.ID > after {
			next = s
			break
		}
	}
	if next == nil {
		next = first
	}
	if next == nil {
		return ""
	}
	in, out := next.Bytes()
	recv, send := next.Kbps()
	_, ask, _ := next.Doing()
	p.log.Info(what, "cid", next.ID, "protocol", next.Protocol, "stream", ask.Key.URL(), "recv", in, "send", out, "recv_kbps", recv, "send_kbps", send)
	return next.ID
}
