package rtmp

import (
	"context"
	"errors"
	"testing"
	"time"

	"weir/internal/config"
	link "weir/internal/link/rtmp"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// elsewhere sends players away.
type elsewhere struct{}

func (elsewhere) Authorize(_ context.Context, r *session.Request) error {
	if r.Act == session.Play {
		return &session.Moved{Host: "127.0.0.1", Port: 19351}
	}
	return nil
}

// A player whose stream is elsewhere is told so as SRS does: behind Play.Start, with
// the address that it asked for on the other server.
func TestRedirect(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhosts: "vhost my.com { }", Authorize: func(*config.Store) session.Authorizer { return elsewhere{} }})
	for _, c := range []struct{ vhost, stream, want string }{
		{"__defaultVhost__", "s?token=1", "rtmp://127.0.0.1:19351/live/s?token=1"},
		{"my.com", "s", "rtmp://127.0.0.1:19351/live/s?vhost=my.com"},
		{"my.com", "s?token=1", "rtmp://127.0.0.1:19351/live/s?token=1&vhost=my.com"},
		{"x", "s?vhost=my.com&token=1", "rtmp://127.0.0.1:19351/live/s?vhost=my.com&token=1"},
	} {
		client, err := dialAt(t.Context(), h, protocoltest.Name{Vhost: c.vhost, App: "live", Stream: c.stream}, link.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Play(); err != nil {
			t.Errorf("%s: play: %v", c.stream, err)
		}
		for err == nil {
			_, err = client.ReadMessage(20 * time.Second)
		}
		if e, ok := errors.AsType[*link.StatusError](err); !ok {
			t.Errorf("%s of %s: %v, want a redirect", c.stream, c.vhost, err)
		} else if e.Redirect != c.want || e.Code != rtmp.ConnectRejected {
			t.Errorf("%s of %s: %v, redirect to %q, want %q", c.stream, c.vhost, err, e.Redirect, c.want)
		}
		client.Close()
	}
}
