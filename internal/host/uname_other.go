//go:build !linux

package host

// Name returns what Go knows of the system.
func Name() Uname { return unknown() }
