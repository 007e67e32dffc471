//go:build !unix

package link

import "net"

// peek returns the first byte that a peer sends and leaves it to be read.
func peek(nc net.Conn) (byte, net.Conn, error) { return peekCopy(nc) }
