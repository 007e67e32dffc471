//go:build unix

package srt

import "syscall"

// receive reads a datagram if there is one.
func receive(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }
