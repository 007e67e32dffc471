//go:build !linux

package webrtc

import "net"

// segments says how a socket can send.
type segments struct{}

// mailbag is what the system needs to send; nothing here.
type mailbag struct{}

func probe(*net.UDPConn) segments { return segments{} }

// flush sends all that was put in.
func (o *outbox) flush() {
	o.each(o.letters)
	o.letters, o.slab = o.letters[:0], o.slab[:0]
}
