package link

import (
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	for _, c := range []struct{ in, network, address string }{
		{"1935", "tcp4", "0.0.0.0:1935"}, {":1935", "tcp4", "0.0.0.0:1935"}, {"127.0.0.1:1", "tcp4", "127.0.0.1:1"},
		{"[::]:1935", "tcp6", "[::]:1935"}, {"[::1]:80", "tcp6", "[::1]:80"}, {":::1935", "tcp6", "[::]:1935"},
	} {
		network, address, err := Address(c.in)
		if err != nil || network != c.network || address != c.address {
			t.Errorf("%s: %s %s, %v; want %s %s", c.in, network, address, err, c.network, c.address)
		}
	}
	for _, bad := range []string{"", "x", "70000", "host:1", "1.2.3.4:", "-1"} {
		if _, _, err := Address(bad); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestPortInUseIsSaidInWords(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(t.Context(), l.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}
