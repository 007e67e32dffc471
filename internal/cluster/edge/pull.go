package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"weir/internal/cluster/upnode"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/service"
	"weir/internal/service/pull"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// A puller has one stream from the origins.
type puller struct {
	// Immutable.
	server *server
	log    *slog.Logger
	first  *session.Session // who came first, for whom the origin is asked
	ask    session.Ask
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer // runs while nobody plays

	// Guarded by server.mu.
	players map[*session.Session]bool
}

func (s *server) newPuller(first *session.Session, ask session.Ask) *puller {
	p := &puller{server: s, log: s.env.Log.With("cid", first.ID), first: first, ask: ask, players: map[*session.Session]bool{}}
	p.ctx, p.cancel = context.WithCancelCause(s.ctx)
	p.idle = time.AfterFunc(linger, func() { s.unused(p) })
	return p
}

// run asks the origins in turn for as long as somebody plays.
func (p *puller) run() {
	wait := service.Backoff{First: firstWait, Most: mostWait}
	defer p.idle.Stop()
	for tried := 1; p.ctx.Err() == nil; tried++ {
		c := p.server.conf(p.ask.Key.Vhost)
		if c == nil || len(c.Origin) == 0 {
			return
		}
		st := p.server.env.Hub.Stream(p.ask.Key)
		if st != nil && st.Live() { // somebody publishes it here
			wait := time.Second
			if now := st.Publication(); now != nil && now.Lent {
				wait = lentWait
			}
			p.sleep(wait)
			continue
		}
		began := time.Now()
		word := c.Origin[int(p.server.turns.Add(1))%len(c.Origin)]
		err := p.from(c, word)
		if p.ctx.Err() != nil {
			return
		}
		if time.Since(began) >= goodAfter {
			wait.Reset()
			tried = 0
		}
		p.log.Warn("EdgeIngester: origin failed, another try", "origin", word, "stream", p.ask.Key.String(), "err", err)
		if tried%len(c.Origin) == 0 {
			p.sleep(wait.Next())
		}
	}
}

func (p *puller) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
	}
}

// from has the stream from one origin until that ends.
func (p *puller) from(c *blocks.ClusterConfig, word string) (err error) {
	s, err := p.server.env.Desk.Connect(p.ctx, session.Visitor{Protocol: "edge", Internal: true, IP: host(word)})
	if err != nil {
		return err
	}
	ask := p.ask
	ask.Type, ask.Silent, ask.Name = "edge-pull", true, ""
	in := pull.NewIntake(p.server.env, s, ask)
	defer func() { s.Close(err) }()
	protocol := c.Protocol
	if c.FollowClient {
		protocol = map[string]string{"rtmp": "rtmp", "flv": "flv"}[p.first.Protocol]
	}
	if protocol == "flv" || protocol == "flvs" {
		return p.http(s.Context(), c, word, protocol == "flvs", in)
	}
	return p.rtmp(s.Context(), c, word, in)
}

func host(word string) string {
	if at, err := origin(word); err == nil {
		if ip, err := netip.ParseAddr(at.Host); err == nil {
			return ip.String()
		}
	}
	return "0.0.0.0"
}

func (p *puller) rtmp(ctx context.Context, c *blocks.ClusterConfig, word string, in *pull.Intake) error {
	at, err := origin(word)
	if err != nil {
		return err
	}
	key := p.ask.Key
	at.App, at.Stream, at.Param = key.App, key.Stream, upnode.StripVhost(p.ask.Said.Param)
	vhost := c.Transform(key.Vhost)
	for n := 0; ; n++ {
		err := p.play(ctx, c, at, vhost, in)
		e, ok := errors.AsType[*link.StatusError](err)
		if !ok || e.Redirect == "" || n == pull.Redirects {
			return err
		}
		p.log.Info("edge: RTMP 302 redirect", "to", session.Mask(e.Redirect))
		next, err := rtmp.ParseURL(e.Redirect)
		if err != nil {
			return fmt.Errorf("origin redirects to an address that makes no sense: %w", err)
		}
		if next.Stream != key.Stream { // without redirect2 there is no stream in it
			next.App, next.Stream, next.Param = at.App, at.Stream, at.Param
		}
		at = next
	}
}

// play has the stream from one server of RTMP.
func (p *puller) play(ctx context.Context, c *blocks.ClusterConfig, at rtmp.Target, vhost string, in *pull.Intake) error {
	p.log.Info("edge-pull "+p.ask.Key.URL(), "from", at.Addr())
	return in.Play(ctx, "rtmp://"+at.Addr()+"/app/stream", link.DialOptions{
		TcURL: upnode.Host(at, vhost).TcURL(), App: at.App, Stream: at.Stream + upnode.StripVhost(at.Param),
		Args: upnode.Args(p.server.env, p.first, c.DebugSRSUpnode),
	}, pull.Options{})
}

// http has the stream over HTTP-FLV. As in SRS the certificate is not asked to be
// trusted, but it is told of.
func (p *puller) http(ctx context.Context, c *blocks.ClusterConfig, word string, secure bool, in *pull.Intake) error {
	key := p.ask.Key
	u := url.URL{Scheme: "http", Host: word, Path: "/" + key.App + "/" + key.Stream + ".flv", RawQuery: strings.TrimPrefix(upnode.StripVhost(p.ask.Said.Param), "?")}
	if secure {
		u.Scheme = "https"
	}
	if v := c.Transform(key.Vhost); v != hub.DefaultVhost && v != "" {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += "vhost=" + url.QueryEscape(v)
	}
	p.log.Info("edge-pull "+key.URL(), "from", u.Host, "over", u.Scheme)
	return pull.HTTP(ctx, in, u.String(), pull.Options{TLS: func(host string) *tls.Config { return service.TLS("warn", host, p.server.env, p.log) }})
}
