package link

import (
	"net"
	"strings"
	"syscall"
	"time"
)

// A Socket is one of ours that another process may have too.
type Socket struct {
	// Network and Address are as the configuration has them, and Index counts those
	// that share them.
	Network, Address string
	Index            int
	Conn             syscall.Conn
}

// Inherit gives the doors listening sockets of another process, by network and address
// as asked for ("tcp4 0.0.0.0:1935"), to be taken in place of new ones.
func (d *Doors) Inherit(all map[string]net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heir = all
}

// Disinherit closes those that nobody wanted.
func (d *Doors) Disinherit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.heir {
		l.Close()
	}
	d.heir = nil
}

// Sockets lists the open doors for another process. Nothing is accepted on its behalf.
func (d *Doors) Sockets() (all []Socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.open {
		if c, ok := o.l.(syscall.Conn); ok {
			network, address, _ := strings.Cut(o.at, " ")
			all = append(all, Socket{Network: network, Address: address, Conn: c})
		}
	}
	return all
}

// Pause stops accepting, until Resume. Whoever connects meanwhile waits in the system's
// queue.
func (d *Doors) Pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused != nil || d.isClosed() {
		return
	}
	d.paused = make(chan struct{})
	for _, o := range d.open {
		setDeadline(o.l, time.Unix(1, 0))
	}
}

// Resume accepts again.
func (d *Doors) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused == nil {
		return
	}
	for _, o := range d.open {
		setDeadline(o.l, time.Time{})
	}
	close(d.paused)
	d.paused = nil
}

// Leave closes the doors to newcomers; who has come in already is let in. Close follows
// when that is to end too.
func (d *Doors) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.open {
		o.l.Close()
	}
	d.open = nil
	if d.paused != nil {
		close(d.paused)
		d.paused = nil
	}
}

// await waits while accepting pauses.
func (d *Doors) await() {
	d.mu.Lock()
	paused := d.paused
	d.mu.Unlock()
	if paused == nil {
		return
	}
	select {
	case <-paused:
	case <-d.closed:
	}
}

func setDeadline(l net.Listener, at time.Time) {
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(at)
	}
}
