package pull

import (
	"context"
	"errors"
	"fmt"

	"weir/internal/format/mpegts"
	link "weir/internal/link/srt"
	"weir/internal/session"
	wire "weir/internal/wire/srt"
)

// SRT has the stream of an address, srt://host:port?streamid=..., that a listener sends
// as a transport stream. What TLS is to others, the address's passphrase is here.
func SRT(ctx context.Context, in *Intake, url string, o Options) error {
	if err := o.allow(url); err != nil {
		return err
	}
	t, err := link.ParseURL(url)
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, DialTime)
	defer cancel()
	c, err := link.Dial(dialing, t)
	if err != nil {
		return because(ctx, err)
	}
	defer c.Close()
	d := mpegts.NewDemuxer()
	var b []byte
	counted := int64(0)
	for {
		quiet, cancel := context.WithTimeout(ctx, Silence)
		b, err = c.Read(quiet, b)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: the server sent nothing for %v", session.ErrTimeout, Silence)
		case errors.Is(err, wire.ErrShutdown):
			return in.Frames(d.Flush(nil))
		case err != nil:
			return err
		}
		came, _ := c.Bytes()
		in.session.Count(int(came-counted), 0)
		counted = came
		if err := in.Frames(d.Feed(nil, b)); err != nil {
			return err
		}
	}
}
