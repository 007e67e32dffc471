//go:build !linux

package host

import "net/netip"

// Connection returns what the kernel knows of a connection: here, nothing.
func Connection(local, remote netip.AddrPort) (TCP, bool) { return TCP{}, false }
