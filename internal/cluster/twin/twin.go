// Package twin shows what one process publishes to another of this server, of which one
// takes the other's place; see docs/adr/0013.
//
// Each publication that has its publisher here is lent to the other process, which
// borrows it: claims the name, and writes the frames as they are stamped here. So both
// know who is busy, and viewers at either see it. Of a stream that was published before
// the other came, the segments that are cut here go over too.
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

// A Twin is the other process, as far as streams go. Make one with New.
type Twin struct {
	env service.Env

	mu      sync.Mutex
	peer    *link.Conn                   // nil while there is none; guarded by mu
	heir    bool                         // this process is the one that takes over; guarded by mu
	lenders map[*session.Session]*lender // by who publishes; guarded by mu
}

// New returns a twin that is not there yet.
func New(env service.Env) *Twin {
	t := &Twin{env: env, lenders: map[*session.Session]*lender{}}
	env.Desk.Observe(t)
	return t
}

// Meet begins to lend to the process at the other end of c what is published from now
// on. heir says that this process takes that one's place.
func (t *Twin) Meet(c *link.Conn, heir bool) {
	t.mu.Lock()
	t.peer, t.heir = c, heir
	t.mu.Unlock()
	if heir {
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
func (t *Twin) Part() {
	t.mu.Lock()
	t.peer = nil
	all := t.lenders
	t.lenders = map[*session.Session]*lender{}
	t.mu.Unlock()
	for _, l := range all {
		l.cancel(nil)
	}
	if !t.env.Handover.Left() {
		t.env.Handover.KeepMirrors()
	}
}

// LendAll lends all that there is to the other process, and returns when it has it, or
// with the cause of ctx.
func (t *Twin) LendAll(ctx context.Context) error {
	var all []*lender
	lent := map[hub.Key]bool{}
	for s := range t.env.Desk.Publishing() {
		act, ask, st := s.Doing()
		if act != session.Publish || st == nil {
			continue
		}
		if l := t.lend(s, ask); l != nil {
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
// is lent to it.
func (t *Twin) Observe(e session.Event) {
	if e.What != session.Published {
		return
	}
	t.mu.Lock()
	there := t.peer != nil
	t.mu.Unlock()
	if there {
		t.lend(e.Session, e.Ask)
	}
}

// lend lends what a session publishes, with its segments if they are cut here. It
// returns nil if that is done already, or cannot be.
func (t *Twin) lend(s *session.Session, ask session.Ask) *lender {
	st := t.env.Hub.Stream(ask.Key)
	if st == nil {
		return nil
	}
	p := st.Publication()
	if p == nil || p.Lent {
		return nil
	}
	o := opening{Key: ask.Key, StreamID: st.ID, Live: true, Client: s.ID, Protocol: p.By, IP: s.IP, Type: ask.Type, TcURL: s.TcURL, PageURL: s.PageURL, SwfURL: s.SwfURL,
		Name: ask.Name, Said: ask.Said, Internal: s.Internal, Private: p.Private, TLS: s.TLS}
	l := t.newLender(o)
	l.session, l.pub = s, p
	t.mu.Lock()
	if t.lenders[s] != nil && t.lenders[s].pub == p || t.peer == nil {
		t.mu.Unlock()
		return nil
	}
	t.lenders[s] = l
	t.mu.Unlock()
	l.opening.Mirrors = t.env.Handover.LendMirrors(ask.Key, l.piece)
	go l.run()
	return l
}

// lendSegments lends what is kept of a stream that nobody publishes.
func (t *Twin) lendSegments(key hub.Key) *lender {
	l := t.newLender(opening{Key: key})
	l.opening.Mirrors = t.env.Handover.LendMirrors(key, l.piece)
	l.add(item{caught: true})
	l.add(item{end: &end{}})
	go l.run()
	return l
}

// Take takes a connection that the other process has made. It returns false if it is of
// something else.
func (t *Twin) Take(m *link.Message) bool {
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
	t.mu.Lock()
	heir := t.heir
	t.mu.Unlock()
	b := &borrower{twin: t, opening: o, conn: uc, always: heir, log: t.env.Log.With("cid", o.Client)}
	go service.Guard(b.log, func() error { b.run(); return nil })
	return true
}

// dial makes a connection about a stream.
func (t *Twin) dial(o opening) (net.Conn, error) {
	t.mu.Lock()
	peer := t.peer
	t.mu.Unlock()
	if peer == nil {
		return nil, net.ErrClosed
	}
	return peer.Dial(streamTalk, o)
}

// Move asks the clients that can to go to the other process, and returns how many those
// are.
func (t *Twin) Move(m session.Move) (asked int) {
	for s := range t.env.Desk.Sessions() {
		if !s.Move(m) {
			continue
		}
		asked++
		t.mu.Lock()
		l := t.lenders[s]
		t.mu.Unlock()
		if l != nil {
			l.add(item{moved: true})
		}
	}
	return asked
}

// patience is how long a name may stay taken by a publication that has been replaced
// where its publisher is.
const patience = 2 * time.Second
