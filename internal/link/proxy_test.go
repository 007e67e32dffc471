package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// v2 is a header of version 2.
func v2(command, family byte, body ...byte) string {
	return string(proxyMark) + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + string(body)
}

func TestReadProxy(t *testing.T) {
	four := []byte{10, 1, 2, 3, 127, 0, 0, 1, 0x1f, 0x90, 7, 0x8f}
	six := append(append(bytes.Repeat([]byte{0x20}, 16), make([]byte, 16)...), 0x1f, 0x90, 0, 80)
	for _, c := range []struct{ in, want string }{
		{"PROXY TCP4 10.1.2.3 127.0.0.1 8080 1935\r\n", "10.1.2.3:8080"},
		{"PROXY TCP6 2001:db8::1 ::1 8080 1935\r\n", "[2001:db8::1]:8080"},
		{"PROXY TCP6 ::ffff:10.1.2.3 ::1 8080 1935\r\n", "10.1.2.3:8080"},
		{"PROXY UNKNOWN\r\n", "none"},
		{"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "none"},
		{v2(0x21, 0x11, four...), "10.1.2.3:8080"},
		{v2(0x21, 0x11, append(four, 1, 2, 3, 4, 5)...), "10.1.2.3:8080"},
		{v2(0x21, 0x21, six...), "[2020:2020:2020:2020:2020:2020:2020:2020]:8080"},
		{v2(0x20, 0x00), "none"},
		{v2(0x21, 0x00), "none"},
		{"GET / HTTP/1.1\r\n", "error"},
		{"\x03\x00\x00\x00\x00\x00\x00\x00", "error"},
		{"PROXY TCP4 10.1.2.3 127.0.0.1 8080\r\n", "error"},
		{"PROXY TCP4 host 127.0.0.1 8080 1935\r\n", "error"},
		{"PROXY " + strings.Repeat("x", 200), "error"},
		{v2(0x31, 0x11, four...), "error"},
		{v2(0x21, 0x11, 1, 2, 3), "error"},
		{string(proxyMark) + "\x21\x11\xff\xff", "error"},
		{"PROX", "error"}, {"", "error"},
	} {
		r := strings.NewReader(c.in + "rest")
		if c.in == "" || c.in == "PROX" {
			r = strings.NewReader(c.in)
		}
		got := "none"
		a, err := readProxy(r)
		if a.IsValid() {
			got = a.String()
		}
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q: %s (%v), want %s", c.in, got, err, c.want)
		}
		if rest, _ := io.ReadAll(r); err == nil && string(rest) != "rest" {
			t.Errorf("%q: %q is left", c.in, rest)
		}
	}
}

func FuzzReadProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.1.2.3 127.0.0.1 8080 1935\r\n"))
	f.Add([]byte(v2(0x21, 0x11, 10, 1, 2, 3, 127, 0, 0, 1, 0x1f, 0x90, 7, 0x8f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if _, err := readProxy(r); err == nil && len(b)-r.Len() > 16+proxyBody {
			t.Errorf("%d bytes are taken", len(b)-r.Len())
		}
	})
}

// addressed is a pipe with an address.
type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }

// one is a listener with one connection.
type one struct {
	net.Listener
	nc net.Conn
}

func (o one) Accept() (net.Conn, error) { return o.nc, nil }

// A proxy that says nothing is waited for only for so long, and one that speaks
// something else is not served; others are left alone.
func TestProxyListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := func(from string) (net.Conn, net.Conn) {
			ours, theirs := net.Pipe()
			l := ProxyListener{one{nc: addressed{ours, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}}, func(a netip.Addr) bool { return a.IsPrivate() }}
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return nc, theirs
		}
		nc, peer := open("10.0.0.1:99")
		go io.WriteString(peer, "PROXY TCP4 1.2.3.4 10.0.0.9 5555 80\r\nhello")
		if got := nc.RemoteAddr().String(); got != "1.2.3.4:5555" {
			t.Errorf("the client is %s", got)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(nc, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		nc, peer = open("10.0.0.1:99")
		go io.WriteString(peer, "GET / HTTP/1.1\r\n")
		if _, err := nc.Read(b); !errors.Is(err, ErrProxyHeader) {
			t.Errorf("another word: %v", err)
		}
		peer.Close()
		nc, peer = open("10.0.0.1:99")
		began := time.Now()
		if _, err := nc.Read(b); err == nil || time.Since(began) != proxyTime {
			t.Errorf("silence: %v after %v", err, time.Since(began))
		}
		peer.Close()
		nc, peer = open("8.8.8.8:99")
		go io.WriteString(peer, "PROXY TCP4 1.2.3.4 10.0.0.9 5555 80\r\n")
		if _, err := io.ReadFull(nc, b); err != nil || string(b) != "PROXY" || nc.RemoteAddr().String() != "8.8.8.8:99" {
			t.Errorf("a stranger's word: %q, %v, %v", b, err, nc.RemoteAddr())
		}
		peer.Close()
	})
}
