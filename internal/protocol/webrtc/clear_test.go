package webrtc

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"

	"weir/internal/wire/rtcp"
	"weir/internal/wire/rtp"
	"weir/internal/wire/stun"
)

// bareClient is a client of nothing but STUN and RTP.
type bareClient struct {
	t        testing.TB
	pc       *net.UDPConn
	user     string
	pwd      string
	received [][]byte
}

// bareJoin makes an offer of Chromium's and proves its address, without any keys.
func (h *house) bareJoin(path, kind string, n int) *bareClient {
	h.t.Helper()
	theirs := "AyIn"
	if kind == "sendonly" {
		theirs = "ujs2"
	}
	return h.bareOffer(path, chromium(h.t, kind), theirs, n)
}

// bareOffer is bareJoin with an offer, whose ufrag is told.
func (h *house) bareOffer(path, offer, theirs string, n int) *bareClient {
	h.t.Helper()
	a := h.do("POST", path, "application/sdp", offer)
	if a.StatusCode != 201 {
		h.t.Fatalf("%s %s", a.Status, a.body)
	}
	value := func(prefix string) string {
		_, rest, _ := strings.Cut(a.body, prefix)
		v, _, _ := strings.Cut(rest, "\r\n")
		return v
	}
	c := &bareClient{t: h.t, pwd: value("a=ice-pwd:")}
	c.user = value("a=ice-ufrag:") + ":" + theirs
	pc, err := net.DialUDP("udp4", nil, h.at(n))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { pc.Close() })
	c.pc = pc
	c.check()
	return c
}

// check proves the address, and waits for the answer.
func (c *bareClient) check() {
	c.t.Helper()
	r := stun.Request{Transaction: [12]byte{1}, Username: c.user, Nominate: true}
	c.pc.Write(r.Append(nil, []byte(c.pwd)))
	c.until("the check is answered", func(b []byte) bool {
		m, err := stun.Parse(b)
		return err == nil && m.Type == stun.BindingSuccess && m.Address == addrOf(c.pc) && m.Verify([]byte(c.pwd))
	})
}

// until reads datagrams until one is what is wanted.
func (c *bareClient) until(what string, is func(b []byte) bool) []byte {
	c.t.Helper()
	buf := make([]byte, 2048)
	c.pc.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := c.pc.Read(buf)
		if err != nil {
			c.t.Fatalf("%s: %v", what, err)
		}
		if is(buf[:n]) {
			return buf[:n]
		}
	}
}

// untilRTP is until for packets of media.
func (c *bareClient) untilRTP(what string, is func(h *rtp.Header, payload []byte) bool) {
	c.t.Helper()
	c.until(what, func(b []byte) bool {
		if !isRTP(b) {
			return false
		}
		h, payload, err := rtp.Parse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		return is(&h, payload)
	})
}

func isRTP(b []byte) bool { return rtp.Is(b) && !rtp.IsRTCP(b) }

// Without encryption packets are as they are, for who looks at them.
func TestClear(t *testing.T) {
	for name, c := range map[string]struct{ server, query string }{"by request": {"", "&encrypt=false&dtls=false"}, "by configuration": {"encrypt off;", "&dtls=false"}} {
		t.Run(name, func(t *testing.T) {
			h := build(t, c.server, "rtmp_to_rtc on;", "")
			h.feed("rtmp")
			b := h.bareJoin("/rtc/v1/whep/?app=live&stream=s"+c.query, "recvonly", 0)
			sets := b.until("parameter sets come", isRTP)
			if h, payload, err := rtp.Parse(sets); err != nil || h.PayloadType == 108 && !bytes.Contains(payload, testSPS) {
				t.Errorf("the first packet is %+v, %x", h, payload[:min(20, len(payload))])
			}
			b.until("a report comes", func(b []byte) bool {
				p, _, err := rtcp.Next(b)
				return rtp.IsRTCP(b) && err == nil && p.Type == rtcp.TypeSR
			})
		})
	}
}

// A viewer that moves to another address is sent to there, when it has proved that.
func TestViewerMoves(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	b := h.bareJoin("/rtc/v1/whep/?app=live&stream=s&dtls=false", "recvonly", 0)
	b.until("media come", isRTP)
	old := b.pc
	pc, err := net.DialUDP("udp4", nil, old.RemoteAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	b.pc = pc
	// Somebody else's words do not move it.
	wrong := stun.Request{Username: b.user, Nominate: true}
	pc.Write(wrong.Append(nil, []byte("guessed password of somebody")))
	pc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := pc.Read(make([]byte, 100)); err == nil {
		t.Errorf("a stranger is sent %d bytes", n)
	}
	b.check()
	b.until("media come to the new address", isRTP)
	old.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buf := make([]byte, 2048); ; { // what was under way
		if old.SetReadDeadline(time.Now().Add(300*time.Millisecond)) != nil {
			break
		}
		if _, err := old.Read(buf); err != nil {
			break
		}
	}
	b.until("and go on", isRTP)
}

// Sockets share the port, and the black hole gets copies.
func TestReusePortAndBlackHole(t *testing.T) {
	hole := udp(t, "udp4")
	h := build(t, "reuseport 3; black_hole { enabled on; addr "+hole.LocalAddr().String()+"; }", "", "")
	if len(h.s.socks) != 3 || h.s.socks[0].sock.LocalAddr().Port() != h.s.socks[2].sock.LocalAddr().Port() {
		t.Fatalf("%d sockets", len(h.s.socks))
	}
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	st.work(t, 0, 10)
	buf := make([]byte, 2048)
	hole.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := hole.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, payload, err := rtp.Parse(buf[:n]); err == nil && bytes.Contains(payload, testSPS) {
			break
		}
	}
}

func TestKeepOriginalSSRC(t *testing.T) {
	h := build(t, "", "keep_original_ssrc on;", "")
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	st.work(t, 0, 5)
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	for _, s := range st.pc.GetSenders() {
		want := itoa(int(s.GetParameters().Encodings[0].SSRC))
		if !strings.Contains(w.answer.body, "a=ssrc:"+want+" cname") {
			t.Errorf("%s is not in\n%s", want, w.answer.body)
		}
	}
}

// Whatever a peer sends when it may send media, its session goes on.
func FuzzPeer(f *testing.F) {
	f.Add([]byte{0x80, 0xef, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0x7c, 0x85, 1}, true)
	f.Add(rtcp.AppendNACK(nil, 1, 2, []uint16{1, 2, 3}), false)
	f.Add([]byte{0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, true)
	f.Fuzz(func(t *testing.T, b []byte, publish bool) {
		l, ln := crowd(t, 1, 7)
		v := l.lanes[ln].viewers[0]
		p := v.peer
		p.viewer, p.conf, p.clear, p.ready = v, blocksRTC(), true, true
		if publish {
			p.viewer = nil
			p.ingest = bareIngest(t, p)
		}
		now := time.Now()
		p.mu.Lock()
		p.media(b, now)
		p.media(b, now.Add(time.Second))
		p.mu.Unlock()
		l.turn()
	})
}
