package webrtc

import "syscall"

// reusePort lets several sockets share a port, among which the system spreads peers.
var reusePort = func(_, _ string, c syscall.RawConn) error {
	const soReusePort = 15 // which package syscall does not have on every platform
	var failed error
	err := c.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1) })
	if err == nil {
		err = failed
	}
	return err
}
