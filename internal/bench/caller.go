package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"weir/internal/media"
	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
	"weir/internal/wire/sdp"
	"weir/internal/wire/stun"
)

// A caller is the viewer of WebRTC: a socket, and keys.
type caller struct {
	v     *viewer
	calls *calls
	conn  *net.UDPConn
	send  func(b []byte) // to the server

	ufrag, pwd   string // ours
	theirs, word string // their ufrag and password
	checked      bool   // a check of ours was answered
	in, out      *srtp.Context
	header       rtp.Header
	clear        []byte

	tracks  []track
	codecs  [128]media.Codec // of the payload types that are pictures
	unpack  wire.Unpacker
	broken  bool // something of the picture under way is missing
	due     time.Time
	number  int // of reports
	waiting [][]byte
}

// track is a source of packets.
type track struct {
	ssrc    uint32
	started bool
	highest uint32 // sequence number, with roll-overs
}

const (
	// reportEvery is how often a viewer says that it is there.
	reportEvery = time.Second
	// waitingMost is how many packets are kept that come before the keys are known.
	waitingMost = 1024
	// callBuffer is what the system is asked to hold of what comes, in bytes.
	callBuffer = 1 << 20
	// maxDatagram is the longest that is read.
	maxDatagram = 2048
	maxTracks   = 4
)

var pictureCodecs = map[string]media.Codec{"H264": media.H264, "H265": media.H265, "VP8": media.VP8, "VP9": media.VP9, "AV1": media.AV1}

// playWHEP plays until the server ends the session, or leaves the socket to the
// sweeper.
func playWHEP(ctx context.Context, v *viewer) error {
	c := &caller{v: v, calls: v.run.calls, ufrag: secret(4), pwd: secret(12)}
	answer, at, err := c.calls.ask(ctx, v.url, c.offer())
	if err != nil {
		return err
	}
	c.theirs, c.word = answer.Ufrag, answer.Pwd
	for _, m := range answer.Media {
		for _, codec := range m.Codecs {
			if is, ok := pictureCodecs[codec.Name]; ok && codec.Type < 128 {
				c.codecs[codec.Type] = is
			}
		}
	}
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if err := c.reach(setup, at); err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.agree(setup, answer); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })()
	return c.watch(ctx)
}

// secret returns a word of 2n letters.
func secret(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// reach finds the first address that answers, and opens the socket to it.
func (c *caller) reach(ctx context.Context, all []string) error {
	buf := make([]byte, maxDatagram)
	for _, at := range all {
		addr, err := net.ResolveUDPAddr("udp", at)
		if err != nil {
			continue
		}
		if c.conn, err = net.DialUDP("udp", nil, addr); err != nil {
			continue
		}
		c.conn.SetReadBuffer(callBuffer)
		c.send = func(b []byte) { c.conn.Write(b) }
		for wait := 100 * time.Millisecond; wait < 3*time.Second && !c.checked && ctx.Err() == nil; wait *= 2 {
			c.check()
			c.conn.SetReadDeadline(time.Now().Add(wait))
			for !c.checked {
				n, err := c.conn.Read(buf)
				if err != nil {
					break
				}
				c.stun(buf[:n])
			}
		}
		if c.checked {
			c.conn.SetReadDeadline(time.Time{})
			return nil
		}
		c.conn.Close()
	}
	return fmt.Errorf("no candidate of the server answers: %q", all)
}

// check sends a check of ours.
func (c *caller) check() {
	r := stun.Request{Username: c.theirs + ":" + c.ufrag, Priority: 1<<31 - 1, TieBreaker: 1, Nominate: true}
	rand.Read(r.Transaction[:])
	c.send(r.Append(nil, []byte(c.word)))
}

// stun takes a message of STUN: an answer to a check of ours, or a check of theirs.
func (c *caller) stun(b []byte) {
	m, err := stun.Parse(b)
	switch {
	case err != nil:
	case m.Type == stun.BindingSuccess:
		c.checked = c.checked || m.Verify([]byte(c.word))
	case m.Type == stun.BindingRequest && m.Verify([]byte(c.pwd)):
		c.send(stun.AppendSuccess(nil, &m, netip.MustParseAddrPort("127.0.0.1:9"), []byte(c.pwd)))
	}
}

// agree agrees on keys, as DTLS's client.
func (c *caller) agree(ctx context.Context, answer *sdp.Session) error {
	config := &dtls.Config{
		Certificates:           []tls.Certificate{c.calls.cert},
		SRTPProtectionProfiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80},
		ExtendedMasterSecret:   dtls.RequireExtendedMasterSecret,
		InsecureSkipVerify:     true, // a load is no secret
		FlightInterval:         100 * time.Millisecond,
		LoggerFactory:          quiet{},
	}
	line := &early{caller: c}
	d, err := dtls.Client(line, c.conn.RemoteAddr(), config)
	if err != nil {
		return err
	}
	err = d.HandshakeContext(ctx)
	line.leave()
	if err != nil {
		d.Close()
		return fmt.Errorf("DTLS: %w", err)
	}
	state, ok := d.ConnectionState()
	profile, chosen := d.SelectedSRTPProtectionProfile()
	d.Close() // its farewell is not sent
	if !ok || !chosen {
		return errors.New("DTLS: no profile of SRTP was agreed on")
	}
	keys := &srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := keys.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return err
	}
	if c.in, err = srtp.CreateContext(keys.Keys.RemoteMasterKey, keys.Keys.RemoteMasterSalt, keys.Profile); err != nil {
		return err
	}
	c.out, err = srtp.CreateContext(keys.Keys.LocalMasterKey, keys.Keys.LocalMasterSalt, keys.Profile)
	return err
}

// early is the socket as DTLS sees it, until it is left.
type early struct {
	*caller
	reading sync.Mutex // held while somebody reads
	mu      sync.Mutex
	left    bool // guarded by mu
}

func (w *early) isLeft() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

// leave ends what DTLS has of the socket; nobody reads when it returns.
func (w *early) leave() {
	w.mu.Lock()
	w.left = true
	w.mu.Unlock()
	w.conn.SetReadDeadline(time.Unix(1, 0))
	w.reading.Lock()
	defer w.reading.Unlock()
	w.conn.SetReadDeadline(time.Time{})
}

// ReadFrom implements net.PacketConn.
func (w *early) ReadFrom(p []byte) (int, net.Addr, error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	for {
		if w.isLeft() {
			return 0, nil, net.ErrClosed
		}
		n, err := w.conn.Read(p)
		switch b := p[:n]; {
		case err != nil:
			return 0, nil, err
		case stun.Is(b):
			w.stun(b)
		case wire.Is(b):
			if len(w.waiting) < waitingMost {
				w.waiting = append(w.waiting, bytes.Clone(b))
			}
		default:
			return n, w.conn.RemoteAddr(), nil
		}
	}
}

// WriteTo implements net.PacketConn.
func (w *early) WriteTo(p []byte, _ net.Addr) (int, error) {
	if w.isLeft() {
		return len(p), nil
	}
	return w.conn.Write(p)
}

// Close implements net.PacketConn.
func (w *early) Close() error { return nil }

// LocalAddr implements net.PacketConn.
func (w *early) LocalAddr() net.Addr { return w.conn.LocalAddr() }

// SetDeadline and its kin implement net.PacketConn.
func (w *early) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetReadDeadline is SetDeadline for reading.
func (w *early) SetReadDeadline(t time.Time) error {
	if w.isLeft() {
		return nil
	}
	return w.conn.SetReadDeadline(t)
}

// SetWriteDeadline does nothing: writing never waits.
func (w *early) SetWriteDeadline(time.Time) error { return nil }

// watch plays.
func (c *caller) watch(ctx context.Context) error {
	c.due = time.Now()
	for _, b := range c.waiting {
		c.packet(b, len(b), c.due)
		c.look(b)
	}
	c.waiting = nil
	b := make([]byte, maxDatagram)
	for {
		if !c.v.probe && c.v.first.Load() > 0 {
			c.clear, c.unpack = nil, wire.Unpacker{}
			return c.calls.sweep.add(c)
		}
		now := time.Now()
		if !now.Before(c.due) {
			c.keep(now)
			c.conn.SetReadDeadline(c.due)
		}
		n, err := c.conn.Read(b)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		if !c.packet(b[:n], n, now) {
			return errors.New("the server ended the session")
		}
		c.look(b[:n])
	}
}

// packet takes a datagram of size bytes, of which b is the beginning, and reports
// whether the session goes on.
func (c *caller) packet(b []byte, size int, now time.Time) bool {
	const alert = 21 // of DTLS
	switch {
	case stun.Is(b):
		c.stun(b)
	case len(b) > 0 && b[0] == alert:
		return false
	case wire.Is(b):
		c.v.came(size, now.UnixNano())
		if !wire.IsRTCP(b) && len(b) >= wire.HeaderSize {
			c.v.packets.Add(1)
			c.count(b)
		}
	}
	return true
}

// count looks whether packets are missing.
func (c *caller) count(b []byte) {
	seq := uint32(b[2])<<8 | uint32(b[3])
	ssrc := uint32(b[8])<<24 | uint32(b[9])<<16 | uint32(b[10])<<8 | uint32(b[11])
	t := c.track(ssrc)
	if t == nil {
		return
	}
	if !t.started {
		t.started, t.highest = true, seq
		return
	}
	switch d := int32(int16(uint16(seq) - uint16(t.highest))); {
	case d > 0:
		t.highest += uint32(d)
		c.v.missed.Add(int64(d) - 1)
	case d < 0:
		c.v.missed.Add(-1) // it is late
	}
}

func (c *caller) track(ssrc uint32) *track {
	for i := range c.tracks {
		if c.tracks[i].ssrc == ssrc {
			return &c.tracks[i]
		}
	}
	if len(c.tracks) == maxTracks {
		return nil
	}
	c.tracks = append(c.tracks, track{ssrc: ssrc})
	return &c.tracks[len(c.tracks)-1]
}

// look decrypts a packet of the picture and puts pictures together.
func (c *caller) look(b []byte) {
	if !wire.Is(b) || wire.IsRTCP(b) || len(b) < wire.HeaderSize {
		return
	}
	is := c.codecs[b[1]&0x7f]
	if is == 0 { // sound
		return
	}
	clear, err := c.in.DecryptRTP(c.clear[:0], b, &c.header)
	if err != nil {
		return
	}
	c.clear = clear
	last := uint16(0)
	if t := c.track(c.header.SSRC); t != nil {
		last = uint16(t.highest)
	}
	h, payload, err := wire.Parse(clear)
	if err != nil {
		return
	}
	if h.Sequence != last { // late, so one was missing before
		c.broken = true
		return
	}
	c.unpack.Codec = is
	c.unpack.Add(payload)
	if !h.Marker {
		return
	}
	units, key, ok := c.unpack.Take()
	if ok && !c.broken {
		c.shown(units, key)
	}
	c.broken = false
	c.unpack.Reset()
}

// shown takes a whole picture.
func (c *caller) shown(units [][]byte, key bool) {
	if key {
		c.v.started()
	}
	if !c.v.probe || c.v.first.Load() == 0 {
		return
	}
	for _, u := range units {
		if stamped(u[:min(len(u), stampWithin)]) {
			c.v.picture(u)
			return
		}
	}
	c.v.picture(units[0])
}

// keep tells the server that the viewer is there, and what it got.
func (c *caller) keep(now time.Time) {
	c.due = now.Add(reportEvery)
	if c.number++; c.number%2 == 0 {
		c.check()
	}
	const ours = 1 // our own number among the sources
	var reports []rtcp.Report
	for _, t := range c.tracks {
		reports = append(reports, rtcp.Report{SSRC: t.ssrc, Highest: t.highest})
	}
	b := rtcp.AppendSDES(rtcp.AppendRR(nil, ours, reports...), ours, agent)
	if b, err := c.out.EncryptRTCP(nil, b, nil); err == nil {
		c.send(b)
	}
}

// quiet keeps DTLS from writing to stderr.
type quiet struct{}

// NewLogger implements logging.LoggerFactory.
func (quiet) NewLogger(string) logging.LeveledLogger {
	return logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, io.Discard)
}
