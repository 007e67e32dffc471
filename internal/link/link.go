// Package link opens listening sockets and accepts from them, for every door
// alike: it reads SRS's spellings of an address, says in words why a port
// cannot be had, and survives a shortage of descriptors. Its folders join wire
// protocols to sockets in both roles, without any policy.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Address reads a listen directive's value: "1935", ":1935", "127.0.0.1:1935",
// "[::]:1935". A port alone is of all IPv4 addresses, as in SRS. The network is
// "tcp4" or "tcp6".
func Address(listen string) (network, address string, err error) {
	host, port := "0.0.0.0", listen
	if i := strings.LastIndexByte(listen, ':'); i >= 0 {
		port = listen[i+1:]
		if h := strings.Trim(listen[:i], "[]"); h != "" {
			host = h
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", "", fmt.Errorf("listen %s: %q is not a port; write a number from 1 to 65535, or an IP address and a number, as 127.0.0.1:1935", listen, port)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "", "", fmt.Errorf("listen %s: %q is not an IP address; write one, or the port alone", listen, host)
	}
	network = "tcp4"
	if ip.Is6() && !ip.Is4In6() {
		network = "tcp6"
	}
	return network, netip.AddrPortFrom(ip.Unmap(), uint16(n)).String(), nil
}

// Listen opens the socket of a listen directive's value.
func Listen(ctx context.Context, listen string) (net.Listener, error) {
	network, address, err := Address(listen)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, explain(address, err)
	}
	return l, nil
}

// A ListenError says why a port cannot be had, and what to do about it.
type ListenError struct {
	Text string
	Err  error
}

// Error tells both.
func (e *ListenError) Error() string { return e.Text }

// Unwrap returns what the system said.
func (e *ListenError) Unwrap() error { return e.Err }

// SRSCode returns the number by which SRS calls it.
func (e *ListenError) SRSCode() int { return 1002 }

func explain(address string, err error) error {
	return &ListenError{Text: "listen at " + address + ": " + why(err), Err: err}
}

func why(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "the port is in use by another program (find it with \"ss -ltnp\"); stop that program or configure another port"
	case errors.Is(err, syscall.EACCES):
		return "not permitted; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; configure one that \"ip addr\" shows, or the port alone"
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return "this machine has no IPv6; configure an IPv4 address, or the port alone"
	}
	return err.Error()
}

// Patient is a listener whose Accept waits for descriptors to be given back
// when they run out, rather than fail.
type Patient struct {
	net.Listener
	Log *slog.Logger
}

// Accept waits for a connection; the only errors are that the listener is closed, and
// that its deadline has passed.
func (p Patient) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		nc, err := p.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nc, err
		}
		pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		p.Log.Warn("cannot accept, waiting", "listen", p.Addr().String(), "pause", pause, "err", err)
		time.Sleep(pause)
	}
}

// Remote returns the peer's address, unmapped; the zero value if it has none.
func Remote(nc net.Conn) netip.AddrPort { return addrPort(nc.RemoteAddr()) }

// Local returns our address of the connection, unmapped.
func Local(nc net.Conn) netip.AddrPort { return addrPort(nc.LocalAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// TCP returns the TCP connection of nc, below [Quiet] if need be, or nil.
func TCP(nc net.Conn) *net.TCPConn {
	switch c := nc.(type) {
	case *net.TCPConn:
		return c
	case interface{ TCP() *net.TCPConn }:
		return c.TCP()
	}
	return nil
}

// SetPace has a connection that [Quiet] made read a few packets at once; see
// there. Others are left alone.
func SetPace(nc net.Conn, pace func() time.Duration) {
	if p, ok := nc.(interface{ SetPace(func() time.Duration) }); ok {
		p.SetPace(pace)
	}
}

// Look has a connection that is read at a pace read at once; see [SetPace]. It is
// safe for concurrent use.
func Look(nc net.Conn) {
	if p, ok := nc.(interface{ Look() }); ok {
		p.Look()
	}
}
