package caster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"weir/internal/service"
	"weir/internal/session"
)

const (
	// maxMessage bounds a message of SIP, in bytes.
	maxMessage = 32 << 10
	// sipIdle is how long a connection may be silent: devices tell every minute that
	// they are there.
	sipIdle = 5 * time.Minute
	// maxSIPConns is how many connections of SIP there may be.
	maxSIPConns = 2 * maxDevices
	// sipRate is how many messages a second are read of one connection, or of one
	// socket for datagrams, and sipBurst how many at once.
	sipRate, sipBurst           = 50, 100
	datagramRate, datagramBurst = 2000, 4000
	writeTime                   = 5 * time.Second
)

// way is how a device is spoken to.
type way struct {
	network string // "TCP" or "UDP"
	to      netip.AddrPort
	local   netip.AddrPort
	send    func(b []byte) error
}

// budget bounds how often something is done.
type budget struct {
	rate, burst float64
	left        float64
	at          time.Time
}

func (b *budget) take(now time.Time) bool {
	if b.at.IsZero() {
		b.left = b.burst
	} else {
		b.left = min(b.burst, b.left+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// serveSIP takes connections until ctx is done, and has them until talk is.
func (g *gbCaster) serveSIP(ctx, talk context.Context) {
	defer context.AfterFunc(ctx, func() { g.sip.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	admit(service.Proxied(g.sip, g.server.env.Conf), maxSIPConns, func(nc net.Conn, leave func()) bool {
		if g.passes(sipDoor, nc) {
			leave()
			return true
		}
		conns.Go(func() {
			defer leave()
			err := g.guarded(func() error { return g.sipConn(talk, nc) })
			nc.Close()
			g.log.Debug("SIP connection ended", "from", nc.RemoteAddr().String(), "err", err)
		})
		return true
	})
}

func (g *gbCaster) sipConn(ctx context.Context, nc net.Conn) error {
	parser := sip.NewParser()
	parser.MaxMessageLength = maxMessage
	stream := parser.NewSIPStream()
	defer stream.Close()
	var mu sync.Mutex
	w := &way{network: "TCP", to: remote(nc), send: func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		nc.SetWriteDeadline(time.Now().Add(writeTime))
		_, err := nc.Write(b)
		return err
	}}
	w.local, _ = netip.ParseAddrPort(nc.LocalAddr().String())
	w.local = netip.AddrPortFrom(w.local.Addr().Unmap(), w.local.Port())
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	pace := budget{rate: sipRate, burst: sipBurst}
	buf := make([]byte, 8<<10)
	for {
		nc.SetReadDeadline(time.Now().Add(sipIdle))
		n, err := nc.Read(buf)
		if err != nil {
			return err
		}
		flood := false
		err = stream.ParseSIPStream(buf[:n], func(m sip.Message) {
			if flood = flood || !pace.take(time.Now()); !flood {
				g.message(m, w)
			}
		})
		switch {
		case flood:
			return fmt.Errorf("more than %d messages a second", sipRate)
		case err != nil && !errors.Is(err, sip.ErrParseSipPartial):
			return err
		}
	}
}

// readSIP takes datagrams.
func (g *gbCaster) readSIP(pc *net.UDPConn) {
	parser := sip.NewParser()
	parser.MaxMessageLength = maxMessage
	pace := budget{rate: datagramRate, burst: datagramBurst}
	buf := make([]byte, maxDatagram)
	own, _ := netip.ParseAddrPort(pc.LocalAddr().String())
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// A message has more than a hundred bytes; less keeps a NAT open.
		if err != nil || n < 64 || !pace.take(time.Now()) {
			continue
		}
		g.guarded(func() error {
			m, err := parser.ParseSIP(buf[:n])
			if err != nil {
				g.log.Debug("SIP datagram", "from", from.String(), "err", err)
				return nil
			}
			w := wayBy(pc, from, own)
			if own.Addr().IsUnspecified() {
				w.local = reached(from, own.Port())
			}
			g.message(m, w)
			return nil
		})
	}
}

// wayBy is the way to a device by datagrams.
func wayBy(pc *net.UDPConn, to, local netip.AddrPort) *way {
	return &way{network: "UDP", to: to, local: local, send: func(b []byte) error {
		_, err := pc.WriteToUDPAddrPort(b, to)
		return err
	}}
}

// reached is the address at which a peer reaches a socket that is bound to none, as far
// as the system's routes tell.
func reached(from netip.AddrPort, port uint16) netip.AddrPort {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(from)) // sends nothing
	if err != nil {
		return netip.AddrPort{}
	}
	defer c.Close()
	return netip.AddrPortFrom(c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), port)
}

// message takes one.
func (g *gbCaster) message(m sip.Message, w *way) {
	switch m := m.(type) {
	case *sip.Request:
		m.SetTransport(w.network)
		m.SetSource(netip.AddrPortFrom(w.to.Addr().Unmap(), w.to.Port()).String())
		g.request(m, w)
	case *sip.Response:
		if id, q := m.CallID(), m.CSeq(); id != nil && q != nil {
			g.mu.Lock()
			c := g.calls[string(*id)]
			g.mu.Unlock()
			if c != nil {
				c.response(m, q)
			}
		}
	}
}

// request answers one.
func (g *gbCaster) request(r *sip.Request, w *way) {
	from, to, id, q := r.From(), r.To(), r.CallID(), r.CSeq()
	if r.IsAck() {
		return
	}
	if from == nil || to == nil || id == nil || q == nil || r.Via() == nil {
		return // there is no telling whom to answer
	}
	name := from.Address.User
	switch {
	case !goodID(name):
		g.reply(r, w, 400, "the device's id is none")
	case r.Method == sip.REGISTER:
		g.register(r, w, name)
	case r.Method == sip.BYE:
		g.mu.Lock()
		c := g.calls[string(*id)]
		g.mu.Unlock()
		if c == nil || c.device.id != name {
			g.reply(r, w, 481, "Call/Transaction Does Not Exist")
			return
		}
		g.reply(r, w, 200, "OK")
		c.hangUp()
	case r.Method == sip.MESSAGE, r.Method == sip.NOTIFY, r.Method == sip.INFO:
		if !g.heard(name, w) {
			g.reply(r, w, 403, "Forbidden") // it registers then
			return
		}
		g.reply(r, w, 200, "OK")
	case r.Method == sip.OPTIONS:
		g.reply(r, w, 200, "OK")
	case r.Method == sip.CANCEL:
		g.reply(r, w, 481, "Call/Transaction Does Not Exist")
	default:
		g.reply(r, w, 405, "Method Not Allowed", "Allow", "REGISTER, MESSAGE, NOTIFY, INFO, OPTIONS, BYE, ACK")
	}
}

// reply answers a request; more are headers, name and value by turns.
func (g *gbCaster) reply(r *sip.Request, w *way, code int, reason string, more ...string) {
	a := sip.NewResponseFromRequest(r, code, reason, nil)
	for ; len(more) >= 2; more = more[2:] {
		a.AppendHeader(sip.NewHeader(more[0], more[1]))
	}
	a.AppendHeader(sip.NewHeader("User-Agent", g.server.env.Server))
	if err := w.send([]byte(a.String())); err != nil {
		g.log.Debug("SIP answer", "to", w.to.String(), "err", err)
	}
}

const (
	usualExpires = 3600
	leastExpires = 30
	mostExpires  = 7 * 24 * 3600
)

// register takes a device in, or lets it go.
func (g *gbCaster) register(r *sip.Request, w *way, name string) {
	if password := g.conf.SIP.Password; password != "" {
		realm := r.Recipient.Host
		if h := r.GetHeader("Authorization"); h == nil || !g.proved(h.Value(), name, password, realm, w.to.Addr()) {
			if h != nil {
				g.log.Warn("GB28181 device refused", "device", session.Mask(name), "from", w.to.String(), "err", "wrong password, or one from too long ago")
			}
			g.reply(r, w, 401, "Unauthorized", "WWW-Authenticate", g.challenge(realm, w.to.Addr()))
			return
		}
	}
	expires := usualExpires
	if h := r.GetHeader("Expires"); h != nil {
		n, err := strconv.Atoi(strings.TrimSpace(h.Value()))
		if err != nil || n < 0 {
			g.reply(r, w, 400, "Expires is no number")
			return
		}
		expires = n
	}
	date := time.Now().Format("2006-01-02T15:04:05.000")
	if expires == 0 {
		g.reply(r, w, 200, "OK", "Expires", "0", "Date", date)
		g.unregister(name)
		return
	}
	expires = max(leastExpires, min(mostExpires, expires))
	server, domain := r.Recipient.User, r.Recipient.Host
	if !goodID(server) {
		server = "34020000002000000001" // of the standard's examples
	}
	if !goodID(strings.NewReplacer(".", "", ":", "").Replace(domain)) {
		domain = server[:min(10, len(server))]
	}
	fresh, ok := g.enter(name, w, server, domain, time.Now().Add(time.Duration(expires)*time.Second))
	if !ok {
		g.reply(r, w, 503, "Service Unavailable", "Retry-After", "60")
		return
	}
	g.reply(r, w, 200, "OK", "Expires", strconv.Itoa(expires), "Date", date)
	if fresh == nil {
		return
	}
	g.log.Info("GB28181 device registered", "device", name, "from", w.to.String(), "transport", w.network, "expires", expires)
	if !g.begin(fresh.run) {
		g.unregister(name)
	}
}
