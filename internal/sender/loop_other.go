//go:build !linux

package sender

import (
	"errors"
	"net"
	"sync/atomic"

	"weir/internal/session"
)

// Elsewhere than on Linux each viewer has a goroutine.
const loopsPossible = false

// ErrBack is returned by Handoff.Peer to get the connection back.
var ErrBack = errors.New("connection is given back")

type loop struct {
	id           int
	pause, count atomic.Int64
}

type outlet struct {
	reel   *loopReel
	unhook func() bool
	marks  uint64
}

func newLoop(*Loops, int, string) (*loop, error) { return nil, errors.ErrUnsupported }

func takeDescriptor(*net.TCPConn) (int, error) { return -1, errors.ErrUnsupported }

func newOutlet(int, Handoff) *outlet { return &outlet{} }

func (*loop) kind() string               { return "" }
func (*loop) run()                       {}
func (*loop) close()                     {}
func (*loop) stop(error)                 {}
func (*loop) post(func())                {}
func (*loop) add(*outlet)                {}
func (*loop) dismiss(*outlet, error)     {}
func (*loop) move(*outlet, session.Move) {}
func (*loop) grown()                     {}
func (*loop) beat()                      {}

// Pause does nothing: there are no loops.
func (*Control) Pause(bool) {}

// Finish does nothing: there are no loops.
func (*Control) Finish(error) {}
