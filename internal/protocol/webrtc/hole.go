package webrtc

import (
	"fmt"
	"net"
)

// A hole is sent a copy of each packet that publishers send, decrypted, for who looks
// at packets (rtc_server.black_hole).
type hole struct{ nc net.Conn }

func newHole(addr string) (*hole, error) {
	nc, err := net.Dial("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("rtc_server black_hole addr %q: %w; write ip:port", addr, err)
	}
	return &hole{nc}, nil
}

// copy sends a copy, if there is a hole.
func (h *hole) copy(b []byte) {
	if h != nil {
		h.nc.Write(b)
	}
}
