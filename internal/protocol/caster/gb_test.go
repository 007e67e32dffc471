package caster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/wire/rtp"
)

func testGB(password string) *gbCaster {
	conf := blocks.StreamCasterConfig{Listen: []string{"9000"}, Output: "rtmp://192.0.2.1/live/[stream]"}
	conf.SIP.Enabled, conf.SIP.Password, conf.SIP.Timeout = true, password, time.Minute
	return newGB(&server{}, conf, slog.New(slog.DiscardHandler), "test")
}

// A mouth is a way by which nothing is sent but kept.
type mouth struct {
	way
	said []string
}

func newMouth() *mouth {
	m := &mouth{way: way{network: "UDP", to: netip.MustParseAddrPort("192.0.2.7:5060"), local: netip.MustParseAddrPort("192.0.2.1:5060")}}
	m.send = func(b []byte) error { m.said = append(m.said, string(b)); return nil }
	return m
}

func (m *mouth) status() string {
	if len(m.said) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(m.said[len(m.said)-1], "\r\n")
	return line
}

func say(g *gbCaster, m *mouth, text string) {
	msg, err := sip.NewParser().ParseSIP([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		return
	}
	g.message(msg, &m.way)
}

func request(method, more string) string {
	return method + ` sip:34020000002000000001@3402000000 SIP/2.0
Via: SIP/2.0/UDP 10.0.0.7:5060;rport;branch=z9hG4bK1
From: <sip:34020000001320000001@3402000000>;tag=1
To: <sip:34020000001320000001@3402000000>
Call-ID: a
CSeq: 1 ` + method + `
` + more + `Content-Length: 0

`
}

func TestDigest(t *testing.T) {
	g := testGB("secretpass1")
	m := newMouth()
	say(g, m, request("REGISTER", ""))
	if m.status() != "SIP/2.0 401 Unauthorized" || !strings.Contains(m.said[0], ";rport=5060") || !strings.Contains(m.said[0], "received=192.0.2.7") {
		t.Fatalf("without a password: %s", m.said)
	}
	from := m.to.Addr()
	nonce := g.nonce(time.Now(), from)
	header := func(user, realm, nonce, password, extra string) string {
		response := md5hex(md5hex(user, realm, password), nonce, md5hex("REGISTER", "sip:3402000000"))
		return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="sip:3402000000", response="%s"%s`, user, realm, nonce, response, extra)
	}
	const id, realm = "34020000001320000001", "3402000000"
	for name, c := range map[string]struct {
		header string
		want   bool
	}{
		"right":             {header(id, realm, nonce, "secretpass1", ""), true},
		"right, MD5":        {header(id, realm, nonce, "secretpass1", ", algorithm=md5"), true},
		"wrong password":    {header(id, realm, nonce, "secretpass2", ""), false},
		"another's":         {header("34020000001320000002", realm, nonce, "secretpass1", ""), false},
		"another realm":     {header(id, "other", nonce, "secretpass1", ""), false},
		"a nonce of theirs": {header(id, realm, "abc", "secretpass1", ""), false},
		"an old nonce":      {header(id, realm, g.nonce(time.Now().Add(-time.Hour), from), "secretpass1", ""), false},
		"from elsewhere":    {header(id, realm, g.nonce(time.Now(), netip.MustParseAddr("192.0.2.8")), "secretpass1", ""), false},
		"another algorithm": {header(id, realm, nonce, "secretpass1", ", algorithm=SHA-256"), false},
		"Basic":             {"Basic abc", false},
		"nothing":           {"Digest ", false},
		"half":              {`Digest username="`, false},
	} {
		if got := g.proved(c.header, id, "secretpass1", realm, from); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// RFC 2617 3.5, with quality of protection.
	p := digestParams(`Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"`)
	if p["qop"] != "auth" || p["nc"] != "00000001" || p["uri"] != "/dir/index.html" || p["opaque"] != "5ccc069c403ebaf9f0171e9517f40e41" ||
		md5hex(md5hex(p["username"], p["realm"], "Circle Of Life"), p["nonce"], p["nc"], p["cnonce"], p["qop"], md5hex("GET", p["uri"])) != p["response"] {
		t.Errorf("%q", p)
	}
}

// What is not a registered device's is refused, and what makes no sense is not taken.
func TestSIPRequests(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{request("MESSAGE", ""), "SIP/2.0 403 Forbidden"},
		{request("BYE", ""), "SIP/2.0 481 Call/Transaction Does Not Exist"},
		{request("INVITE", ""), "SIP/2.0 405 Method Not Allowed"},
		{request("OPTIONS", ""), "SIP/2.0 200 OK"},
		{request("REGISTER", "Expires: soon\n"), "SIP/2.0 400 Expires is no number"},
		{request("REGISTER", "Expires: 0\n"), "SIP/2.0 200 OK"},
		{strings.Replace(request("REGISTER", ""), "<sip:34020000001320000001@", "<sip:../../x@", 1), "SIP/2.0 400 the device's id is none"},
		{request("ACK", ""), ""},
		{strings.Replace(request("REGISTER", ""), "Call-ID: a\n", "", 1), ""},
	} {
		m := newMouth()
		say(testGB(""), m, c.text)
		if m.status() != c.want {
			t.Errorf("%s\nanswered %q, want %q", c.text, m.status(), c.want)
		}
	}
}

// The SSRC of an invitation is of the domain, and nobody else's.
func TestInvent(t *testing.T) {
	g := testGB("")
	seen := map[uint32]bool{}
	for i := range 500 {
		s, err := g.invent("34020000002000000001", fmt.Sprint("s", i))
		if err != nil {
			t.Fatal(err)
		}
		if text := s.text(); seen[s.ssrc] || len(text) != 10 || !strings.HasPrefix(text, "020000") {
			t.Errorf("SSRC %s", text)
		}
		seen[s.ssrc] = true
	}
	if _, err := g.announce(1, "s1"); err != errStreamID {
		t.Errorf("twice the same stream: %v", err)
	}
}

func TestBudget(t *testing.T) {
	b := budget{rate: 10, burst: 20}
	now := time.Now()
	for i := range 30 {
		if b.take(now) != (i < 20) {
			t.Fatalf("message %d at once", i)
		}
	}
	if now = now.Add(time.Second); !b.take(now) || b.left != 9 {
		t.Errorf("%v are left after a second", b.left)
	}
}

func FuzzSIP(f *testing.F) {
	f.Add(request("REGISTER", "Expires: 60\n"), "")
	f.Add(request("REGISTER", `Authorization: Digest username="34020000001320000001", realm="3402000000", nonce="5-6", uri="x", response="7"`+"\n"), "secretpass1")
	f.Add(request("MESSAGE", "Content-Type: Application/MANSCDP+xml\n"), "")
	f.Add(request("BYE", ""), "")
	f.Add("SIP/2.0 200 OK\nVia: SIP/2.0/UDP 10.0.0.7\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>;tag=2\nCall-ID: call\nCSeq: 1 INVITE\nContact: <sip:a@b>\nContent-Length: 0\n\n", "")
	f.Fuzz(func(t *testing.T, text, password string) {
		g := testGB(password)
		ctx, cancel := context.WithCancel(t.Context())
		g.ctx = ctx
		m := newMouth()
		d := &device{g: g, id: "34020000001320000001", gone: make(chan struct{}), way: &m.way, server: "1", domain: "2"}
		s, _ := g.announce(5, "a")
		c := d.call(s)
		c.id = "call"
		g.calls["call"] = c
		say(g, m, text)
		select {
		case r := <-c.answer: // as invite does
			c.answer <- r
		default:
		}
		cancel()
		g.wg.Wait()
		for _, said := range m.said {
			if !strings.HasSuffix(said, "\r\n\r\n") && !strings.Contains(said, "y=") {
				t.Fatalf("%q", said)
			}
		}
	})
}

// What ends one who sends does not end the next, however late it is told.
func TestNextSenderIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := testGB("").announce(7, "s")
		if err != nil {
			t.Fatal(err)
		}
		first, _ := s.take(t.Context())
		published, end := context.WithCancel(t.Context())
		s.endWith(published)
		s.leave(nil)
		if first.Err() == nil {
			t.Error("the first goes on")
		}
		next, ok := s.take(t.Context())
		if !ok {
			t.Fatal("nobody else may send")
		}
		end()
		synctest.Wait()
		if next.Err() != nil {
			t.Error("the next is ended")
		}
	})
}

// However many devices register, from wherever, so many are kept; and who sends more than
// a device would is cut off.
func TestDevicesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGB("")
		ctx, stop := context.WithCancel(t.Context())
		g.ctx = ctx
		m := newMouth()
		var refused atomic.Int32
		m.send = func(b []byte) error {
			if strings.HasPrefix(string(b), "SIP/2.0 503") {
				refused.Add(1)
			}
			return nil
		}
		for i := range maxDevices + 100 {
			say(g, m, strings.ReplaceAll(request("REGISTER", ""), "34020000001320000001", fmt.Sprintf("3402000000132%07d", i)))
		}
		g.mu.Lock()
		devices := len(g.devices)
		g.mu.Unlock()
		if devices != maxDevices || refused.Load() != 100 {
			t.Errorf("%d devices, %d were refused", devices, refused.Load())
		}
		time.Sleep(time.Second)
		g.mu.Lock()
		if len(g.slots) > maxDevices || len(g.calls) > maxDevices {
			t.Errorf("%d slots, %d calls", len(g.slots), len(g.calls))
		}
		g.mu.Unlock()
		stop()
		g.wg.Wait()
	})
}

// Garbage at any of the doors, and half of what makes sense, ends the connection that it
// came by, or nothing.
func TestGarbage(t *testing.T) {
	g := testGB("")
	g.conf.SIP.Timeout = time.Second
	g.ctx = t.Context()
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	whole := strings.ReplaceAll(request("OPTIONS", ""), "\n", "\r\n")
	for name, b := range map[string][]byte{
		"noise":              noise,
		"zeros":              make([]byte, 64<<10),
		"a line without end": bytes.Repeat([]byte("a"), 64<<10),
		"headers for ever":   append([]byte("OPTIONS sip:a@b SIP/2.0\r\n"), bytes.Repeat([]byte("X: y\r\n"), 20000)...),
		"a body too long":    []byte("OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 999999999\r\n\r\n"),
		"a flood":            bytes.Repeat([]byte(whole), 1000),
	} {
		for what, serve := range map[string]func(nc net.Conn) error{
			"SIP":   func(nc net.Conn) error { return g.sipConn(t.Context(), nc) },
			"media": func(nc net.Conn) error { return g.mediaConn(t.Context(), nc, func() {}) },
		} {
			near, far := net.Pipe()
			done := make(chan error, 1)
			go func() {
				done <- g.guarded(func() error { return serve(far) })
				far.Close()
			}()
			go func() {
				for buf := make([]byte, 4096); ; {
					if _, err := near.Read(buf); err != nil {
						return
					}
				}
			}()
			near.Write(b)
			near.Close()
			if err := <-done; err == nil || errors.Is(err, service.ErrFault) {
				t.Errorf("%s at %s: %v", name, what, err)
			}
		}
	}
	if len(g.devices)+len(g.calls)+len(g.slots) > 0 {
		t.Error("something is left")
	}
}

// Media that are none, or another's, do not come on the air; RTP whose program stream is
// garbage neither.
func TestStrangeMedia(t *testing.T) {
	g := testGB("")
	g.conf.SIP.Timeout = 300 * time.Millisecond
	g.ctx = t.Context()
	s, err := g.announce(7, "s")
	if err != nil {
		t.Fatal(err)
	}
	send := func(ssrc uint32) error {
		near, far := net.Pipe()
		defer near.Close()
		done := make(chan error, 1)
		go func() { done <- g.mediaConn(t.Context(), far, func() {}); far.Close() }()
		for i := range 50 {
			packet := append(rtp.Header{PayloadType: 96, Sequence: uint16(i), SSRC: ssrc}.Append(nil), bytes.Repeat([]byte{0, 0, 1, byte(i)}, 300)...)
			if _, err := near.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
				break
			}
		}
		return <-done
	}
	if err := send(8); !errors.Is(err, errStranger) {
		t.Errorf("a stranger: %v", err)
	}
	go send(7)
	if err := s.wait(t.Context(), 200*time.Millisecond); !errors.Is(err, errNoMedia) {
		t.Errorf("garbage: %v", err)
	}
}
