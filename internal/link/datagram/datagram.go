// Package datagram has UDP sockets for servers that speak to many peers from one
// address: datagrams are read and written many at a time, outside of Go's poller, where
// the system has the calls for it (Linux: recvmmsg, sendmmsg, and UDP_SEGMENT, which makes
// several datagrams to one peer of one piece). Elsewhere the same methods do it one by
// one.
//
// A [Socket] belongs to one goroutine, which waits, reads, queues and flushes; anybody may
// [Socket.Wake] it and [Socket.Send] by it. Other goroutines that send much have a [Batch] each.
package datagram

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	// MaxSize is the longest datagram that is read, in bytes; longer ones are cut.
	MaxSize = 2048
	// Burst is how many datagrams are read at once at most.
	Burst = 512
	// buffer is what the system is asked to hold of what comes and goes, in bytes.
	buffer = 4 << 20
)

// Listen opens n sockets, at least one, that share an address; the system gives each peer
// to one of them. The network is "udp4" or "udp6".
func Listen(ctx context.Context, network, address string, n int) (all []*Socket, err error) {
	at, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		return nil, err
	}
	// Sockets that share would share with another server too: see that there is none.
	probe, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	local := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	if n = max(1, n); n == 1 || !shares {
		s, err := adopt(probe.(*net.UDPConn), network == "udp6")
		if err != nil {
			return nil, err
		}
		return []*Socket{s}, nil
	}
	probe.Close()
	for range n {
		s, err := open(network == "udp6", netip.AddrPortFrom(at.AddrPort().Addr(), local.Port()))
		if err != nil {
			for _, o := range all {
				o.Close()
			}
			return nil, fmt.Errorf("listen %s %s: %w", network, address, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Never is a time to wait for that does not come.
var Never = time.Unix(1<<40, 0)
