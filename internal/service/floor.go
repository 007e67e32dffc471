package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// A Floor is the right to take what comes to some sockets, where nothing in it tells
// which of the two processes of an upgrade is meant: such as transport streams in bare
// datagrams. One process has it at a time. The elder keeps it until nothing comes, or
// until it ends, and then gives it away; what comes in between waits in the system's
// queue, which both share.
type Floor struct {
	handover *Handover
	name     string

	mu    sync.Mutex
	mine  chan struct{} // closed when this process has it
	given bool          // it is the next process's; guarded by mu
	data  []byte        // what the elder told with it; guarded by mu
}

// KeptSocket is a UDP socket that is read by who has the floor.
type KeptSocket struct {
	*net.UDPConn
	// Network and Address are as the configuration has them.
	Network, Address string
}

// floors are what a Handover has of this. It is guarded by Handover.mu.
type floors struct {
	all    map[string]*Floor
	theirs map[string]bool // those that the process before has
	kept   []KeptSocket
	give   func(name string, data []byte) error // has the next process have one
	left   chan struct{}                        // closed when there is a next one; made by need
	conns  map[string]func(net.Conn)            // who takes connections that are passed on
	pass   func(name string, nc syscall.Conn) error
}

// Floor returns the one of a name. A nil Handover knows of no other process.
func (h *Handover) Floor(name string) *Floor {
	f := &Floor{handover: h, name: name, mine: make(chan struct{})}
	if h == nil {
		close(f.mine)
		return f
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.floors.all == nil {
		h.floors.all = map[string]*Floor{}
	}
	h.floors.all[name] = f
	if !h.floors.theirs[name] {
		close(f.mine)
	}
	return f
}

// Mine reports whether this process has it.
func (f *Floor) Mine() bool {
	select {
	case <-f.mine:
		return true
	default:
		return false
	}
}

// Await waits until this process has it, and returns what the one before told with it;
// ok is false if ctx was done before.
func (f *Floor) Await(ctx context.Context) (data []byte, ok bool) {
	select {
	case <-f.mine:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.data, true
	case <-ctx.Done():
		return nil, false
	}
}

// Due is closed when another process has taken the place of this one, to which the floor
// is to be given as soon as that costs nobody anything.
func (f *Floor) Due() <-chan struct{} {
	if f.handover == nil {
		return nil
	}
	return f.handover.leftSignal()
}

// IsDue reports whether Due is closed.
func (f *Floor) IsDue() bool { return f.handover.Left() }

// Give gives it to the process that has taken our place, if there is one, with what that
// is to know. Later calls do nothing.
func (f *Floor) Give(data []byte) {
	if !f.IsDue() {
		return
	}
	f.mu.Lock()
	given := f.given
	f.given = true
	f.mu.Unlock()
	h := f.handover
	h.mu.Lock()
	give := h.floors.give
	h.mu.Unlock()
	if !given && give != nil {
		give(f.name, data) // if the other has gone, it needs nothing
	}
}

// take has this process have it.
func (f *Floor) take(data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.Mine() {
		f.data = data
		close(f.mine)
	}
}

// Floors lists those that are not given away: names.
func (h *Handover) Floors() (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, f := range h.floors.all {
		f.mu.Lock()
		if !f.given {
			names = append(names, name)
		}
		f.mu.Unlock()
	}
	return names
}

// InheritFloors says which floors the process before has, until TakeFloor.
func (h *Handover) InheritFloors(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floors.theirs = map[string]bool{}
	for _, n := range names {
		h.floors.theirs[n] = true
	}
}

// TakeFloor says that the process before has given one away, and told so much with it.
func (h *Handover) TakeFloor(name string, data []byte) {
	h.mu.Lock()
	delete(h.floors.theirs, name)
	f := h.floors.all[name]
	h.mu.Unlock()
	if f != nil {
		f.take(data)
	}
}

// takeFloors takes all, now that the process before has gone.
func (h *Handover) takeFloors() {
	h.mu.Lock()
	h.floors.theirs = nil
	var all []*Floor
	for _, f := range h.floors.all {
		all = append(all, f)
	}
	h.mu.Unlock()
	for _, f := range all {
		f.take(nil)
	}
}

// leftSignal is closed by Leave.
func (h *Handover) leftSignal() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.floors.left == nil {
		h.floors.left = make(chan struct{})
		if h.left.Load() {
			close(h.floors.left)
		}
	}
	return h.floors.left
}

// SetHeir says how the process that takes our place is given a floor.
func (h *Handover) SetHeir(give func(name string, data []byte) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floors.give = give
}

// Keep opens a UDP socket for a part that has a floor, or takes the one that the process
// before had there.
func (h *Handover) KeepUDP(network, address string, open func() (*net.UDPConn, error)) (*net.UDPConn, error) {
	if h == nil {
		return open()
	}
	h.mu.Lock()
	files := h.sockets[network+" "+address]
	delete(h.sockets, network+" "+address)
	h.mu.Unlock()
	u, err := adopt(files)
	if err != nil {
		return nil, fmt.Errorf("take over from the process before: %w", err)
	}
	if u == nil {
		if u, err = open(); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floors.kept = append(h.floors.kept, KeptSocket{u, network, address})
	return u, nil
}

// adopt makes a socket of the first of some files, which it closes; nil if there is none.
func adopt(files []*os.File) (u *net.UDPConn, err error) {
	for i, f := range files {
		if i == 0 {
			var pc net.PacketConn
			if pc, err = net.FilePacketConn(f); err == nil {
				var ok bool
				if u, ok = pc.(*net.UDPConn); !ok {
					pc.Close()
					err = errors.New("the descriptor is no UDP socket")
				}
			}
		}
		f.Close()
	}
	return u, err
}

// Kept lists the sockets of KeepUDP.
func (h *Handover) Kept() []KeptSocket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.floors.kept
}

// OnConn has f take the connections that the process after us accepts by name, while we
// have the floor.
func (h *Handover) OnConn(name string, f func(net.Conn)) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.floors.conns == nil {
		h.floors.conns = map[string]func(net.Conn){}
	}
	h.floors.conns[name] = f
}

// TakeConn gives one to who takes it. It closes the file.
func (h *Handover) TakeConn(name string, file *os.File) {
	defer file.Close()
	h.mu.Lock()
	f := h.floors.conns[name]
	h.mu.Unlock()
	if f == nil {
		return
	}
	if nc, err := net.FileConn(file); err == nil {
		go f(nc)
	}
}

// SetPass says how a connection is passed on to the process before.
func (h *Handover) SetPass(pass func(name string, nc syscall.Conn) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floors.pass = pass
}

// PassConn passes a connection of which nothing was read on to the process before, which
// takes it by name, and closes it here.
func (h *Handover) PassConn(name string, nc net.Conn) error {
	defer nc.Close()
	h.mu.Lock()
	pass := h.floors.pass
	h.mu.Unlock()
	if below, ok := nc.(interface{ NetConn() net.Conn }); ok { // a proxy's, with its header
		nc = below.NetConn()
	}
	c, ok := nc.(syscall.Conn)
	if !ok || pass == nil {
		return errAlone
	}
	return pass(name, c)
}
