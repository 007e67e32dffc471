package session

import (
	"context"
	"time"

	"weir/internal/hub"
)

// Borrow claims a stream for a publisher that is at another process, as which it was
// admitted there: no rule is asked and nobody is told. The session stands for it with
// the id it has there, in no list; a kick ends its context, which who borrowed it passes
// on. It is closed by Close. The error is hub.ErrBusy.
func (d *Desk) Borrow(v Visitor, id string, ask Ask, streamID string) (*Session, *hub.Publication, error) {
	s := &Session{Visitor: v, ID: id, desk: d, Began: time.Now(), borrowed: true}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	p, err := d.Hub.Publish(ask.Key, hub.PublishOptions{Takeover: d.borrowOver(ask.Key, v.Internal), Taken: func() { s.Kick(hub.ErrTaken) }, By: v.Protocol, Private: ask.Private,
		Lent: true, StreamID: streamID})
	if err != nil {
		s.cancel(err)
		return nil, nil, err
	}
	s.ask, s.stream, s.act, s.actBegan, s.publication = ask, p.Stream(), Publish, p.Began, p
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Stream().Publication() == p {
		d.publishers[ask.Key] = s
	}
	return s, p, nil
}

// borrowOver reports whether a publisher elsewhere goes before the one that is here: only
// one of the server's own stands back.
func (d *Desk) borrowOver(key hub.Key, internal bool) bool {
	present := d.Publisher(key)
	return present != nil && present.Internal && !internal
}

// unborrow ends a session of Borrow.
func (s *Session) unborrow(err error) {
	s.desk.forget(s.ask.Key, s)
	s.publication.Close(err)
	s.cancel(err)
}

// Moved notes of a session of Borrow that its client was asked to come here: it may take
// its stream over from itself.
func (s *Session) Moved() { s.moved.Store(true) }

// HasMoved reports whether Moved was called.
func (s *Session) HasMoved() bool { return s.moved.Load() }

// Want tells the observers that a stream of ours is played at another process of this
// server, until end is called.
func (d *Desk) Want(ask Ask, streamID string) (end func()) {
	stand := &Session{Visitor: Visitor{Internal: true}, desk: d, Began: time.Now(), borrowed: true}
	d.tell(Event{What: Wanted, Session: stand, Ask: ask, StreamID: streamID})
	return func() { d.tell(Event{What: Unwanted, Session: stand, Ask: ask, StreamID: streamID}) }
}
