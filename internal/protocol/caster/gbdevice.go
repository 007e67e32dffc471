package caster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	// firstRepeat is when a request by UDP is sent again first, and lastRepeat the
	// longest time between two (RFC 3261 17.1.1.2).
	firstRepeat = 500 * time.Millisecond
	lastRepeat  = 4 * time.Second
	// byeTime is how long we wait for the answer to a BYE.
	byeTime = time.Second
	// maxSilent is how many times a device may not answer, or not send.
	maxSilent = 3
)

// Why a device's stream, or a device, is no more.
var (
	errHungUp = errors.New("the device hung up")
	errGone   = errors.New("the device is not registered any more")
	errMute   = errors.New("the device does not answer")
)

// device is one that is registered.
type device struct {
	// Immutable.
	g    *gbCaster
	id   string
	gone chan struct{} // closed when it is let go

	mu             sync.Mutex
	way            *way      // guarded by mu
	server, domain string    // guarded by mu
	until          time.Time // guarded by mu
}

// enter notes a device. It is returned if it was not there before; ok is false if there
// is no room for it.
func (g *gbCaster) enter(id string, w *way, server, domain string, until time.Time) (fresh *device, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.devices[id]
	if d == nil {
		if len(g.devices) >= maxDevices {
			return nil, false
		}
		fresh = &device{g: g, id: id, gone: make(chan struct{})}
		d = fresh
		g.devices[id] = d
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.way, d.server, d.domain, d.until = w, server, domain, until
	return fresh, true
}

// heard notes a device's word that it is there, and reports whether it is registered.
func (g *gbCaster) heard(id string, w *way) bool {
	g.mu.Lock()
	d := g.devices[id]
	g.mu.Unlock()
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.to.Addr().Unmap() != d.way.to.Addr().Unmap() {
		return false // somebody else
	}
	d.way = w // behind a NAT its port may change
	return true
}

func (g *gbCaster) unregister(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.devices[id]; d != nil {
		delete(g.devices, id)
		close(d.gone)
	}
}

// run has the device send as long as it is registered.
func (d *device) run(ctx context.Context) {
	g := d.g
	err := g.guarded(func() error { return d.invitations(ctx) })
	g.mu.Lock()
	if g.devices[d.id] == d {
		delete(g.devices, d.id)
	}
	g.mu.Unlock()
	g.log.Info("GB28181 device is gone", "device", d.id, "err", err)
}

func (d *device) invitations(ctx context.Context) error {
	for silent := 0; ; {
		err := d.invitation(ctx)
		d.g.log.Info("stream ended", "stream", d.id, "err", err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errHungUp), errors.Is(err, errGone):
			return err
		case errors.Is(err, errMute), errors.Is(err, errNoMedia):
			if silent++; silent >= maxSilent {
				return err
			}
		default:
			silent = 0
		}
		if err := d.pause(ctx, d.g.conf.SIP.Reinvite); err != nil {
			return err
		}
	}
}

// pause waits before the next invitation.
func (d *device) pause(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(max(wait, 100*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.gone:
		return errGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().After(d.until) {
		return errGone
	}
	return nil
}

// invitation asks the device to send, and returns why it does not any more.
func (d *device) invitation(ctx context.Context) error {
	g := d.g
	d.mu.Lock()
	server := d.server
	d.mu.Unlock()
	s, err := g.invent(server, d.id)
	if err != nil {
		return err
	}
	defer g.forget(s)
	c := d.call(s)
	g.mu.Lock()
	g.calls[c.id] = c
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.calls, c.id)
		g.mu.Unlock()
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	defer func() { <-watched }()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(watched)
		select {
		case <-d.gone:
			cancel(errGone)
		case <-c.ended:
			cancel(errHungUp)
		case <-stop:
		}
	}()
	if err := c.invite(ctx, g.conf.SIP.Timeout); err != nil {
		s.end(err) // who sends all the same is not wanted
		return err
	}
	err = s.wait(ctx, g.conf.SIP.Timeout)
	if !errors.Is(err, errHungUp) {
		c.bye()
	}
	return err
}

// call is one invitation and what becomes of it.
type call struct {
	// Immutable.
	device *device
	slot   *slot
	id     string
	tag    string // ours
	answer chan *sip.Response
	ended  chan struct{} // closed when the device hangs up
	hangUp func()        // closes it

	mu     sync.Mutex
	remote string // the device with its tag, as To has it; guarded by mu
	target string // where requests of the call go; guarded by mu
	ack    []byte // guarded by mu
}

func (d *device) call(s *slot) *call {
	c := &call{device: d, slot: s, id: rand.Text(), tag: rand.Text()[:10], answer: make(chan *sip.Response, 8), ended: make(chan struct{})}
	c.hangUp = sync.OnceFunc(func() { close(c.ended) })
	return c
}

// address is an address as URIs have it.
func address(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		return "[" + a.WithZone("").String() + "]"
	}
	return a.String()
}

// message writes a request of the call. more are whole header lines.
func (c *call) message(method, branch string, seq uint32, body string, more ...string) []byte {
	d := c.device
	d.mu.Lock()
	w, server, domain := d.way, d.server, d.domain
	d.mu.Unlock()
	c.mu.Lock()
	remote, target := c.remote, c.target
	c.mu.Unlock()
	here := fmt.Sprintf("%s:%d", address(w.local.Addr()), w.local.Port())
	if target == "" {
		target = fmt.Sprintf("sip:%s@%s", d.id, domain)
	}
	if remote == "" {
		remote = fmt.Sprintf("<sip:%s@%s>", d.id, domain)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("%s %s SIP/2.0", method, target)
	line("Via: SIP/2.0/%s %s;rport;branch=%s", w.network, here, branch)
	line("From: <sip:%s@%s>;tag=%s", server, domain, c.tag)
	line("To: %s", remote)
	line("Call-ID: %s", c.id)
	line("CSeq: %d %s", seq, method)
	line("Contact: <sip:%s@%s>", server, here)
	line("Max-Forwards: 70")
	line("User-Agent: %s", d.g.server.env.Server)
	for _, h := range more {
		line("%s", h)
	}
	line("Content-Length: %d", len(body))
	line("")
	return []byte(b.String() + body)
}

func newBranch() string { return "z9hG4bK" + rand.Text() }

// offer is what the device is asked for (GB/T 28181 annex C of 2011, F of 2016).
func (c *call) offer() string {
	d, g := c.device, c.device.g
	d.mu.Lock()
	local := d.way.local.Addr().Unmap()
	d.mu.Unlock()
	at := g.candidate(local.WithZone("").String())
	family := "IP4"
	if strings.Contains(at, ":") {
		family = "IP6"
	}
	transport, setup := "TCP/RTP/AVP", "a=setup:passive\r\na=connection:new\r\n"
	if g.conf.SIP.Media == "udp" {
		transport, setup = "RTP/AVP", ""
	}
	return fmt.Sprintf("v=0\r\no=%s 0 0 IN %s %s\r\ns=Play\r\nc=IN %s %s\r\nt=0 0\r\nm=video %d %s 96\r\na=recvonly\r\na=rtpmap:96 PS/90000\r\n%sy=%s\r\n",
		d.id, family, at, family, at, g.mediaPort(), transport, setup, c.slot.text())
}

// request sends a request, by UDP several times, until its final answer is there.
func (c *call) request(ctx context.Context, b []byte, method sip.RequestMethod, seq uint32, patience time.Duration) (*sip.Response, error) {
	d := c.device
	d.mu.Lock()
	w := d.way
	d.mu.Unlock()
	if err := w.send(b); err != nil {
		return nil, fmt.Errorf("%w: %w", errMute, err)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	wait := firstRepeat
	repeat := time.NewTimer(wait)
	defer repeat.Stop()
	if w.network != "UDP" {
		repeat.Stop()
	}
	for {
		select {
		case r := <-c.answer:
			if q := r.CSeq(); q.SeqNo != seq || q.MethodName != method {
				continue
			}
			repeat.Stop()
			if r.StatusCode >= 200 {
				return r, nil
			}
		case <-repeat.C:
			w.send(b)
			wait = min(2*wait, lastRepeat)
			repeat.Reset(wait)
		case <-late.C:
			return nil, errMute
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// invite sends the INVITE and confirms the answer.
func (c *call) invite(ctx context.Context, patience time.Duration) error {
	d := c.device
	d.mu.Lock()
	server := d.server
	d.mu.Unlock()
	branch := newBranch()
	b := c.message("INVITE", branch, 1, c.offer(), fmt.Sprintf("Subject: %s:%s,%s:0", d.id, c.slot.text(), server), "Content-Type: application/sdp")
	d.g.log.Info("GB28181 device invited", "device", d.id, "ssrc", c.slot.text())
	r, err := c.request(ctx, b, sip.INVITE, 1, patience)
	if err != nil {
		d.send(c.message("CANCEL", branch, 1, ""))
		return err
	}
	c.mu.Lock()
	if to := r.To(); to != nil {
		c.remote = to.Value()
	}
	ok := r.StatusCode < 300
	if contact := r.Contact(); ok && contact != nil {
		c.target = contact.Address.String()
	}
	c.mu.Unlock()
	if ok {
		branch = newBranch() // an ACK to 2xx is a transaction of its own (RFC 3261 13.2.2.4)
	}
	ack := c.message("ACK", branch, 1, "")
	c.mu.Lock()
	c.ack = ack
	c.mu.Unlock()
	d.send(ack)
	if !ok {
		return fmt.Errorf("the device answers %d %s", r.StatusCode, r.Reason)
	}
	return nil
}

// response takes one to a request of the call.
func (c *call) response(r *sip.Response, q *sip.CSeqHeader) {
	c.mu.Lock()
	ack := c.ack
	c.mu.Unlock()
	if q.MethodName == sip.INVITE && ack != nil {
		if r.StatusCode >= 200 {
			c.device.send(ack) // it did not get the first one
		}
		return
	}
	select {
	case c.answer <- r:
	default: // more than anybody would send
	}
}

// bye ends the call.
func (c *call) bye() {
	b := c.message("BYE", newBranch(), 2, "")
	if _, err := c.request(context.Background(), b, sip.BYE, 2, byeTime); err != nil {
		c.device.g.log.Debug("BYE", "device", c.device.id, "err", err)
	}
}

func (d *device) send(b []byte) {
	d.mu.Lock()
	w := d.way
	d.mu.Unlock()
	if err := w.send(b); err != nil {
		d.g.log.Debug("SIP request", "to", w.to.String(), "err", err)
	}
}
