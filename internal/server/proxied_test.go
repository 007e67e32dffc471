package server

import (
	"context"
	"fmt"
	"net"
	"testing"

	link "weir/internal/link/rtmp"
	"weir/internal/protocol/protocoltest"
	wire "weir/internal/wire/rtmp"
)

// go-oryx tells the client's address before the handshake; it counts if the one who
// tells is trusted.
func TestProxiedRTMP(t *testing.T) {
	for trusted, want := range map[string]string{"": "203.0.113.7", "trusted_proxies none;": "127.0.0.1", "trusted_proxies 127.0.0.1;": "203.0.113.7"} {
		at := protocoltest.FreeAddr(t)
		h := empty(t, fmt.Sprintf("listen %s; %s vhost __defaultVhost__ { }", at, trusted))
		c, err := link.Dial(t.Context(), "rtmp://"+at+"/live/s", link.DialOptions{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				_, err = nc.Write([]byte{wire.ProxyMark, 0, 4, 203, 0, 113, 7})
			}
			return nc, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(); err != nil {
			t.Fatal(err)
		}
		for s := range h.srv.env.Desk.Publishing() {
			if s.IP != want {
				t.Errorf("%q: the publisher is %s, want %s", trusted, s.IP, want)
			}
		}
		if h.srv.env.Desk.Publishers() != 1 {
			t.Errorf("%q: nobody publishes", trusted)
		}
		c.Close()
	}
}
