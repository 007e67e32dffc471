package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/format/flv"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/protocol/hls"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
	wire "weir/internal/wire/rtmp"
)

// reload gives the house another configuration.
func (h *house) reload(text string, protocols ...service.Protocol) (*Plan, error) {
	h.t.Helper()
	next, err := config.Parse(config.Source{File: "next.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, Specs(append(usual[:len(usual):len(usual)], protocols...)))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.srv.Reload(h.t.Context(), next)
}

// take is reload that must go well.
func (h *house) take(text string, protocols ...service.Protocol) *Plan {
	h.t.Helper()
	p, err := h.reload(text, protocols...)
	if err != nil {
		h.t.Fatalf("reload: %v", err)
	}
	return p
}

func empty(t *testing.T, text string, protocols ...service.Protocol) *house {
	h := &house{t: t, done: make(chan error, 1)}
	h.start(text, append(usual[:len(usual):len(usual)], protocols...))
	t.Cleanup(func() { h.stop(nil) })
	return h
}

// Publishing and playing through a hundred reloads loses no frame, whatever the
// reloads change beside them.
func TestReloadsLoseNoFrame(t *testing.T) {
	k := &sink{}
	recording := service.Protocol{Name: "recording", Phase: service.Sinks, New: func(env service.Env) (service.Service, error) {
		k.env = env
		env.Hub.OnPublish(k.published)
		return k, nil
	}}
	rtmpAt, httpAt, other, third := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	dir := t.TempDir()
	texts := []string{
		fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; } http_api { enabled on; listen %s; } vhost __defaultVhost__ { http_remux { enabled on; } }", rtmpAt, httpAt, dir, other),
		fmt.Sprintf("listen %s %s; http_server { enabled on; listen %s; dir %s; } http_api { enabled on; listen %s; } vhost __defaultVhost__ { http_remux { enabled on; } play { gop_cache off; queue_length 10; } publish { normal_timeout 9000; } } vhost more.test { }",
			rtmpAt, other, httpAt, dir, third),
	}
	h := empty(t, texts[0], recording)
	h.rtmp = rtmpAt
	c := h.publish("s", 1)
	var played, watched atomic.Int64
	player := h.plays("s")
	go func() {
		for {
			m, err := player.ReadMessage(10 * time.Second)
			if err != nil {
				return
			}
			if m.Type == wire.TypeVideo && m.Payload[1] == 1 {
				played.Add(1)
			}
		}
	}()
	res, err := http.Get("http://" + httpAt + "/live/s.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	go func() {
		r := bufio.NewReader(res.Body)
		io.CopyN(io.Discard, r, 13)
		for {
			head, err := r.Peek(11)
			if err != nil {
				return
			}
			size := int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
			body, err := r.Peek(13)
			if err != nil {
				return
			}
			if body[0] == 9 && body[12] == 1 {
				watched.Add(1)
			}
			if _, err := io.CopyN(io.Discard, r, size+15); err != nil {
				return
			}
		}
	}()
	if !soon(func() bool { return watched.Load() == 1 && played.Load() >= 1 }) {
		t.Fatalf("before the reloads: %d watched, %d played", watched.Load(), played.Load())
	}
	const reloads, each = 100, 5
	frames := int64(1)
	for i := range reloads {
		done := make(chan error, 1)
		next, err := config.Parse(config.Source{File: "next.conf", Text: []byte(texts[(i+1)%2]), Getenv: func(string) string { return "" }}, Specs(usual))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := h.srv.Reload(context.Background(), next)
			done <- err
		}()
		for range each {
			f := protocoltest.Video(protocoltest.Picture, int(frames), 25, 500)
			if err := c.WriteMessage(wire.TypeVideo, flv.Timestamp(f.Source), flv.AppendBody(nil, f)); err != nil {
				t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			frames++
		}
		if err := <-done; err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
	}
	st := h.srv.env.Hub.Stream(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"})
	if !soon(func() bool { return watched.Load() == frames && played.Load() == frames && k.frames.Load() == frames }) {
		t.Errorf("of %d frames %d came in, %d were recorded, %d played, %d watched", frames, st.Counters().Frames, k.frames.Load(), played.Load(), watched.Load())
	}
	if k.ends.Load() != 0 {
		t.Error("the publication ended")
	}
}

func opens(addr string) bool {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// Doors open, close and change hands; a connection that is there stays.
func TestReloadDoors(t *testing.T) {
	a, b, c, d := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	dir := t.TempDir()
	conf := func(rtmp, httpAt, api string) string {
		text := fmt.Sprintf("listen %s; vhost __defaultVhost__ { http_remux { enabled on; } }", rtmp)
		if httpAt != "" {
			text += fmt.Sprintf("http_server { enabled on; listen %s; dir %s; }", httpAt, dir)
		}
		if api != "" {
			text += fmt.Sprintf("http_api { enabled on; listen %s; }", api)
		}
		return text
	}
	h := empty(t, conf(a, b, ""))
	h.rtmp = a
	h.publish("s", 5)
	h.plays("s")
	version := "/api/v1/versions"
	want := func(when string, answers map[string]int) {
		t.Helper()
		for at, status := range answers {
			if got, body := h.get(at); got != status {
				t.Errorf("%s: %s answers %d %.50s, want %d", when, at, got, body, status)
			}
		}
		// A viewer that only asked takes a moment to leave.
		if !soon(func() bool { n, _ := h.srv.env.Desk.Len(); return n == 2 }) {
			n, _ := h.srv.env.Desk.Len()
			t.Errorf("%s: %d sessions, want 2", when, n)
		}
	}
	want("at first", map[string]int{b + "/healthz": 200, c + version: 0})
	plan := h.take(conf(a+" "+d, b, c))
	if got := fmt.Sprint(plan.Opens, plan.Closes); got != fmt.Sprintf("[{HTTP-API tcp://%s} {RTMP tcp://%s}] []", c, d) {
		t.Errorf("opens and closes %s", got)
	}
	want("API on", map[string]int{b + "/healthz": 200, c + version: 200, b + version: 200, c + "/live/s.flv": 200})
	if !opens(d) {
		t.Error("the second port of RTMP is closed")
	}
	h.take(conf(a, c, b))
	want("ports exchanged", map[string]int{b + "/api/v1/streams/": 200, c + "/api/v1/streams/": 404})
	if opens(d) {
		t.Error("the second port of RTMP is open")
	}
	h.take(conf(a, b, b))
	want("one port", map[string]int{b + "/api/v1/streams/": 200, c + "/healthz": 0})
	h.take(conf(a, b, ""))
	want("API off", map[string]int{b + "/healthz": 200, b + "/api/v1/streams/": 404})
	h.take(conf(a, "", ""))
	want("all off", map[string]int{b + "/healthz": 0})
}

// A wider address takes the place of a narrower one, and back.
func TestReloadSamePort(t *testing.T) {
	a := protocoltest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(a)
	text := func(listen string) string { return "listen " + listen + "; vhost __defaultVhost__ { }" }
	h := empty(t, text(a))
	h.rtmp = a
	h.publish("s", 1)
	for _, listen := range []string{port, a, "[::]:" + port, port} {
		if _, err := h.reload(text(listen)); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
		if strings.HasPrefix(listen, "[") {
			continue
		}
		h.plays("s")
	}
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// What had to be closed to make room is opened again.
	if _, err := h.reload(text(a + " " + taken.Addr().String())); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	h.plays("s")
}

// A configuration that cannot be had whole changes nothing.
func TestReloadAllOrNothing(t *testing.T) {
	a, b, c := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	dir := t.TempDir()
	h := empty(t, fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; } vhost __defaultVhost__ { http_remux { enabled on; } } vhost old.test { }", a, b, dir), hls.Protocol)
	h.rtmp = a
	h.publish("s", 5)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before := h.srv.Conf()
	for _, bad := range []struct{ text, want string }{
		{fmt.Sprintf("listen %s %s; vhost __defaultVhost__ { }", c, taken.Addr()), "in use"},
		{fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; https { enabled on; listen %s; key no.key; cert no.crt; } } vhost __defaultVhost__ { }", a, b, dir, c), "no.crt"},
		{fmt.Sprintf("listen %s; http_api { enabled on; listen %s; } vhost __defaultVhost__ { }", c, c), "listens there too"},
		{fmt.Sprintf("listen %s; http_api { enabled on; listen 192.0.2.1:80; } vhost __defaultVhost__ { }", c), "no such address"},
		{fmt.Sprintf("listen %s; vhost __defaultVhost__ { hls { enabled on; hls_path /proc/nowhere; } }", c), "/proc/nowhere"},
	} {
		if _, err := h.reload(bad.text, hls.Protocol); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s:\n%v, want %s", bad.text, err, bad.want)
		}
		if h.srv.Conf() != before || opens(c) {
			t.Errorf("%s: something has changed", bad.text)
		}
		h.plays("s")
		if status, _ := h.get(b + "/healthz"); status != 200 {
			t.Errorf("HTTP answers %d", status)
		}
	}
}

// A vhost that goes ends its sessions, and no others.
func TestReloadRemovesVhost(t *testing.T) {
	a := protocoltest.FreeAddr(t)
	head := "listen " + a + "; vhost __defaultVhost__ { } "
	h := empty(t, head+"vhost one.test { } vhost two.test { }")
	h.rtmp = a
	h.publish("s", 5)
	var gone []*link.Client
	for _, vhost := range []string{"one.test", "two.test"} {
		gone = append(gone, h.publish("s?vhost="+vhost, 5), h.plays("s?vhost="+vhost))
	}
	kept := h.plays("s")
	plan := h.take(head + "vhost two.test { enabled off; }")
	if plan.Ends != 4 {
		t.Errorf("%d sessions end, want 4", plan.Ends)
	}
	if got := fmt.Sprint(plan.Lines()); !strings.Contains(got, "vhost of one.test was removed (1 live: one.test/live/s)") || !strings.Contains(got, "vhost of two.test was removed") {
		t.Errorf("told: %s", got)
	}
	for i, c := range gone {
		for {
			if _, err := c.ReadMessage(20 * time.Second); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("client %d stays", i)
				}
				break
			}
		}
	}
	if !soon(func() bool { n, _ := h.srv.env.Desk.Len(); return n == 2 }) {
		t.Error("not only the default vhost's two sessions are left")
	}
	if _, err := kept.ReadMessage(50 * time.Millisecond); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other vhost's player: %v", err)
	}
	x, err := h.srv.env.Desk.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Watch(t.Context(), session.Ask{Key: hub.Key{Vhost: "two.test", App: "live", Stream: "s"}}); !errors.Is(err, session.ErrNoVhost) {
		t.Errorf("the disabled vhost: %v", err)
	}
	x.Close(nil)
}

// HLS that is switched on starts for streams that are live, moves, and ends.
func TestReloadHLS(t *testing.T) {
	a, b := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	dir := t.TempDir()
	conf := func(rest string) string {
		return fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; } vhost __defaultVhost__ { hls { hls_fragment 1; hls_ctx off; %s } }", a, b, dir, rest)
	}
	h := empty(t, conf("enabled off;"), hls.Protocol)
	h.rtmp = a
	c := h.publish("s", 1)
	n := 1
	// more publishes until what is so.
	more := func(what func() bool) bool {
		for deadline := time.Now().Add(30 * time.Second); !what(); n++ {
			if time.Now().After(deadline) {
				return false
			}
			f := protocoltest.Video(protocoltest.Picture, n, 25, 500)
			if err := c.WriteMessage(wire.TypeVideo, flv.Timestamp(f.Source), flv.AppendBody(nil, f)); err != nil {
				t.Fatal(err)
			}
			c.Flush()
			if n%25 == 0 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		return true
	}
	served := func(path string) func() bool {
		return func() bool {
			if n%25 != 0 {
				return false
			}
			status, body := h.get(b + path)
			return status == 200 && strings.Contains(body, ".ts")
		}
	}
	if status, _ := h.get(b + "/live/s.m3u8"); status != 404 {
		t.Errorf("before: %d", status)
	}
	h.take(conf("enabled on; hls_path "+dir+"/one;"), hls.Protocol)
	if !more(served("/live/s.m3u8")) {
		t.Fatal("HLS does not start")
	}
	// It is served from memory, and written a moment later.
	if !soon(func() bool { _, err := os.Stat(filepath.Join(dir, "one/live/s.m3u8")); return err == nil }) {
		t.Error("the playlist is not on disk")
	}
	h.take(conf("enabled on; hls_path "+dir+"/two; hls_m3u8_file other/[stream].m3u8;"), hls.Protocol)
	if !more(served("/other/s.m3u8")) {
		t.Fatal("HLS does not move")
	}
	if status, _ := h.get(b + "/live/s.m3u8"); status != 404 {
		t.Errorf("where it was: %d", status)
	}
	h.take(conf("enabled off;"), hls.Protocol)
	if !soon(func() bool { status, _ := h.get(b + "/other/s.m3u8"); return status == 404 }) {
		t.Error("HLS does not end")
	}
}

// The certificate is read anew by each reload.
func TestReloadCertificate(t *testing.T) {
	a, b, c := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	dir := t.TempDir()
	key, crt := filepath.Join(dir, "k"), filepath.Join(dir, "c")
	writePair(t, key, crt)
	off := fmt.Sprintf("listen %s; http_server { enabled on; listen %s; dir %s; } vhost __defaultVhost__ { }", a, b, dir)
	on := strings.Replace(off, "dir ", fmt.Sprintf("https { enabled on; listen %s; key %s; cert %s; } dir ", c, key, crt), 1)
	h := empty(t, off)
	serial := func() string {
		nc, err := tls.Dial("tcp", c, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err.Error()
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	h.take(on)
	first := serial()
	writePair(t, key, crt)
	h.take(on)
	if second := serial(); second == first {
		t.Errorf("the certificate stays %s", first)
	}
	h.take(off)
	if opens(c) {
		t.Error("HTTPS stays")
	}
}

// What needs a restart is named by each reload until there was one.
func TestReloadNamesRestart(t *testing.T) {
	a := protocoltest.FreeAddr(t)
	h := empty(t, "listen "+a+"; vhost __defaultVhost__ { }")
	next := "listen " + a + "; pid /tmp/other.pid; max_connections 500; vhost __defaultVhost__ { }"
	plan := h.take(next)
	if got := plan.Lines(); !slices.Contains(got, "pid has changed and needs a restart") || !slices.Contains(got, "max_connections has changed") {
		t.Errorf("told: %q", got)
	}
	plan = h.take(next)
	if got := plan.Lines(); len(got) != 1 || got[0] != "pid has changed before and still needs a restart" {
		t.Errorf("told the second time: %q", got)
	}
}

// Reloads in a storm come one after the other.
func TestReloadStorm(t *testing.T) {
	a, b := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	h := empty(t, "listen "+a+"; vhost __defaultVhost__ { }")
	errs := make(chan error)
	for i := range 20 {
		text := fmt.Sprintf("listen %s; vhost __defaultVhost__ { play { queue_length %d; } }", []string{a, b}[i%2], i+1)
		next, err := config.Parse(config.Source{File: "n", Text: []byte(text), Getenv: func(string) string { return "" }}, Specs(usual))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := h.srv.Reload(context.Background(), next)
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if opens(a) == opens(b) {
		t.Errorf("%v and %v are both open or both closed", a, b)
	}
}

// writePair writes a key and a new certificate for it.
func writePair(t *testing.T, keyFile, crtFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	crt, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour)}, &x509.Certificate{SerialNumber: serial}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{keyFile: {Type: "PRIVATE KEY", Bytes: der}, crtFile: {Type: "CERTIFICATE", Bytes: crt}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
