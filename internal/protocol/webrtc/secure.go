package webrtc

import (
	"context"
	"crypto"
	_ "crypto/sha1" // of fingerprints, as RFC 8122 lists them
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/srtp/v3"

	"weir/internal/service"
	"weir/internal/session"
)

// DTLS is spoken by pion/dtls, which has goroutines of its own. They are needed while
// keys are agreed on, and a little longer, in case the peer has not got our last
// flight; then the connection is put away as the few words of its state, and taken out
// again when one of its records comes: the peer's farewell, mostly.

const (
	// flightInterval is after what time a flight is first sent again.
	flightInterval = 50 * time.Millisecond
	// handshakeTime bounds the handshake.
	handshakeTime = 20 * time.Second
	// shelveAfter is how long a connection is kept at hand if nothing proves that
	// the peer has its keys.
	shelveAfter = 10 * time.Second
	// recordTime is how long one that was put away is kept at hand for a record.
	recordTime = 2 * time.Second
	// pipeLength is how many datagrams may wait.
	pipeLength = 16
	dtlsMTU    = 1200
)

// secure agrees on keys.
func (p *peer) secure() {
	err := service.Guard(p.log, p.handshake)
	if err != nil {
		p.end(fmt.Errorf("DTLS: %w", err))
	}
}

// handshake is with what has come into p.pipe since the peer's first check was answered.
func (p *peer) handshake() error {
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return nil
	}
	pipe := p.pipe
	addr := net.UDPAddrFromAddrPort(p.path.addr)
	p.mu.Unlock()
	conn, err := p.dtls(pipe, addr, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.session.Context(), min(handshakeTime, p.silence))
	defer cancel()
	err = conn.HandshakeContext(ctx)
	switch {
	case err == nil:
		err = p.keys(conn)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: the handshake did not end", session.ErrTimeout)
	}
	if err != nil { // nobody else knows of it
		pipe.mute()
		conn.Close()
	}
	return err
}

// dtls makes a connection, or one of a state that was put away.
func (p *peer) dtls(pipe *pipe, addr net.Addr, state *dtls.State) (*dtls.Conn, error) {
	config := &dtls.Config{
		Certificates:            []tls.Certificate{p.server.identity.cert},
		SRTPProtectionProfiles:  []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80},
		ClientAuth:              dtls.RequireAnyClientCert,
		ExtendedMasterSecret:    dtls.RequireExtendedMasterSecret,
		InsecureSkipVerify:      true, // names mean nothing here; the fingerprint is what counts
		InsecureSkipVerifyHello: true, // STUN has proved the address
		VerifyPeerCertificate:   p.verify,
		FlightInterval:          flightInterval,
		MTU:                     dtlsMTU,
		LoggerFactory:           quiet{},
	}
	switch {
	case state != nil:
		return dtls.Resume(state, pipe, addr, config)
	case p.plan.setup == "active":
		return dtls.Client(pipe, addr, config)
	}
	return dtls.Server(pipe, addr, config)
}

// verify holds the peer's certificate against the fingerprints of its offer.
func (p *peer) verify(certs [][]byte, _ [][]*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the peer shows no certificate")
	}
	for _, f := range p.plan.offer.Fingerprints {
		name, want, _ := strings.Cut(f, " ")
		h, ok := hashes[strings.ToLower(name)]
		if !ok {
			continue
		}
		sum := h.New()
		sum.Write(certs[0])
		if strings.EqualFold(colons(sum.Sum(nil)), strings.TrimSpace(want)) {
			return nil
		}
	}
	return errors.New("the peer's certificate is not the one of its offer")
}

var hashes = map[string]crypto.Hash{"sha-1": crypto.SHA1, "sha-224": crypto.SHA224, "sha-256": crypto.SHA256, "sha-384": crypto.SHA384, "sha-512": crypto.SHA512}

// errGone is a peer that ended while keys were agreed on, of which nobody hears.
var errGone = errors.New("the peer has gone")

// keys takes the keys of a handshake that is done.
func (p *peer) keys(conn *dtls.Conn) error {
	state, ok := conn.ConnectionState()
	profile, chosen := conn.SelectedSRTPProtectionProfile()
	if !ok || !chosen {
		return errors.New("no profile of SRTP was agreed on")
	}
	config := &srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := config.ExtractSessionKeysFromDTLS(&state, p.plan.setup == "active"); err != nil {
		return err
	}
	in, err := srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile, srtp.SRTPReplayProtection(512), srtp.SRTCPReplayProtection(64))
	if err != nil {
		return err
	}
	out, err := srtp.CreateContext(config.Keys.LocalMasterKey, config.Keys.LocalMasterSalt, config.Profile)
	if err != nil {
		return err
	}
	state.PeerCertificates = nil // it was looked at
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return errGone
	}
	p.conn, p.state, p.secured = conn, &state, time.Now()
	p.log.Info("RTC client is connected", "address", p.path.addr.String(), "profile", config.Profile.String())
	p.open(in, out)
	return nil
}

// open has media come and go, now that the keys are there, or that there will be none.
// p.mu is held.
func (p *peer) open(in, out *srtp.Context) {
	if p.clear {
		p.log.Warn("RTC client has media without encryption", "address", p.path.addr.String())
		in, out = nil, nil
	}
	p.in, p.ready = in, true
	if p.viewer != nil {
		p.viewer.secure(out, p.path)
		return
	}
	p.ingest.keys, p.ingest.open = out, true
	for _, b := range p.early {
		p.media(b, time.Now())
	}
	p.early = nil
	p.server.beat()
}

// shelve puts the connection away when it is not needed any more.
func (p *peer) shelve(now time.Time) {
	p.mu.Lock()
	conn, pipe := p.conn, p.pipe
	if conn == nil || !p.heard.Load() && now.Sub(p.secured) < shelveAfter {
		p.mu.Unlock()
		return
	}
	p.conn, p.pipe = nil, nil
	p.mu.Unlock()
	pipe.mute()
	conn.Close()
}

const (
	recordAlert     = 21
	recordHandshake = 22
)

// record takes a datagram of DTLS.
func (p *peer) record(b []byte) {
	if len(b) < 13 || b[0] < 20 || b[0] > 25 || b[1] != 0xfe {
		return
	}
	p.mu.Lock()
	pipe, done, over := p.pipe, p.state != nil, p.over
	p.mu.Unlock()
	switch {
	case over:
	case pipe != nil && (!done || b[0] <= recordHandshake):
		pipe.push(b)
	case pipe == nil && done && b[0] == recordAlert:
		p.takeOut(b)
	}
}

// takeOut has a connection that was put away look at a record.
func (p *peer) takeOut(b []byte) {
	pipe := newPipe(p)
	pipe.push(b)
	p.mu.Lock()
	if p.pipe != nil || p.over {
		p.mu.Unlock()
		return
	}
	p.pipe = pipe
	addr := net.UDPAddrFromAddrPort(p.path.addr)
	p.mu.Unlock()
	p.server.begin(func() {
		err := service.Guard(p.log, func() error {
			conn, err := p.dtls(pipe, addr, p.state)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(p.session.Context(), recordTime)
			defer cancel()
			if err := conn.HandshakeContext(ctx); err != nil {
				pipe.mute()
				conn.Close()
				return err
			}
			select {
			case <-pipe.closed: // by its farewell, if that was right
			case <-ctx.Done():
			}
			pipe.mute()
			return conn.Close()
		})
		if err != nil {
			p.log.Debug("a record of DTLS is no good", "err", err)
		}
		p.mu.Lock()
		p.pipe = nil
		p.mu.Unlock()
	})
}

// farewell tells the peer that all is over, if it has keys to be told by.
func (p *peer) farewell() {
	p.mu.Lock()
	conn, pipe, state := p.conn, p.pipe, p.state
	p.conn, p.pipe = nil, nil
	addr := net.UDPAddrFromAddrPort(p.path.addr)
	p.mu.Unlock()
	if pipe != nil {
		pipe.end()
	}
	if conn == nil && state != nil && pipe == nil {
		pipe = newPipe(p)
		pipe.end()
		var err error
		if conn, err = p.dtls(pipe, addr, state); err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), recordTime)
		defer cancel()
		if conn.HandshakeContext(ctx) != nil {
			pipe.mute()
			conn.Close()
			return
		}
	}
	if conn != nil {
		conn.Close()
	}
	if pipe != nil {
		pipe.mute()
	}
}

// A pipe is DTLS's view of the way to a peer: a net.PacketConn.
type pipe struct {
	peer   *peer
	in     chan []byte
	closed chan struct{} // by the connection

	mu    sync.Mutex
	muted bool          // guarded by mu
	last  bool          // its closing is not news; guarded by mu
	done  bool          // closed is closed; guarded by mu
	late  chan struct{} // closed when reading is to stop; guarded by mu
}

func newPipe(p *peer) *pipe {
	return &pipe{peer: p, in: make(chan []byte, pipeLength), closed: make(chan struct{}), late: make(chan struct{})}
}

// push hands a datagram in; there is none too many.
func (c *pipe) push(b []byte) {
	select {
	case c.in <- append([]byte(nil), b...):
	default: // it will be sent again
	}
}

// mute has nothing sent from now on, and nobody told that it is closed.
func (c *pipe) mute() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = true
}

// end has nobody told from now on that it is closed; what is sent still goes out.
func (c *pipe) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = true
}

// ReadFrom implements net.PacketConn.
func (c *pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	c.mu.Lock()
	late := c.late
	c.mu.Unlock()
	select {
	case p := <-c.in:
		return copy(b, p), dummyAddr, nil
	case <-c.closed:
		return 0, nil, io.EOF
	case <-late:
		return 0, nil, timeout{}
	}
}

// WriteTo implements net.PacketConn.
func (c *pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.mu.Lock()
	muted := c.muted
	c.mu.Unlock()
	if !muted {
		c.peer.send(b)
	}
	return len(b), nil
}

// Close implements net.PacketConn. Unless the pipe was muted or ended, the peer has ended
// the connection.
func (c *pipe) Close() error {
	c.mu.Lock()
	done, news := c.done, !c.muted && !c.last
	c.done = true
	c.mu.Unlock()
	if done {
		return nil
	}
	close(c.closed)
	if news {
		c.peer.closed()
	}
	return nil
}

// closed is told that the peer has ended its connection.
func (p *peer) closed() {
	p.mu.Lock()
	agreed := p.state != nil
	p.mu.Unlock()
	if agreed {
		p.end(nil)
	}
}

// LocalAddr implements net.PacketConn.
func (c *pipe) LocalAddr() net.Addr { return dummyAddr }

// SetDeadline implements net.PacketConn.
func (c *pipe) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn; writing never waits.
func (c *pipe) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn. DTLS sets a time that has passed, to be
// woken, or none.
func (c *pipe) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := false
	select {
	case <-c.late:
		late = true
	default:
	}
	switch {
	case t.IsZero() && late:
		c.late = make(chan struct{})
	case !t.IsZero() && !late && !t.After(time.Now()):
		close(c.late)
	}
	return nil
}

var dummyAddr = &net.UDPAddr{}

// timeout is what a reader is told whose time is over.
type timeout struct{}

// Error says so.
func (timeout) Error() string { return "time is over" }

// Timeout implements net.Error.
func (timeout) Timeout() bool { return true }

// Temporary implements net.Error.
func (timeout) Temporary() bool { return true }

// quiet keeps DTLS from writing to stderr: what peers do wrong ends their session,
// with its reason in our own log.
type quiet struct{}

// NewLogger implements logging.LoggerFactory.
func (quiet) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, io.Discard)
}
