package srt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link/datagram"
	"weir/internal/service"
	"weir/internal/session"
	wire "weir/internal/wire/srt"
)

// peer is one connection.
type peer struct {
	// Immutable once it is accepted.
	from    netip.AddrPort
	at      netip.Addr // of ours, that the peer speaks to
	session *session.Session
	log     *slog.Logger
	came    chan struct{} // one wake-up for who receives
	over    chan struct{} // closed when the connection has ended

	// Owned by the socket's loop.
	due   time.Time // when the connection wants to be looked after
	place uint64    // of the next payload of the feed, for a player
	seek  bool      // it waits for one where it may start

	mu sync.Mutex
	// All below is guarded by mu.
	conn  *wire.Conn
	inbox []byte // media that came
	lost  int    // bytes that the inbox had no room for
	ended bool
	fault error
}

const (
	// maxInbox bounds what a publisher's goroutine may be behind, in bytes.
	maxInbox = 16 << 20
	// maxUnsent is how many packets may wait to be sent: a player that cannot keep
	// up with more loses what it is behind by, up to a key frame.
	maxUnsent = 512
)

// serve sees one caller through.
func (k *socket) serve(ctx context.Context, at netip.Addr, key caller, r *request, req *wire.Request) {
	s := k.server
	log := s.env.Log
	p := &peer{from: req.From, at: at, log: log, came: make(chan struct{}, 1), over: make(chan struct{})}
	begin, keys, err := k.admit(ctx, p, req)
	if err != nil {
		log.Info("SRT client refused", "ip", req.From.String(), "streamid", session.Mask(req.StreamID), "code", uint32(code(err)), "err", err)
		k.refuse(ctx, at, r, req, code(err))
		if p.session != nil {
			p.session.Close(err)
		}
		return
	}
	if !k.do(func() { k.accept(r, req, keys, p) }) {
		p.session.Close(session.ErrShutdown)
		return
	}
	err = service.Guard(p.log, func() error { return begin(p.session.Context()) })
	p.mu.Lock()
	err = p.why(err)
	p.mu.Unlock()
	k.do(func() { k.leave(key, p) })
	p.session.Close(err)
	in, out := p.session.Bytes()
	p.log.Info("SRT client is gone", "recv", in, "send", out, "err", err)
}

// why is the reason of the end: the connection's own goes first. p.mu is held.
func (p *peer) why(err error) error {
	switch {
	case p.fault != nil:
		return p.fault
	case errors.Is(p.conn.Err(), wire.ErrShutdown):
		return nil
	case errors.Is(p.conn.Err(), wire.ErrIdle):
		return fmt.Errorf("%w: %w", session.ErrTimeout, p.conn.Err())
	case p.conn.Err() != nil:
		return p.conn.Err()
	}
	return err
}

// admit asks the desk. What it returns is to be run once the peer is connected.
func (k *socket) admit(ctx context.Context, p *peer, req *wire.Request) (begin func(context.Context) error, keys *wire.Keys, err error) {
	s := k.server
	w, err := parseStreamID(req.StreamID, k.conf)
	if err != nil {
		return nil, nil, err
	}
	if k.mode == "publish" && !w.publish || k.mode == "play" && w.publish {
		return nil, nil, fmt.Errorf("at this port peers can only %s: %w", k.mode, wire.RejectBadMode)
	}
	local := k.local(p.at, req.From)
	ask := w.ask(local.Addr().String())
	conf, err := s.serves(ask.Key.Vhost)
	if err != nil {
		return nil, nil, err
	}
	secret, own := conf.Secret(w.app, w.stream)
	if !own {
		secret = k.conf.Passphrase
	}
	if keys, err = req.Unlock(secret); err != nil {
		return nil, nil, err
	}
	sess, err := s.env.Desk.Connect(ctx, session.Visitor{Protocol: protocol, Remote: netip.AddrPortFrom(req.From.Addr().Unmap(), req.From.Port()), Local: local,
		TcURL: w.tcURL(local.Addr().String()), Connects: true, Detail: p.detail})
	if err != nil {
		return nil, nil, err
	}
	p.session, p.log = sess, s.env.Log.With(slog.String("cid", sess.ID))
	p.log.Info("SRT client", "ip", req.From.String(), "streamid", session.Mask(req.StreamID), "type", ask.Type, "vhost", ask.Key.Vhost, "app", ask.Key.App, "stream", ask.Key.Stream)
	ctx, cancel := context.WithTimeout(ctx, s.conf.ConnectTimeout)
	defer cancel()
	if w.publish {
		ask.Private = !conf.ToRTMP
		pub, err := sess.Publish(ctx, ask)
		return func(ctx context.Context) error { return s.publish(ctx, p, pub, w.program()) }, keys, err
	}
	sub, err := sess.Play(ctx, ask, hub.Options{Inside: protocol})
	return func(ctx context.Context) error { return k.perform(ctx, p, sub) }, keys, err
}

// errOff is a vhost without SRT.
var errOff = &session.Error{Code: 6006, Text: "SRT is not enabled in the vhost; turn on srt { enabled on; } there"}

func (s *server) serves(vhost string) (*blocks.SRTConfig, error) {
	v, ok := s.env.Conf.Load().Vhost(vhost)
	if !ok {
		return nil, session.ErrNoVhost
	}
	conf := blocks.SRT.Of(v)
	if !conf.Enabled {
		return nil, errOff
	}
	return conf, nil
}

// local is the address that a caller reached, as far as the system's routes tell.
func (k *socket) local(own netip.Addr, from netip.AddrPort) netip.AddrPort {
	if own.IsValid() && !own.IsUnspecified() {
		return netip.AddrPortFrom(own.Unmap(), k.sock.LocalAddr().Port())
	}
	at := k.sock.LocalAddr()
	if !at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(from)) // sends nothing
	if err != nil {
		return at
	}
	defer c.Close()
	return netip.AddrPortFrom(c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), at.Port())
}

// code is a refusal in SRT's words.
func code(err error) wire.Reject {
	var r wire.Reject
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, hub.ErrBusy):
		return wire.RejectConflict
	case errors.Is(err, session.ErrNoVhost):
		return wire.RejectHost
	case errors.Is(err, session.ErrNoName), errors.Is(err, session.ErrBadName):
		return wire.RejectBadRequest
	case errors.Is(err, session.ErrFull):
		return wire.RejectOverload
	case errors.Is(err, session.ErrShutdown):
		return wire.RejectClosing
	}
	return wire.RejectForbidden
}

// handle takes a datagram of the peer.
func (p *peer) handle(now time.Time, b []byte) {
	p.session.Count(len(b), 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.Handle(now, b)
	p.look()
}

func (p *peer) answer(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.Answer(now)
}

func (p *peer) advance(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn.Err() == nil {
		p.conn.Advance(now)
	}
	p.look()
}

// look notes what has become of the connection. p.mu is held.
func (p *peer) look() {
	if p.conn.Err() != nil || p.fault != nil {
		p.end()
		return
	}
	p.due = p.conn.Next()
}

// end tells who serves the peer that it is over. p.mu is held.
func (p *peer) end() {
	p.due = datagram.Never
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

// fail ends a peer whose bytes have brought out a fault of ours.
func (p *peer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = err
	p.end()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take keeps a payload for the publisher's goroutine. p.mu is held.
func (p *peer) take(b []byte) {
	if len(p.inbox)+len(b) > maxInbox {
		p.lost += len(b)
		return
	}
	p.inbox = append(p.inbox, b...)
	wake(p.came)
}

// about is what the API tells of a peer that only SRT knows.
type about struct {
	RTT       float64 `json:"rtt_ms"`
	RecvDelay int64   `json:"recv_latency_ms"`
	SendDelay int64   `json:"send_latency_ms"`
	Encrypted bool    `json:"encrypted"`
	Recv      int64   `json:"packets_received"`
	RecvLoss  int64   `json:"packets_missed"`
	RecvDrop  int64   `json:"packets_given_up"`
	Belated   int64   `json:"packets_belated"`
	Undecrypt int64   `json:"packets_undecrypted"`
	Sent      int64   `json:"packets_sent"`
	SendLoss  int64   `json:"packets_reported_lost"`
	Rexmit    int64   `json:"packets_sent_again"`
	SendDrop  int64   `json:"packets_not_sent"`
	RecvHeld  int     `json:"receive_buffer"`
	SendHeld  int     `json:"send_buffer"`
	Bandwidth int     `json:"bandwidth_kbps"`
}

func (p *peer) detail() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return about{}
	}
	s := p.conn.Stats()
	recv, send := p.conn.Latency()
	return about{RTT: float64(s.RTT.Microseconds()) / 1000, RecvDelay: recv.Milliseconds(), SendDelay: send.Milliseconds(), Encrypted: p.conn.Secured(),
		Recv: s.Recv, RecvLoss: s.RecvLoss, RecvDrop: s.RecvDrop, Belated: s.Belated, Undecrypt: s.Undecrypt,
		Sent: s.Sent, SendLoss: s.SendLoss, Rexmit: s.Rexmit, SendDrop: s.SendDrop, RecvHeld: s.RecvHeld, SendHeld: s.SendHeld,
		Bandwidth: s.Bandwidth * 1500 * 8 / 1000}
}
