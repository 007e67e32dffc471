// Package twin shows what one process publishes to another of this server, of which one
// takes the other's place; see docs/adr/0013.
//
// Each publication that has its publisher here is lent to the other process, which
// borrows it: claims the name, and writes the frames as they are stamped here. So both
// know who is busy, and viewers at either see it. Of a stream that was published before
// the other came, the segments that are cut here go over too.
//
// A process that was upgraded while the one before it still serves has one on each side,
// and lends what it borrows of the one to the other.
package twin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"weir/internal/hub"
	link "weir/internal/link/twin"
	"weir/internal/service"
	"weir/internal/session"
)

// A Twin is the other process, or both others, as far as streams go. Make one with New.
type Twin struct {
	env service.Env

	mu    sync.Mutex
	sides [2]side                        // guarded by mu
	loans map[*session.Session]*borrower // by who stands for a publisher; guarded by mu
	// players are those of each stream, here and beyond us; guarded by mu.
	players map[hub.Key]map[*session.Session]bool
}

// A Side says which of two other processes is meant.
type Side int

// The one whose place this process took, and the one that takes its place.
const (
	Elder Side = iota
	Heir
)

// A side is what there is with one of them. It is guarded by Twin.mu.
type side struct {
	peer    *link.Conn                   // nil while there is none
	lenders map[*session.Session]*lender // by who publishes
}

// New returns a twin that is not there yet.
func New(env service.Env) *Twin {
	t := &Twin{env: env, loans: map[*session.Session]*borrower{}, players: map[hub.Key]map[*session.Session]bool{}}
	for i := range t.sides {
		t.sides[i].lenders = map[*session.Session]*lender{}
	}
	env.Desk.Observe(t)
	return t
}

// Meet begins to lend to the process at the other end of c what is published from now
// on.
func (t *Twin) Meet(c *link.Conn, at Side) {
	t.mu.Lock()
	t.sides[at].peer = c
	t.mu.Unlock()
	if at == Elder {
		t.env.Handover.SetAsk(&http.Transport{MaxIdleConns: 4, IdleConnTimeout: 10 * time.Second, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return c.Dial(askTalk, nil)
		}})
	}
}

// askTalk names the connections by which the heir asks the elder, over HTTP.
const askTalk = "ask"

// asked answers on one of them until it is closed.
func (t *Twin) asked(nc net.Conn) {
	in := &once{conn: nc, closed: make(chan struct{})}
	srv := &http.Server{Handler: t.env.Handover, ReadHeaderTimeout: 10 * time.Second, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed || s == http.StateHijacked {
			in.Close()
		}
	}}
	go srv.Serve(in)
}

// once is a listener with one connection.
type once struct {
	mu     sync.Mutex
	conn   net.Conn // nil once it was accepted; guarded by mu
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (o *once) Accept() (net.Conn, error) {
	o.mu.Lock()
	nc := o.conn
	o.conn = nil
	o.mu.Unlock()
	if nc != nil {
		return nc, nil
	}
	<-o.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (o *once) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

// Addr implements net.Listener; it has none.
func (o *once) Addr() net.Addr { return &net.UnixAddr{} }

// Part ends that.
func (t *Twin) Part(at Side) {
	t.mu.Lock()
	all := t.sides[at].lenders
	t.sides[at] = side{lenders: map[*session.Session]*lender{}}
	t.mu.Unlock()
	for _, l := range all {
		l.cancel(nil)
	}
	if at == Heir && !t.env.Handover.Left() {
		t.env.Handover.KeepMirrors()
	}
}

// LendAll lends all that there is to the process that takes our place, and returns when
// it has it, or with the cause of ctx.
func (t *Twin) LendAll(ctx context.Context) error {
	var all []*lender
	lent := map[hub.Key]bool{}
	for s := range t.env.Desk.Publishing() {
		act, ask, st := s.Doing()
		if act != session.Publish || st == nil {
			continue
		}
		if l := t.lend(s, ask, Heir); l != nil {
			all, lent[ask.Key] = append(all, l), true
		}
	}
	for _, key := range t.env.Handover.MirrorKeys() {
		if !lent[key] {
			all = append(all, t.lendSegments(key))
		}
	}
	for _, l := range all {
		select {
		case <-l.caught:
		case <-l.ctx.Done(): // it has ended meanwhile
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Observe implements session.Observer: what is published while there is another process
// is lent to it, and that process learns whether what it lends is played.
func (t *Twin) Observe(e session.Event) {
	switch e.What {
	case session.Published:
		t.lend(e.Session, e.Ask, Elder)
		t.lend(e.Session, e.Ask, Heir)
	case session.Played, session.Wanted:
		t.plays(e, true)
	case session.Stopped, session.Unwanted:
		t.plays(e, false)
	}
}

// plays notes who plays.
func (t *Twin) plays(e session.Event, now bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := e.Ask.Key
	before := len(t.players[key])
	switch {
	case !now:
		if delete(t.players[key], e.Session); len(t.players[key]) == 0 {
			delete(t.players, key)
		}
	case before == 0:
		t.players[key] = map[*session.Session]bool{e.Session: true}
	default:
		t.players[key][e.Session] = true
	}
	if (before == 0) == (len(t.players[key]) == 0) {
		return
	}
	for _, b := range t.loans {
		if b.opening.Key == key {
			b.nudge()
		}
	}
}

// played reports whether somebody plays a stream.
func (t *Twin) played(key hub.Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.players[key]) > 0
}

// lend lends what a session publishes, to the heir with its segments if they are cut here.
// It returns nil if that is done already, or cannot be.
func (t *Twin) lend(s *session.Session, ask session.Ask, to Side) *lender {
	st := t.env.Hub.Stream(ask.Key)
	if st == nil {
		return nil
	}
	p := st.Publication()
	if p == nil {
		return nil
	}
	o := opening{Key: ask.Key, StreamID: st.ID, Live: true, Client: s.ID, Protocol: p.By, IP: s.IP, Type: ask.Type, TcURL: s.TcURL, PageURL: s.PageURL, SwfURL: s.SwfURL,
		Name: ask.Name, Said: ask.Said, Internal: s.Internal, Private: p.Private, TLS: s.TLS, Wishes: s.Wish != nil}
	l := t.newLender(o, to)
	l.session, l.pub = s, p
	t.mu.Lock()
	at := &t.sides[to]
	// What was borrowed of that side it knows, and better than we do.
	if from := t.loans[s]; at.peer == nil || at.lenders[s] != nil && at.lenders[s].pub == p || p.Lent && (from == nil || from.side == to) {
		t.mu.Unlock()
		return nil
	}
	at.lenders[s] = l
	t.mu.Unlock()
	if to == Heir {
		l.opening.Mirrors = t.env.Handover.LendMirrors(ask.Key, l.piece)
	}
	if s.HasMoved() {
		l.add(item{moved: true})
	}
	go l.run()
	return l
}

// lendSegments lends what is kept of a stream that nobody publishes.
func (t *Twin) lendSegments(key hub.Key) *lender {
	l := t.newLender(opening{Key: key}, Heir)
	l.opening.Mirrors = t.env.Handover.LendMirrors(key, l.piece)
	l.add(item{caught: true})
	l.add(item{end: &end{}})
	go l.run()
	return l
}

// Take takes a connection that a process has made. It returns false if it is of
// something else.
func (t *Twin) Take(m *link.Message, from Side) bool {
	switch m.Name {
	case streamTalk:
	case askTalk:
		if uc, ok := m.Conn(); ok {
			t.asked(uc)
		}
		return true
	default:
		return false
	}
	uc, ok := m.Conn()
	if !ok {
		return true
	}
	var o opening
	if err := json.Unmarshal(m.Data, &o); err != nil {
		uc.Close()
		return true
	}
	b := &borrower{twin: t, side: from, opening: o, conn: uc, wake: make(chan struct{}, 1), log: t.env.Log.With("cid", o.Client)}
	go service.Guard(b.log, func() error { b.run(); return nil })
	return true
}

// dial makes a connection about a stream.
func (t *Twin) dial(o opening, to Side) (net.Conn, error) {
	t.mu.Lock()
	peer := t.sides[to].peer
	t.mu.Unlock()
	if peer == nil {
		return nil, net.ErrClosed
	}
	return peer.Dial(streamTalk, o)
}

// Move asks the clients that can to go to the process that has taken our place, and
// returns how many those are.
func (t *Twin) Move(m session.Move) (asked int) {
	for s := range t.env.Desk.Sessions() {
		if s.Move(m) {
			asked++
			t.hasMoved(s)
		}
	}
	return asked
}

// hasMoved tells the heir that a publisher was asked to come there.
func (t *Twin) hasMoved(s *session.Session) {
	t.mu.Lock()
	l := t.sides[Heir].lenders[s]
	t.mu.Unlock()
	if l != nil {
		l.add(item{moved: true})
	}
}

// Needed counts the streams that the server has by itself from elsewhere, as edges do, and
// that are played at the process that has taken our place: while there are some, it is too
// early to end.
func (t *Twin) Needed() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.sides[Heir].lenders {
		if l.session.Internal && l.played.Load() {
			n++
		}
	}
	return n
}

// pass has what stands for a publisher be wanted of whom it is borrowed of, since another
// process wants it.
func (t *Twin) pass(s *session.Session) {
	t.mu.Lock()
	b := t.loans[s]
	t.mu.Unlock()
	if b != nil {
		b.nudge()
	}
}

// wanted reports whether one of the other processes wants the frames of what stands for a
// publisher.
func (t *Twin) wanted(s *session.Session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.sides {
		if l := t.sides[i].lenders[s]; l != nil && l.wanted.Load() {
			return true
		}
	}
	return false
}

// patience is how long a name may stay taken by a publication that has been replaced
// where its publisher is.
const patience = 2 * time.Second
