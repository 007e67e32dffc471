package shelf

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/service"
	"weir/internal/session"
)

// ErrEOF answers a viewer that was ended.
var ErrEOF = errors.New("HLS stream is EOF")

// Pollers are viewers that fetch something now and then, by an id. The zero value
// is empty.
type Pollers struct {
	mu  sync.Mutex
	all map[string]*Poller // guarded by mu
}

// A Poller is one of them.
type Poller struct {
	// Immutable.
	Session *session.Session
	quiet   time.Duration // how long it may ask for nothing
	among   *Pollers

	seen atomic.Int64 // when it last asked, in Unix nanoseconds
	home atomic.Int64 // when it last asked for the stream that it is signed in for, as far as that was noted
	dead bool         // has been ended; kept for a while so that it stays ended. Guarded by Pollers.mu
}

// Get returns the viewer with an id, if it is known, and notes that it asked. The
// error is ErrEOF if it was ended.
func (p *Pollers) Get(id string) (*Poller, error) {
	p.mu.Lock()
	v := p.all[id]
	ended := v != nil && v.ended()
	p.mu.Unlock()
	if v == nil {
		return nil, nil
	}
	if ended {
		return nil, ErrEOF
	}
	v.seen.Store(time.Now().UnixNano())
	return v, nil
}

// ended reports whether a viewer was ended. It is called under Pollers.mu.
func (v *Poller) ended() bool { return v.dead || v.Session.Context().Err() != nil }

// Has reports whether a viewer is known by an id.
func (p *Pollers) Has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[id] != nil
}

// Sign returns the viewer with an id, signed in by desk if it is new; with an
// empty id it is new, and the session's id becomes its own. An id that is not
// known, as after a restart, is kept. The viewer is signed out when it has asked
// for nothing for quiet.
func (p *Pollers) Sign(desk *session.Desk, r *http.Request, protocol, id string, ask session.Ask, quiet time.Duration) (v *Poller, fresh bool, err error) {
	if id != "" {
		if v, err := p.Get(id); v != nil || err != nil {
			return v, false, err
		}
	}
	return p.enter(desk, r, protocol, id, nil, ask, quiet)
}

// Move is Sign for a viewer who has gone over to another stream than the one it is signed
// in for: it is signed in for that under its id, and only then out of the first.
func (v *Poller) Move(desk *session.Desk, r *http.Request, protocol, id string, ask session.Ask, quiet time.Duration) (moved *Poller, fresh bool, err error) {
	if moved, fresh, err = v.among.enter(desk, r, protocol, id, v, ask, quiet); fresh {
		v.Session.Close(nil)
	}
	return moved, fresh, err
}

// enter signs a viewer in by an id that was old's, or nobody's if that is nil.
func (p *Pollers) enter(desk *session.Desk, r *http.Request, protocol, id string, old *Poller, ask session.Ask, quiet time.Duration) (v *Poller, fresh bool, err error) {
	// Detached on purpose: the session outlives the request.
	who := service.Visitor(r, protocol, ask.Key.App)
	who.Polls = true
	sess, err := desk.Connect(context.WithoutCancel(r.Context()), who)
	if err != nil {
		return nil, false, err
	}
	if err := sess.Watch(r.Context(), ask); err != nil {
		sess.Close(err)
		return nil, false, err
	}
	v = &Poller{Session: sess, quiet: max(quiet, time.Second), among: p}
	v.seen.Store(time.Now().UnixNano())
	v.Stay()
	if id == "" {
		id = sess.ID
	}
	p.mu.Lock()
	if p.all == nil {
		p.all = map[string]*Poller{}
	}
	other := p.all[id]
	if other == nil || other == old && !old.ended() {
		p.all[id] = v
		other = nil
	}
	p.mu.Unlock()
	switch {
	case other == nil:
		return v, true, nil
	case other == old: // it was kicked meanwhile
		err = ErrEOF
	}
	sess.Close(err) // or two first requests came at once
	return other, false, err
}

// Stay notes that the viewer asks for the stream that it is signed in for.
func (v *Poller) Stay() { v.home.Store(time.Now().UnixNano()) }

// Away returns how long ago that was.
func (v *Poller) Away() time.Duration { return time.Since(time.Unix(0, v.home.Load())) }

// Expire signs out who has asked for nothing for long or was kicked. The zero
// time signs out everybody.
func (p *Pollers) Expire(now time.Time) {
	type goner struct {
		v   *Poller
		err error
	}
	var gone []goner
	p.mu.Lock()
	for id, v := range p.all {
		idle := now.Sub(time.Unix(0, v.seen.Load()))
		kicked := context.Cause(v.Session.Context())
		switch {
		case now.IsZero():
			gone = append(gone, goner{v, session.ErrShutdown})
			delete(p.all, id)
		case v.dead:
			if idle > 2*v.quiet {
				delete(p.all, id)
			}
		case kicked != nil:
			v.dead = true
			gone = append(gone, goner{v, kicked})
		case idle > v.quiet:
			delete(p.all, id)
			gone = append(gone, goner{v, nil})
		}
	}
	p.mu.Unlock()
	for _, g := range gone {
		g.v.Session.Close(g.err)
	}
}

// Refuse answers in words.
func Refuse(w http.ResponseWriter, err error) {
	status, text := http.StatusForbidden, ""
	switch {
	case errors.Is(err, ErrEOF):
		status, text = http.StatusNotFound, err.Error()
	case errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		status = http.StatusServiceUnavailable
	case errors.Is(err, session.ErrNoVhost), errors.Is(err, session.ErrNoName):
		status = http.StatusNotFound
	}
	if text == "" {
		text = http.StatusText(status)
	}
	http.Error(w, text, status)
}
