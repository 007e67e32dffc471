//go:build !linux

package link

import (
	"net"
	"time"
)

// A Beat reads for many connections at one time, on Linux only.
type Beat struct {
	// After is never called.
	After func()
}

// Look does nothing.
func (*Beat) Look(time.Time) bool { return true }

// Plan does nothing.
func (*Beat) Plan(time.Time) {}

// Quiet returns nc: what it does elsewhere is for Linux only.
func Quiet(nc net.Conn, _ *Beat) net.Conn { return nc }

// Ride runs f.
func Ride(_ net.Conn, f func()) { f() }
