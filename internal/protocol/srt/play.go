package srt

import (
	"context"
	"errors"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
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
	out := &outgoing{peer: p, size: max(1, min(s.conf.PayloadSize, 1456)/mpegts.PacketSize) * mpegts.PacketSize}
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
			out.add(f)
			if err := out.send(ctx, false); err != nil {
				return err
			}
		}
		clear(frames[:n])
		if err := out.send(ctx, true); err != nil {
			return err
		}
	}
}

// errGone is the end of a peer's connection.
var errGone = errors.New("SRT peer is gone")

// tablesEvery is the longest time without PAT and PMT where no key frames come.
const tablesEvery = 500 * time.Millisecond

// outgoing makes one player's transport stream.
type outgoing struct {
	peer   *peer
	size   int // of a payload
	mux    *mpegts.Muxer
	layout *media.Layout
	tables time.Duration // when they were last sent
	buf    []byte
}

// add appends a frame.
func (o *outgoing) add(f *media.Frame) {
	fresh := o.layout != f.Layout
	switch {
	case o.mux == nil:
		o.mux = mpegts.NewMuxer(f.Layout)
	case fresh:
		o.mux.SetLayout(f.Layout)
	}
	o.layout = f.Layout
	if !o.mux.Carries(f) {
		return
	}
	if fresh || f.Track.Kind == media.Video && f.Key || f.DTS-o.tables >= tablesEvery {
		o.tables = f.DTS
		o.buf = o.mux.AppendTables(o.buf)
	}
	o.buf, _ = o.mux.AppendFrame(o.buf, f, f.DTS) // a frame that makes no sense is left out
}

// send sends whole payloads, and with all what is left too.
func (o *outgoing) send(ctx context.Context, all bool) error {
	b := o.buf
	for len(b) >= o.size || all && len(b) > 0 {
		n := min(o.size, len(b))
		if err := o.peer.write(ctx, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	o.buf = append(o.buf[:0], b...)
	return nil
}

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
