package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Want is what a part of the server asks for: sockets at the addresses of a
// listen directive, whose connections go to it.
type Want struct {
	Part   string // for errors: "rtmp", "http_api"
	Name   string // for the log and the API: "RTMP", "HTTP-API"
	Listen []string
	To     *Entrance
	// Beside says that it may have an address together with one other part: connections
	// that begin with a byte below 8 are for it, as the first byte of a datagram's
	// length is (RFC 4571), which no text and no TLS begins with.
	Beside bool
}

// A Listening is one open door.
type Listening struct {
	Name string `json:"name"` // "RTMP", "HTTP-API", "HTTP-Server"
	URL  string `json:"url"`  // "tcp://0.0.0.0:1935"
}

// Doors are the listening sockets of a server. A change of configuration opens
// and closes some of them while the others go on: a socket whose address stays
// is never closed, also if another part gets it, so no client is refused that
// had not to be.
type Doors struct {
	log *slog.Logger

	mu     sync.Mutex
	open   []*door                 // guarded by mu
	heir   map[string]net.Listener // of another process, by network and address as asked for; guarded by mu
	paused chan struct{}           // closed when accepting goes on; nil unless it pauses; guarded by mu
	closed chan struct{}           // closed, under mu, when all doors are, for good
	wg     sync.WaitGroup
}

// door is one socket.
type door struct {
	at string // network and address as asked for
	l  net.Listener

	want   atomic.Pointer[Want] // whom its connections go to
	beside atomic.Pointer[Want] // who has it together with want, or nil
}

// NewDoors returns doors of which none is open.
func NewDoors(log *slog.Logger) *Doors { return &Doors{log: log, closed: make(chan struct{})} }

// A Move is a change of doors that is prepared: all that is new is bound, and
// nobody is let in by it yet. Either Commit or Rollback follows.
type Move struct {
	doors  *Doors
	next   []*door
	wants  []place // of next, one for each
	bound  []*door // new ones
	gone   []*door // those that close
	closed []*door // of gone, closed already, to make room for bound
}

// place is an address that somebody wants.
type place struct {
	at, network, address string
	want                 *Want
	beside               *Want // nil if it has the address alone
}

func places(wants []Want) ([]place, error) {
	var all []place
	for _, w := range wants {
		for _, s := range w.Listen {
			network, address, err := Address(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.Part, err)
			}
			p := place{at: network + " " + address, network: network, address: address, want: &w}
			shared := false
			for i := range all {
				if o := &all[i]; o.at == p.at {
					if shared = o.share(&w); shared {
						break
					}
					return nil, fmt.Errorf("%s: %w", w.Part, &ListenError{Text: "listen at " + address + ": " + o.want.Part + " listens there too; configure another port", Err: syscall.EADDRINUSE})
				}
			}
			if !shared {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// share has a second part at a place, if one of them can be beside the other.
func (p *place) share(w *Want) bool {
	switch {
	case p.beside != nil || p.want.Beside == w.Beside:
		return false
	case w.Beside:
		p.beside = w
	default:
		p.want, p.beside = w, p.want
	}
	return true
}

// Compare tells what a move from one list of wants to another opens and closes.
func Compare(before, after []Want) (opens, closes []Listening, err error) {
	old, err := places(before)
	if err != nil {
		return nil, nil, err
	}
	next, err := places(after)
	if err != nil {
		return nil, nil, err
	}
	missing := func(ps, in []place) (all []Listening) {
		for _, p := range ps {
			if !slices.ContainsFunc(in, func(o place) bool { return o.at == p.at && o.want.Name == p.want.Name }) {
				all = append(all, Listening{p.want.Name, "tcp://" + p.address})
			}
		}
		return all
	}
	return missing(next, old), missing(old, next), nil
}

// Prepare binds what wants need beyond what is open. If that fails, all is as
// before.
func (d *Doors) Prepare(ctx context.Context, wants []Want) (*Move, error) {
	ps, err := places(wants)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &Move{doors: d}
	for _, o := range d.open {
		if !slices.ContainsFunc(ps, func(p place) bool { return p.at == o.at }) {
			m.gone = append(m.gone, o)
		}
	}
	for _, p := range ps {
		o := d.find(p.at)
		if o == nil {
			if o, err = m.bind(ctx, p); err != nil {
				m.rollback(ctx)
				return nil, fmt.Errorf("%s: %w", p.want.Part, err)
			}
			m.bound = append(m.bound, o)
		}
		m.next, m.wants = append(m.next, o), append(m.wants, p)
	}
	return m, nil
}

func (d *Doors) find(at string) *door {
	if i := slices.IndexFunc(d.open, func(o *door) bool { return o.at == at }); i >= 0 {
		return d.open[i]
	}
	return nil
}

// bind opens a socket. Where one of ours that is to close is in the way, as
// 0.0.0.0:1935 is of 127.0.0.1:1935, that is closed first.
func (m *Move) bind(ctx context.Context, p place) (*door, error) {
	if l := m.doors.heir[p.at]; l != nil {
		delete(m.doors.heir, p.at)
		return &door{at: p.at, l: l}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, p.network, p.address)
	if errors.Is(err, syscall.EADDRINUSE) && m.makeRoom(p) {
		l, err = lc.Listen(ctx, p.network, p.address)
	}
	if err != nil {
		return nil, explain(p.address, err)
	}
	return &door{at: p.at, l: l}, nil
}

func (m *Move) makeRoom(p place) bool {
	_, port, _ := net.SplitHostPort(p.address)
	made := false
	for _, o := range m.gone {
		if _, theirs, _ := net.SplitHostPort(o.l.Addr().String()); theirs == port && !slices.Contains(m.closed, o) {
			o.l.Close()
			m.closed = append(m.closed, o)
			made = true
		}
	}
	return made
}

// Commit lets in by the new doors and closes those that nobody wants any more.
func (m *Move) Commit() {
	d := m.doors
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed() { // the server stops meanwhile
		for _, o := range m.bound {
			o.l.Close()
		}
		return
	}
	d.open = m.next
	for i, o := range m.next {
		o.want.Store(m.wants[i].want)
		o.beside.Store(m.wants[i].beside)
	}
	for _, o := range m.bound {
		d.serve(o)
	}
	for _, o := range m.gone {
		o.l.Close()
	}
}

// Rollback gives back what was bound.
func (m *Move) Rollback() {
	m.doors.mu.Lock()
	defer m.doors.mu.Unlock()
	m.rollback(context.Background())
}

// rollback is Rollback. The doors' mutex is held.
func (m *Move) rollback(ctx context.Context) {
	for _, o := range m.bound {
		o.l.Close()
	}
	for _, o := range m.closed {
		if m.doors.isClosed() {
			return
		}
		l, err := new(net.ListenConfig).Listen(context.WithoutCancel(ctx), o.l.Addr().Network(), o.l.Addr().String())
		if err != nil {
			m.doors.log.Error("a door that was closed for a moment cannot be opened again", "listen", o.l.Addr().String(), "err", err)
			m.doors.open = slices.DeleteFunc(m.doors.open, func(x *door) bool { return x == o })
			continue
		}
		n := &door{at: o.at, l: l}
		n.want.Store(o.want.Load())
		n.beside.Store(o.beside.Load())
		m.doors.open[slices.Index(m.doors.open, o)] = n
		m.doors.serve(n)
	}
}

// serve lets in by a door until it is closed. d.mu is held.
func (d *Doors) serve(o *door) {
	d.wg.Go(func() {
		p := Patient{Listener: o.l, Log: d.log}
		for {
			nc, err := p.Accept()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				d.await()
				continue
			}
			if err != nil {
				return
			}
			if b := o.beside.Load(); b != nil {
				d.wg.Go(func() { d.sort(nc, o.want.Load(), b) })
				continue
			}
			o.want.Load().To.pass(nc, d.closed)
		}
	})
}

// sortTime is how long a connection may say nothing before it is taken for one of the
// part that is not beside, which has bounds of its own.
const sortTime = 10 * time.Second

// sort lets in a connection by what it begins with.
func (d *Doors) sort(nc net.Conn, to, beside *Want) {
	nc.SetReadDeadline(time.Now().Add(sortTime))
	done := make(chan struct{})
	d.wg.Go(func() {
		select {
		case <-d.closed:
			nc.SetReadDeadline(time.Unix(1, 0))
		case <-done:
		}
	})
	b, nc, err := peek(nc)
	close(done)
	nc.SetReadDeadline(time.Time{})
	if err == nil && b < 8 {
		to = beside
	}
	to.To.pass(nc, d.closed)
}

// Listening lists the open doors.
func (d *Doors) Listening() []Listening {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Listening, 0, len(d.open))
	for _, o := range d.open {
		all = append(all, o.listen())
		if b := o.beside.Load(); b != nil {
			all = append(all, Listening{b.Name, "tcp://" + o.l.Addr().String()})
		}
	}
	return all
}

func (o *door) listen() Listening {
	return Listening{o.want.Load().Name, "tcp://" + o.l.Addr().String()}
}

// Close closes all doors for good, and returns when nobody comes in any more.
func (d *Doors) Close() {
	d.mu.Lock()
	if !d.isClosed() {
		close(d.closed)
	}
	for _, o := range d.open {
		o.l.Close()
	}
	d.open = nil
	d.mu.Unlock()
	d.wg.Wait()
}

// isClosed tells whether Close was called. d.mu is held.
func (d *Doors) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

// An Entrance is where a part accepts whom its doors let in. It is a
// net.Listener without an address of its own. Make one with NewEntrance.
type Entrance struct {
	conns  chan net.Conn // unbuffered; never closed
	closed chan struct{}
	once   sync.Once
}

// NewEntrance returns an open entrance.
func NewEntrance() *Entrance {
	return &Entrance{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// pass hands a connection to who accepts, or closes it.
func (e *Entrance) pass(nc net.Conn, closed <-chan struct{}) {
	select {
	case e.conns <- nc:
	case <-e.closed:
		nc.Close()
	case <-closed:
		nc.Close()
	}
}

// Return lets a connection in once more that Accept gave out before. It waits
// until it is accepted, and closes it if nobody accepts any more.
func (e *Entrance) Return(nc net.Conn) { e.pass(nc, nil) }

// Accept implements net.Listener; the only error is net.ErrClosed.
func (e *Entrance) Accept() (net.Conn, error) {
	select {
	case nc := <-e.conns:
		return nc, nil
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e *Entrance) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// Addr implements net.Listener; it has none.
func (e *Entrance) Addr() net.Addr { return &net.TCPAddr{} }
