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
	for i := range o.letters {
		l := &o.letters[i]
		for b := o.slab[l.from:l.to]; len(b) > 0; {
			n := min(len(b), l.each)
			o.sock.write(b[:n], l.dest)
			b = b[n:]
		}
	}
	o.letters, o.slab = o.letters[:0], o.slab[:0]
}
