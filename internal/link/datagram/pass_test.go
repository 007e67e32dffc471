package datagram

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns two connections that are joined and keep the bounds of what is written.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	open := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return nc.(*net.UnixConn)
	}
	return open(fds[0]), open(fds[1])
}

// A socket that two have: one reads it, and what it passes on is read by the other with
// the address from which it came, which can answer. Then the other reads it again.
func TestPass(t *testing.T) {
	for _, c := range []struct{ network, address string }{{"udp4", "127.0.0.1:0"}, {"udp4", "0.0.0.0:0"}, {"udp6", "[::1]:0"}} {
		all, err := Listen(t.Context(), c.network, c.address, 1)
		if err != nil {
			t.Fatal(err)
		}
		old := all[0]
		defer old.Close()
		raw, err := old.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var file *os.File
		raw.Control(func(fd uintptr) {
			own, err := syscall.Dup(int(fd))
			if err != nil {
				t.Fatal(err)
			}
			file = os.NewFile(uintptr(own), "socket")
		})
		all, err = Listed([]*os.File{file}, c.network)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		young := all[0]
		defer young.Close()
		if young.LocalAddr() != old.LocalAddr() {
			t.Errorf("it is at %v, and was at %v", young.LocalAddr(), old.LocalAddr())
		}
		young.Pass(netip.AddrPort{}, []byte("to nobody")) // which does nothing
		in, out := pair(t)
		if err := young.PassTo(in); err != nil {
			t.Fatal(err)
		}
		if err := old.Divert(out); err != nil {
			t.Fatal(err)
		}
		host := old.LocalAddr().Addr()
		if host.IsUnspecified() {
			host = netip.MustParseAddr("127.0.0.1")
		}
		peer, err := net.DialUDP(c.network, nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, old.LocalAddr().Port())))
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		take := func(s *Socket, each func(netip.AddrPort, []byte)) {
			t.Helper()
			for deadline := time.Now().Add(20 * time.Second); ; {
				s.Wait(deadline)
				if s.Read(each) > 0 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("nothing came")
				}
			}
		}
		peer.Write([]byte("word"))
		take(young, func(from netip.AddrPort, b []byte) { young.Pass(from, b) })
		take(old, func(from netip.AddrPort, b []byte) {
			if at := peer.LocalAddr().(*net.UDPAddr).AddrPort(); from.Port() != at.Port() || from.Addr() != host || string(b) != "word" {
				t.Errorf("%q came from %v, want %v", b, from, at)
			}
			old.Send(old.At(), from, []byte("answer"))
		})
		b := make([]byte, 100)
		peer.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := peer.Read(b); string(b[:n]) != "answer" {
			t.Errorf("the peer got %q, %v", b[:n], err)
		}
		old.Divert(nil)
		peer.Write([]byte("again"))
		take(old, func(_ netip.AddrPort, b []byte) {
			if string(b) != "again" {
				t.Errorf("%q came", b)
			}
		})
	}
}

// What is no datagram that was passed on is none.
func TestPassedNonsense(t *testing.T) {
	for n := range passHead {
		if _, _, _, ok := parsePassed(make([]byte, n)); ok {
			t.Errorf("%d bytes were taken", n)
		}
	}
}
