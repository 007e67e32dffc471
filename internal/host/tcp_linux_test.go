package host

import (
	"net"
	"net/netip"
	"testing"
)

func TestConnection(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := c.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		of := func(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
		got, ok := Connection(of(s.LocalAddr()), of(s.RemoteAddr()))
		if !ok || got.RecvQueue != 1000 || got.RTT <= 0 || got.RTT > 1000 {
			t.Errorf("%s: %+v, %v", at, got, ok)
		}
		if _, ok := Connection(of(s.LocalAddr()), netip.MustParseAddrPort("127.0.0.1:1")); ok {
			t.Errorf("%s: a connection that is not there", at)
		}
	}
}

func FuzzParseDiag(f *testing.F) {
	f.Add(make([]byte, 16+diagHead+108))
	f.Fuzz(func(t *testing.T, b []byte) { parseDiag(b, 0) })
}
