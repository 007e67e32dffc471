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

	seen atomic.Int64 // when it last asked, in Unix nanoseconds
	dead bool         // has been ended; kept for a while so that it stays ended. Guarded by Pollers.mu
}

// Get returns the viewer with an id, if it is known, and notes that it asked. The
// error is ErrEOF if it was ended.
func (p *Pollers) Get(id string) (*Poller, error) {
	p.mu.Lock()
	v := p.all[id]
	dead := v != nil && v.dead
	p.mu.Unlock()
	if v == nil {
		return nil, nil
	}
	if dead || v.Session.Context().Err() != nil {
		return nil, ErrEOF
	}
	v.seen.Store(time.Now().UnixNano())
	return v, nil
}

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
	v = &Poller{Session: sess, quiet: max(quiet, time.Second)}
	v.seen.Store(time.Now().UnixNano())
	if id == "" {
		id = sess.ID
	}
	p.mu.Lock()
	if p.all == nil {
		p.all = map[string]*Poller{}
	}
	other := p.all[id]
	if other == nil {
		p.all[id] = v
	}
	p.mu.Unlock()
	if other != nil { // two first requests at once
		sess.Close(nil)
		return other, false, nil
	}
	return v, true, nil
}

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
