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

// fitsLoop reports whether there are loops, and one could serve the viewer.
func (v *viewer) fitsLoop() bool {
	return v.server.env.Loops.Kind() != "goroutine" && v.r.TLS == nil && v.r.ProtoMajor == 1
}

// handOver gives the viewer of a stream that is there to a send loop. It returns
// errHandedOver when that is done, nil if the loop did not take it, in which case
// the answer has begun, and else why it ends.
func (v *viewer) handOver(sub *hub.Subscription, spec sender.Spec, gather time.Duration, before func(seq uint64) []*media.Frame) error {
	head, err := v.takeOver()
	if err != nil {
		return err
	}
	h := sender.Handoff{Session: v.session, Conn: v.nc, Sub: sub, Spec: spec, Before: before, Gather: gather, Head: head, Ends: true,
		Done: func(_ net.Conn, err error) { v.end(err) }}
	if spec.Framing == sender.WebSocket {
		h.Peer = listen(v.early)
	}
	if v.server.env.Loops.HandOver(h) {
		return errHandedOver
	}
	return v.begin(head) // the answer has begun: it goes on here
}
