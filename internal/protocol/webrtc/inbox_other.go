//go:build !linux

package webrtc

import (
	"net"
	"net/netip"
)

// An inbox receives datagrams one by one.
type inbox struct {
	pc   *net.UDPConn
	b    []byte
	n    int
	from netip.AddrPort
}

func newInbox(pc *net.UDPConn) *inbox { return &inbox{pc: pc, b: make([]byte, 2048)} }

// receive waits for datagrams and returns how many came.
func (in *inbox) receive() (n int, err error) {
	in.n, in.from, err = in.pc.ReadFromUDPAddrPort(in.b)
	return 1, err
}

// datagram returns one of them, and where it came from.
func (in *inbox) datagram(int) ([]byte, netip.AddrPort) { return in.b[:in.n], unmap(in.from) }
