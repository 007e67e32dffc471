package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// ErrProxyHeader is returned for a connection of a proxy that does not begin with
// a PROXY header.
var ErrProxyHeader = errors.New("the connection does not begin with a PROXY header")

const (
	// proxyTime is how long the header may take.
	proxyTime = 5 * time.Second
	// proxyLine is the longest header of version 1, and proxyBody that of version 2
	// behind its first 16 bytes, which may have more than addresses.
	proxyLine = 107
	proxyBody = 2048
)

// proxyMark begins a header of version 2.
var proxyMark = []byte("\r\n\r\n\x00\r\nQUIT\n")

// A ProxyListener accepts connections of proxies, which begin with a PROXY header
// (HAProxy's, version 1 or 2) that tells the client's address. Which peers are such
// proxies says Expect; others' connections are left alone.
type ProxyListener struct {
	net.Listener
	Expect func(peer netip.Addr) bool
}

// Accept implements net.Listener. The header is read with the first thing that is
// asked of the connection.
func (l ProxyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil || !l.Expect(Remote(nc).Addr()) {
		return nc, err
	}
	return &proxied{Conn: nc}, nil
}

// proxied is a connection of a proxy.
type proxied struct {
	net.Conn
	once   sync.Once
	client netip.AddrPort // valid if the header named one
	err    error
}

// NetConn returns the connection below, header and all unless something was asked of it.
func (p *proxied) NetConn() net.Conn { return p.Conn }

func (p *proxied) header() {
	p.once.Do(func() {
		_ = p.Conn.SetReadDeadline(time.Now().Add(proxyTime))
		if p.client, p.err = readProxy(p.Conn); p.err == nil {
			p.err = p.Conn.SetReadDeadline(time.Time{})
		}
	})
}

// Read implements net.Conn.
func (p *proxied) Read(b []byte) (int, error) {
	if p.header(); p.err != nil {
		return 0, p.err
	}
	return p.Conn.Read(b)
}

// RemoteAddr returns the client's address.
func (p *proxied) RemoteAddr() net.Addr {
	if p.header(); p.client.IsValid() {
		return net.TCPAddrFromAddrPort(p.client)
	}
	return p.Conn.RemoteAddr()
}

// TCP returns the connection below, whose header has been read.
func (p *proxied) TCP() *net.TCPConn {
	if p.header(); p.err != nil {
		return nil
	}
	return TCP(p.Conn)
}

// CloseWrite closes our direction.
func (p *proxied) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return p.Conn.Close()
}

// readProxy reads a header and not a byte more. The zero address means that it names
// none: the proxy speaks for itself.
func readProxy(r interface{ Read([]byte) (int, error) }) (netip.AddrPort, error) {
	head := make([]byte, 0, proxyLine)
	next := func(n int) error {
		for n > 0 {
			m, err := r.Read(head[len(head) : len(head)+n])
			if head = head[:len(head)+m]; err != nil {
				return fmt.Errorf("PROXY header: %w", err)
			}
			n -= m
		}
		return nil
	}
	if err := next(6); err != nil {
		return netip.AddrPort{}, err
	}
	switch {
	case string(head) == "PROXY ":
		for !bytes.HasSuffix(head, []byte("\r\n")) {
			if len(head) == proxyLine {
				return netip.AddrPort{}, ErrProxyHeader
			}
			if err := next(1); err != nil {
				return netip.AddrPort{}, err
			}
		}
		return parseProxyLine(string(head[:len(head)-2]))
	case bytes.HasPrefix(proxyMark, head):
		if err := next(10); err != nil {
			return netip.AddrPort{}, err
		}
		size := int(binary.BigEndian.Uint16(head[14:]))
		if !bytes.HasPrefix(head, proxyMark) || size > proxyBody {
			return netip.AddrPort{}, ErrProxyHeader
		}
		head = append(make([]byte, 0, 16+size), head...)
		if err := next(size); err != nil {
			return netip.AddrPort{}, err
		}
		return parseProxyBody(head[12], head[13], head[16:])
	}
	return netip.AddrPort{}, ErrProxyHeader
}

// parseProxyLine reads version 1: PROXY TCP4 client server clientport serverport.
func parseProxyLine(line string) (netip.AddrPort, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, ErrProxyHeader
	}
	a, err := netip.ParseAddrPort(net.JoinHostPort(f[2], f[4]))
	if err != nil {
		return netip.AddrPort{}, ErrProxyHeader
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// parseProxyBody reads version 2: the command, the family, the addresses.
func parseProxyBody(command, family byte, b []byte) (netip.AddrPort, error) {
	switch {
	case command == 0x20: // LOCAL: a health check
		return netip.AddrPort{}, nil
	case command != 0x21:
		return netip.AddrPort{}, ErrProxyHeader
	case family>>4 == 1 && len(b) >= 12:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[8:])), nil
	case family>>4 == 2 && len(b) >= 36:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[32:])), nil
	case family>>4 == 0 || family>>4 == 3: // none, or Unix's
		return netip.AddrPort{}, nil
	}
	return netip.AddrPort{}, ErrProxyHeader
}
