package httplive

import (
	"context"
	"errors"
	"net"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/sender"
)

// errHandedOver tells that a send loop has the viewer now, its session and its
// connection included.
var errHandedOver = errors.New("handed over to a send loop")

// plain reports whether an encoder does what a reel does for all viewers: no
// track is left out, the header says what is there, and time is the stream's.
func plain(e sender.Encoder) bool {
	switch e := e.(type) {
	case *sender.FLV:
		return e.Only == sender.Only{} && e.Times == sender.Line && e.Flags == nil
	case *sender.MP4:
		return true
	}
	return false
}

// handOver waits until the stream has a first frame for the viewer and gives the
// viewer to a send loop. It returns errHandedOver when that is done, nil if the
// viewer has to be served here, and else why it ends.
func (v *viewer) handOver(ctx context.Context, sub *hub.Subscription, gather time.Duration, late *time.Timer) error {
	loops := v.server.env.Loops
	if loops.Kind() == "goroutine" || v.r.TLS != nil || !v.r.ProtoAtLeast(1, 1) {
		return nil
	}
	for first := make([]*media.Frame, 1); ; {
		_, err := sub.Read(ctx, first)
		if _, ended := errors.AsType[*hub.EndError](err); ended {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if late != nil && !late.Stop() {
		return errMissing
	}
	head, err := v.takeOver()
	if err != nil {
		return err
	}
	form := media.FormFLV
	if v.format.ext == ".mp4" {
		form = media.FormMP4
	}
	done := func(_ net.Conn, err error) { v.end(err) }
	if loops.HandOver(sender.Handoff{Session: v.session, Conn: v.nc, Sub: sub, Form: form, Gather: gather, Head: head, Ends: true, Done: done}) {
		return errHandedOver
	}
	// The answer has begun: it goes on here.
	v.conn = v.session.Conn(v.nc).(buffersWriter)
	v.watching.Go(v.watch)
	v.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := v.conn.Write(head); err != nil {
		return err
	}
	sub.SkipToLive()
	return nil
}
