package httplive

import (
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

// fitsLoop reports whether there are loops, and one could serve the viewer.
func (v *viewer) fitsLoop() bool {
	return v.server.env.Loops.Kind() != "goroutine" && v.r.TLS == nil && v.r.ProtoAtLeast(1, 1)
}

// handOver gives the viewer of a stream that is there to a send loop. It returns
// errHandedOver when that is done, nil if the loop did not take it, in which case
// the answer has begun, and else why it ends.
func (v *viewer) handOver(sub *hub.Subscription, gather time.Duration) error {
	head, err := v.takeOver()
	if err != nil {
		return err
	}
	form := media.FormFLV
	if v.format.ext == ".mp4" {
		form = media.FormMP4
	}
	done := func(_ net.Conn, err error) { v.end(err) }
	if v.server.env.Loops.HandOver(sender.Handoff{Session: v.session, Conn: v.nc, Sub: sub, Form: form, Gather: gather, Head: head, Ends: true, Done: done}) {
		return errHandedOver
	}
	// The answer has begun: it goes on here.
	v.conn = v.session.Conn(v.nc).(buffersWriter)
	v.watching.Go(v.watch)
	v.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := v.conn.Write(head); err != nil {
		return err
	}
	return nil
}
