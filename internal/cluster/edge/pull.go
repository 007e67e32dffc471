package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"weir/internal/cluster/upnode"
	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
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
	wait := upnode.Backoff{First: firstWait, Most: mostWait}
	defer p.idle.Stop()
	for tried := 1; p.ctx.Err() == nil; tried++ {
		c := p.server.conf(p.ask.Key.Vhost)
		if c == nil || len(c.Origin) == 0 {
			return
		}
		st := p.server.env.Hub.Stream(p.ask.Key)
		if st != nil && st.Live() { // somebody publishes it here
			p.sleep(time.Second)
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
	in := &intake{puller: p, session: s, clock: media.Unwrapper{Bits: 32, Rate: 1000}}
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

// redirects is how often an origin may send us elsewhere.
const redirects = 3

func (p *puller) rtmp(ctx context.Context, c *blocks.ClusterConfig, word string, in *intake) error {
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
		if !ok || e.Redirect == "" || n == redirects {
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

func (p *puller) play(ctx context.Context, c *blocks.ClusterConfig, at rtmp.Target, vhost string, in *intake) error {
	client, err := link.Dial(ctx, "rtmp://"+at.Addr()+"/app/stream", link.DialOptions{
		TcURL: upnode.Host(at, vhost).TcURL(), App: at.App, Stream: at.Stream + upnode.StripVhost(at.Param),
		Args: upnode.Args(p.server.env, p.first, c.DebugSRSUpnode), Capabilities: upnode.Capabilities, Timeout: dialTime,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return in.session.Conn(nc), nil
		},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Play(); err != nil {
		return err
	}
	p.log.Info("edge-pull "+p.ask.Key.URL(), "from", at.Addr())
	for {
		m, err := client.ReadMessage(silence)
		if err != nil {
			return err
		}
		body := m.Payload
		kind := uint8(m.Type)
		if m.Type == rtmp.TypeDataAMF0 || m.Type == rtmp.TypeDataAMF3 {
			kind, body = flv.TypeScript, m.Data()
		}
		if err := in.take(kind, m.Timestamp, body); err != nil {
			return err
		}
	}
}

// http has the stream over HTTP-FLV.
func (p *puller) http(ctx context.Context, c *blocks.ClusterConfig, word string, secure bool, in *intake) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(dialTime, func() { cancel(fmt.Errorf("%w: origin sent nothing for %v", session.ErrTimeout, silence)) })
	defer quiet.Stop()
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", p.server.env.Server)
	// As in SRS the certificate is not asked to be trusted, but it is told of.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: p.tls(req.URL.Hostname()),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return in.session.Conn(nc), nil
		}},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > redirects {
				return errors.New("too many redirects")
			}
			return nil
		}}
	res, err := client.Do(req)
	if err != nil {
		return because(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("origin answered with status %s", res.Status)
	}
	p.log.Info("edge-pull "+key.URL(), "from", u.Host, "over", u.Scheme)
	r := flv.NewReader(res.Body)
	for {
		quiet.Reset(silence)
		tag, err := r.ReadTag()
		if err != nil {
			return because(ctx, err)
		}
		if err := in.take(tag.Type, tag.Timestamp, tag.Body); err != nil {
			return err
		}
	}
}

func (p *puller) tls(host string) *tls.Config {
	return upnode.TLS("warn", host, p.server.env, p.log)
}

// because returns why a context ended, or the error.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// An intake publishes what an origin sends, from the first frame on.
type intake struct {
	puller  *puller
	session *session.Session
	pub     *hub.Publication
	flv     flv.Ingest
	clock   media.Unwrapper
	meta    []byte
	script  *media.Track
	faults  int
}

// maxFaults is how many messages in a row that make no sense end a connection.
const maxFaults = 1000

// take takes the body of a tag of FLV.
func (in *intake) take(typ uint8, timestamp uint32, body []byte) error {
	ts := in.clock.Unwrap(uint64(timestamp))
	env := in.puller.server.env
	kind := media.Video
	switch typ {
	case flv.TypeAudio:
		kind = media.Audio
	case flv.TypeVideo:
	case flv.TypeScript:
		if meta, ok := flv.Meta(body, env.Server, env.Level); ok {
			in.meta = meta
			if in.pub != nil {
				in.pub.SetMeta(meta, false)
			}
		} else if name, _, err := flv.ParseScript(body); err == nil && name != "" && name[0] != '|' && in.pub != nil {
			if in.script == nil {
				in.script = &media.Track{Kind: media.Data, Codec: media.AMF0}
			}
			in.pub.Write(&media.Frame{Track: in.script, Source: ts, Payload: flv.Unwrap(body)})
		}
		return nil
	default:
		return nil
	}
	frames, err := in.flv.Frames(nil, kind, ts, body)
	if err != nil {
		if in.faults++; in.faults >= maxFaults {
			return fmt.Errorf("%d messages in a row make no sense: %w", in.faults, err)
		}
	}
	if len(frames) == 0 {
		return nil
	}
	in.faults = 0
	if in.pub == nil {
		if err := in.publish(); err != nil {
			return err
		}
	}
	for _, f := range frames {
		in.pub.Write(f)
	}
	return context.Cause(in.session.Context())
}

func (in *intake) publish() error {
	ask := in.puller.ask
	ask.Type, ask.Silent, ask.Name = "edge-pull", true, ""
	pub, err := in.session.Publish(in.session.Context(), ask)
	if err != nil {
		return err
	}
	in.pub = pub
	for _, t := range in.flv.Tracks(nil) {
		pub.Announce(t)
	}
	if in.meta != nil {
		pub.SetMeta(in.meta, false)
	}
	return nil
}
