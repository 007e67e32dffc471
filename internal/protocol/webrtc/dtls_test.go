package webrtc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"weir/internal/config/blocks"
	"weir/internal/session"
	"weir/internal/wire/stun"
)

// dialogue is a handshake of a peer of ours with another make of DTLS, over a wire that
// loses what it is told to.
type dialogue struct {
	t     *testing.T
	ours  *peer
	other *peer // has a pipe and a path, no more

	mu sync.Mutex
	// All below is guarded by mu.
	sent    [2][]time.Duration // when datagrams of ours and of the other's came to the wire
	numbers map[uint64]bool    // of our records: epoch and sequence number
}

// wire carries what a peer sends until the end; lose is told its number, from 0.
func (d *dialogue) wire(which int, p *peer, lose func(n int) bool, to func(b []byte), end chan struct{}) {
	began := time.Now()
	t := p.path.sock.stream
	for {
		select {
		case <-t.room:
		case <-end:
			return
		}
		t.mu.Lock()
		b := t.queue
		t.queue = nil
		t.mu.Unlock()
		for len(b) > 0 {
			n := int(binary.BigEndian.Uint16(b))
			one := b[2 : 2+n]
			b = b[2+n:]
			d.mu.Lock()
			d.sent[which] = append(d.sent[which], time.Since(began))
			number := len(d.sent[which]) - 1
			if which == 0 {
				d.count(one)
			}
			d.mu.Unlock()
			if !lose(number) {
				to(one)
			}
		}
	}
}

// count looks at the numbers of a datagram's records.
func (d *dialogue) count(b []byte) {
	for len(b) >= 13 {
		number := binary.BigEndian.Uint64(b[3:])
		if d.numbers[number] {
			d.t.Errorf("record %x is sent twice", number)
		}
		d.numbers[number] = true
		b = b[min(len(b), 13+int(binary.BigEndian.Uint16(b[11:]))):]
	}
}

// Both parts in DTLS, with flights of either side lost: what is lost is sent again, by us
// from 50 ms on, and with new record numbers.
func TestFlights(t *testing.T) {
	never := func(int) bool { return false }
	first := func(n int) bool { return n == 0 }
	second := func(n int) bool { return n == 1 }
	few := func(n int) bool { return n < 3 }
	half := func(n int) bool { return n%2 == 0 && n < 12 }
	for _, role := range []string{"passive", "active"} {
		for name, lose := range map[string][2]func(int) bool{
			"nothing": {never, never}, "our first": {first, never}, "our second": {second, never}, "our first three": {few, never},
			"their first": {never, first}, "their second": {never, second}, "half of all": {half, half},
		} {
			t.Run(role+", lost is "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { handshake(t, role, lose, name) })
			})
		}
	}
}

// meet makes a peer of ours, which takes what comes by record, and the other make that it
// is to shake hands with. end is called when both have ended.
func meet(t *testing.T, role string, lose [2]func(int) bool, record func(p *peer, b []byte)) (d *dialogue, conn *dtls.Conn, end func()) {
	t.Helper()
	cert, _, _, err := makeIdentity(true)
	if err != nil {
		t.Fatal(err)
	}
	s := bare()
	if s.identity, _, _, err = makeIdentity(true); err != nil {
		t.Fatal(err)
	}
	sess, err := s.env.Desk.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	wired := func() path {
		return path{sock: &socket{server: s, stream: &stream{room: make(chan struct{}, 1)}}}
	}
	d = &dialogue{t: t, numbers: map[uint64]bool{}}
	d.ours = &peer{server: s, session: sess, log: s.env.Log, conf: blocks.RTC.Default(), silence: time.Minute, path: wired()}
	d.ours.pipe = newPipe(d.ours)
	d.ours.ingest = bareIngest(t, d.ours)
	d.ours.plan.setup = role
	d.ours.plan.offer.Fingerprints = []string{cert.fingerprint}
	d.other = &peer{server: s, session: sess, log: s.env.Log, path: wired()}
	pipe := newPipe(d.other)
	over := make(chan struct{})
	var wires sync.WaitGroup
	wires.Go(func() { d.wire(0, d.ours, lose[0], pipe.push, over) })
	wires.Go(func() { d.wire(1, d.other, lose[1], func(b []byte) { record(d.ours, b) }, over) })

	// The other side waits for long, so that it is we who send again what was lost of ours
	// where we can know it.
	config := &dtls.Config{Certificates: []tls.Certificate{cert.cert}, InsecureSkipVerify: true, ClientAuth: dtls.RequireAnyClientCert, FlightInterval: time.Second,
		SRTPProtectionProfiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}, ExtendedMasterSecret: dtls.RequireExtendedMasterSecret, LoggerFactory: quiet{}}
	dial := dtls.Client
	if role == "active" {
		dial = dtls.Server
	}
	if conn, err = dial(pipe, dummyAddr, config); err != nil {
		t.Fatal(err)
	}
	return d, conn, func() {
		pipe.mute()
		conn.Close()
		d.ours.farewell()
		close(over)
		wires.Wait()
		sess.Close(fmt.Errorf("the test is over"))
	}
}

// The peer's first flight follows the answer to its check at once. It is not lost if it
// comes before the handshake has begun.
func TestFirstFlightAtOnce(t *testing.T) {
	s := bare()
	s.ended = true // so that no handshake begins
	sess, err := s.env.Desk.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	defer sess.Close(nil)
	p := &peer{server: s, session: sess, log: s.env.Log, conf: blocks.RTC.Default()}
	if p.checked(path{sock: testSocket(t, s), addr: netip.MustParseAddrPort("127.0.0.1:9")}, &stun.Message{}, time.Now()) == nil {
		t.Fatal("the check is not answered")
	}
	p.record(append([]byte{recordHandshake, 0xfe, 0xff}, make([]byte, 10)...))
	if p.pipe == nil || len(p.pipe.in) != 1 {
		t.Error("the first flight is lost")
	}
}

// A peer that goes while keys are agreed on leaves nothing behind: synctest sees whether
// goroutines are left.
func TestGoneWhileKeysAreAgreedOn(t *testing.T) {
	never := func(int) bool { return false }
	synctest.Test(t, func(t *testing.T) {
		came := 0
		d, conn, end := meet(t, "passive", [2]func(int) bool{never, never}, func(p *peer, b []byte) {
			if came++; came != 2 {
				p.record(b)
				return
			}
			// All that we need for keys, as of when it has gone.
			p.mu.Lock()
			p.over = true
			pipe := p.pipe
			p.mu.Unlock()
			pipe.push(b)
			p.farewell()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var both sync.WaitGroup
		both.Go(d.ours.secure)
		both.Go(func() { conn.HandshakeContext(ctx) })
		both.Wait()
		d.ours.mu.Lock()
		if d.ours.ready || d.ours.conn != nil {
			t.Error("one that has gone is connected")
		}
		d.ours.mu.Unlock()
		end()
	})
}

func handshake(t *testing.T, role string, lose [2]func(int) bool, name string) {
	d, conn, end := meet(t, role, lose, (*peer).record)
	var both sync.WaitGroup
	both.Go(d.ours.secure)
	both.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			t.Errorf("the other side: %v", err)
		}
	})
	both.Wait()
	time.Sleep(10 * time.Second) // what was lost of the last flight
	d.ours.mu.Lock()
	ready := d.ours.ready
	d.ours.mu.Unlock()
	if !ready {
		t.Errorf("no keys were agreed on: %v", d.ours.cause)
	}
	d.mu.Lock()
	ours := d.sent[0]
	d.mu.Unlock()
	if name == "our first three" {
		for i, after := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond} {
			if got := ours[i+1] - ours[i]; got != after {
				t.Errorf("flight is sent again after %v, want %v", got, after)
			}
		}
	}
	if t.Failed() {
		t.Logf("datagrams were sent at %v and %v", d.sent[0], d.sent[1])
	}
	end()
}

// Both may end a connection at once: the race detector sees whether they look at it
// without each other.
func TestBothSayFarewell(t *testing.T) {
	for range 2000 {
		p := &peer{}
		p.pipe = newPipe(p)
		pipe := p.pipe
		var both sync.WaitGroup
		both.Go(func() { pipe.Close() })
		both.Go(p.farewell)
		both.Wait()
		if p.pipe != nil || !pipe.muted || !pipe.done {
			t.Fatal("the connection is still there")
		}
	}
}
