package caster

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/wire/rtp"
)

// dup returns the descriptor of a socket, as another process gets it.
func dup(t *testing.T, c syscall.Conn) (f *os.File) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		var n int
		if n, err = syscall.Dup(int(fd)); err == nil {
			f = os.NewFile(uintptr(n), "dup")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// In an upgrade the old process keeps devices, media and who comes by the new one's doors,
// until it ends; the new one then invites who was there.
func TestGBHandover(t *testing.T) {
	sipAt := protocoltest.FreeAddr(t)
	open := func(h *service.Handover) *gbCaster {
		conf := blocks.StreamCasterConfig{Listen: []string{"127.0.0.1:0"}, Output: "rtmp://192.0.2.1/live/[stream]"}
		conf.SIP.Enabled, conf.SIP.Timeout, conf.SIP.Reinvite, conf.SIP.Listen = true, time.Minute, time.Second, []string{sipAt}
		snap, err := config.Parse(config.Source{File: "test", Text: []byte("listen 1935; trusted_proxies 127.0.0.1; proxy_protocol on;"), Getenv: func(string) string { return "" }}, blocks.All())
		if err != nil {
			t.Fatal(err)
		}
		g := newGB(&server{env: service.Env{Handover: h, Conf: config.NewStore(snap)}}, conf, slog.New(slog.DiscardHandler), "test")
		if err := g.bind(t.Context()); err != nil {
			t.Fatal(err)
		}
		return g
	}
	run := func(g *gbCaster) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.run(ctx) }()
		return func() { cancel(); <-done }
	}
	old := &service.Handover{}
	elder := open(old)
	end := run(elder)
	device, err := net.Dial("udp4", sipAt)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	device.SetDeadline(time.Now().Add(30 * time.Second))
	callID := regexp.MustCompile(`Call-ID: (\S+)`)
	// told waits for a request, and answers it.
	told := func(method string) (call string) {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			n, err := device.Read(buf)
			if err != nil {
				t.Fatalf("the device waits for %s: %v", method, err)
			}
			text := string(buf[:n])
			if !strings.HasPrefix(text, method+" ") {
				continue
			}
			answer := "SIP/2.0 200 OK\r\n" + strings.Join(headers.FindAllString(text, -1), "") + "Content-Length: 0\r\n\r\n"
			if method != "ACK" {
				device.Write([]byte(answer))
			}
			return callID.FindStringSubmatch(text)[1]
		}
	}
	device.Write([]byte(strings.ReplaceAll(request("REGISTER", ""), "\n", "\r\n")))
	first := told("INVITE")
	told("ACK")

	young := &service.Handover{}
	files := map[string][]*os.File{}
	for _, u := range old.Kept() {
		files[u.Network+" "+u.Address] = append(files[u.Network+" "+u.Address], dup(t, u))
	}
	young.Inherit(files, nil)
	young.InheritFloors(old.Floors())
	young.SetPass(func(name string, nc syscall.Conn) error {
		old.TakeConn(name, dup(t, nc))
		return nil
	})
	old.SetHeir(func(name string, data []byte) error { young.TakeFloor(name, data); return nil })
	heir := open(young)
	if a, b := elder.sipUDP[0].LocalAddr().String(), heir.sipUDP[0].LocalAddr().String(); a != b || heir.floor.Mine() {
		t.Fatalf("SIP is at %s and %s, and the floor is the heir's: %v", a, b, heir.floor.Mine())
	}
	defer run(heir)()
	old.Leave()
	// A connection of media comes by the heir's door.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	camera, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer camera.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go heir.media.Return(nc)
	elder.mu.Lock()
	var waiting *slot
	for _, s := range elder.slots {
		waiting = s
	}
	elder.mu.Unlock()
	packet := append(rtp.Header{PayloadType: 96, SSRC: waiting.ssrc}.Append(nil), bytes.Repeat([]byte{0, 0, 1, 2}, 50)...)
	camera.Write([]byte("PROXY TCP4 192.0.2.9 192.0.2.1 4000 9000\r\n")) // it comes by a proxy
	camera.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
	protocoltest.Eventually(t, "the media are taken at the old process", func() bool {
		waiting.mu.Lock()
		defer waiting.mu.Unlock()
		return waiting.taken
	})
	if heir.floor.Mine() {
		t.Error("the floor was given away while a device is there")
	}
	// The old process ends: it hangs up, and the new one invites.
	ended := make(chan struct{})
	go func() { defer close(ended); end() }()
	if call := told("BYE"); call != first {
		t.Errorf("BYE to call %s, want %s", call, first)
	}
	<-ended
	if call := told("INVITE"); call == first {
		t.Error("the new process goes on with the old one's call")
	}
	device.Write([]byte(strings.ReplaceAll(request("REGISTER", "Expires: 0\n"), "\n", "\r\n")))
}
