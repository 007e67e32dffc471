//go:build unix

package link

import (
	"io"
	"net"
	"syscall"
)

// peek returns the first byte that a peer sends and leaves it to be read; the connection
// stays what it was.
func peek(nc net.Conn) (byte, net.Conn, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return peekCopy(nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, nc, err
	}
	var b [1]byte
	var n int
	var got error
	err = raw.Read(func(fd uintptr) bool {
		n, _, got = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return got != syscall.EAGAIN && got != syscall.EINTR
	})
	switch {
	case err != nil:
		return 0, nc, err
	case got != nil:
		return 0, nc, got
	case n == 0:
		return 0, nc, io.EOF
	}
	return b[0], nc, nil
}
