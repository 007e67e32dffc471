package pull

import (
	"context"
	"errors"
	"fmt"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// RTMP has the stream of an address, rtmp or rtmps, until that ends, and goes where a
// server sends us.
func RTMP(ctx context.Context, in *Intake, url string, o Options) error {
	for n := 0; ; n++ {
		t, err := rtmp.ParseURL(url)
		if err != nil {
			return err
		}
		err = in.Play(ctx, url, link.DialOptions{TLS: o.tls(t.Host)}, o)
		e, ok := errors.AsType[*link.StatusError](err)
		switch {
		case !ok || e.Redirect == "":
			return err
		case n == Redirects:
			return fmt.Errorf("%w: %w", errRedirects, err)
		}
		url = e.Redirect
	}
}

// Play has a stream from one server of RTMP until it ends. The error wraps a
// [link.StatusError] where the server said why.
func (in *Intake) Play(ctx context.Context, url string, d link.DialOptions, o Options) error {
	if err := o.allow(url); err != nil {
		return err
	}
	d.Timeout, d.Dial, d.Capabilities = DialTime, in.dial, rtmp.Everything
	client, err := link.Dial(ctx, url, d)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Play(); err != nil {
		return err
	}
	for {
		m, err := client.ReadMessage(Silence)
		if err != nil {
			return because(ctx, err)
		}
		body, kind := m.Payload, uint8(m.Type)
		if m.Type == rtmp.TypeDataAMF0 || m.Type == rtmp.TypeDataAMF3 {
			kind, body = flv.TypeScript, m.Data()
		}
		if err := in.Tag(kind, m.Timestamp, body); err != nil {
			return err
		}
	}
}
