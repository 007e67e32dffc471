package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/link/srt"
	"weir/internal/media"
	"weir/internal/sender"
)

// onceSRT is once for a listener of SRT, which is sent a transport stream.
func (l *line) onceSRT(ctx context.Context, cancel context.CancelCauseFunc, to target) error {
	t, err := srt.ParseURL(to.word)
	if err != nil {
		return err
	}
	t.StreamID = to.stream
	stop := context.AfterFunc(l.soon, func() { cancel(errEnded) })
	dialing, done := context.WithTimeout(ctx, dialTime)
	c, err := srt.Dial(dialing, t)
	done()
	stop()
	if err != nil {
		return err
	}
	defer c.Close()
	go func() { // ends with the connection, which is closed
		<-c.Done()
		cancel(fmt.Errorf("destination: %w", c.Err()))
	}()
	sub := l.subscribe(to, func() uint64 { _, out := c.Bytes(); return uint64(out) })
	if sub == nil {
		return nil
	}
	defer sub.Close()
	out := sender.Datagrams{Size: t.Payload}
	write := func(b []byte) error {
		slow, done := context.WithTimeout(ctx, writeTime)
		defer done()
		if err := c.Write(slow, b); err != nil {
			return fmt.Errorf("destination: %w", err)
		}
		return nil
	}
	var layout *media.Layout
	frames := make([]*media.Frame, 128)
	for {
		n, err := sub.Read(ctx, frames)
		if _, ok := errors.AsType[*hub.EndError](err); ok {
			left, done := context.WithTimeout(ctx, tailTime-100*time.Millisecond)
			c.Flush(left)
			done()
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range frames[:n] {
			if f.Layout != layout {
				layout = f.Layout
				for _, t := range layout.Tracks {
					if !mpegts.Supported(t) && t.Kind != media.Data {
						l.leave(t)
					}
				}
			}
			out.Add(f)
			if err := out.Send(false, write); err != nil {
				return err
			}
		}
		clear(frames[:n])
		if err := out.Send(true, write); err != nil {
			return err
		}
	}
}
