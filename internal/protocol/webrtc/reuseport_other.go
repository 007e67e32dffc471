//go:build !linux

package webrtc

import "syscall"

// reusePort is nil where the system does not spread peers among sockets of one port.
var reusePort func(network, address string, c syscall.RawConn) error
