package srt

import (
	"context"
	"errors"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/sender"
	wire "weir/internal/wire/srt"
)

// play sends the stream, as packets of a transport stream, until the peer ends that.
func (s *server) play(ctx context.Context, p *peer, sub *hub.Subscription) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // the peer's end is one of reading too
		select {
		case <-p.over:
			cancel(errGone)
		case <-stop:
		}
	}()
	out := &sender.Datagrams{Size: min(s.conf.PayloadSize, wire.MaxPayload)}
	write := func(b []byte) error { return p.write(ctx, b) }
	frames := make([]*media.Frame, 128)
	for {
		n, err := sub.Read(ctx, frames)
		if _, ok := errors.AsType[*hub.EndError](err); ok {
			continue // its next publication may come
		}
		if err != nil {
			return err
		}
		for _, f := range frames[:n] {
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

// errGone is the end of a peer's connection.
var errGone = errors.New("SRT peer is gone")

// write sends a payload as soon as there is room for it.
func (p *peer) write(ctx context.Context, b []byte) error {
	for {
		p.mu.Lock()
		if p.conn.Err() != nil {
			p.mu.Unlock()
			return errGone
		}
		if p.conn.Unsent() < maxUnsent && p.conn.Write(time.Now(), b) {
			p.mu.Unlock()
			return nil
		}
		p.waiting = true
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
