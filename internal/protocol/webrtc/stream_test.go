package webrtc

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"

	"weir/internal/link"
	"weir/internal/wire/stun"
)

// tcpDoor lets connections in as the group of doors would.
func tcpDoor(t *testing.T) (port string, open func(h *house)) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return itoa(l.Addr().(*net.TCPAddr).Port), func(h *house) {
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				h.s.entrance.Return(nc)
			}
		}()
	}
}

func TestPlayOverTCP(t *testing.T) {
	port, door := tcpDoor(t)
	h := build(t, "protocol tcp; tcp { enabled on; listen 127.0.0.1:"+port+"; }", "rtmp_to_rtc on; stun_timeout 10;", "") // a farewell may be lost
	door(h)
	if w := h.s.Doors(nil); len(w) != 1 || w[0].Listen[0] != "127.0.0.1:"+port {
		t.Errorf("it listens at %+v", w)
	}
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", func(s *pion.SettingEngine) { s.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeTCP4}) })
	if !strings.Contains(w.answer.body, " tcp 2130706431 127.0.0.1 "+port+" typ host tcptype passive") || strings.Contains(w.answer.body, " udp ") {
		t.Errorf("candidates of\n%s", w.answer.body)
	}
	for range 30 {
		<-w.frames
	}
	<-w.sounds
	w.pc.Close()
	until(t, "session and connection end", func() bool {
		n, _ := h.desk.Len()
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		return n == 0 && len(h.s.streams) == 0
	})
}

// A connection that does not begin with a check of STUN is closed at once.
func TestStrangersOverTCP(t *testing.T) {
	port, door := tcpDoor(t)
	h := build(t, "protocol all; tcp { enabled on; listen 127.0.0.1:"+port+"; }", "", "")
	door(h)
	for name, b := range map[string]string{"HTTP": "GET / HTTP/1.1\r\n\r\n", "DTLS": "\x00\x10\x16\xfe\xfd0123456789abc", "no length": "\x00\x00", "giant": "\xff\xff"} {
		nc, err := net.Dial("tcp4", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		nc.Write([]byte(b))
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := nc.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Errorf("%s is answered", name)
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%s is waited for", name)
		}
		nc.Close()
	}
}

// Floods of checks for names that nobody has cost no memory, and are not answered.
func TestFloodOfChecks(t *testing.T) {
	k := testSocket(t, bare())
	from := path{sock: k, addr: addrOf(udp(t, "udp4"))}
	b := (&stun.Request{Username: "nobody77:them", Nominate: true}).Append(nil, []byte("guess"))
	now := time.Now()
	if n := testing.AllocsPerRun(1000, func() { k.take(b, from, now) }); n != 0 {
		t.Errorf("%v allocations for a check", n)
	}
}

// Signalling and media come by one TCP port.
func TestOnePort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	h := build(t, "protocol tcp; tcp { enabled on; listen "+at+"; }", "rtmp_to_rtc on;", "")
	web := link.NewEntrance()
	doors := link.NewDoors(slog.New(slog.DiscardHandler))
	move, err := doors.Prepare(t.Context(), append(h.s.Doors(nil), link.Want{Part: "http_api", Name: "HTTP-API", Listen: []string{at}, To: web}))
	if err != nil {
		t.Fatal(err)
	}
	move.Commit()
	server := &http.Server{Handler: h.s.env.API}
	go server.Serve(web)
	t.Cleanup(func() { doors.Close(); server.Close() })
	h.url = "http://" + at
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", func(s *pion.SettingEngine) { s.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeTCP4}) })
	for range 30 {
		<-w.frames
	}
	if a := h.do("DELETE", w.answer.Header.Get("Location"), "", ""); a.StatusCode != 200 {
		t.Error(a.Status)
	}
}
