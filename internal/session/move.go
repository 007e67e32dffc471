package session

// A Move asks a client to go on elsewhere, of its own accord: it is still served until
// it leaves.
type Move struct {
	// TcURL is where, as RTMP names it ("rtmp://host/app"), absolute or relative to
	// what the client connected to; empty for the same address, where another server
	// answers by then.
	TcURL string
	// Description tells the reader of the client's log why; may be empty.
	Description string
}

// MoveBy says how the visitor is asked to go on elsewhere; nil, as at the beginning,
// for one that cannot be asked. ask must return at once.
func (s *Session) MoveBy(ask func(Move)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveBy = ask
}

// Move asks the visitor to go on elsewhere, and reports whether it can be asked.
func (s *Session) Move(m Move) bool {
	s.mu.Lock()
	ask := s.moveBy
	if s.closed {
		ask = nil
	}
	s.mu.Unlock()
	if ask == nil {
		return false
	}
	ask(m)
	return true
}

// Move asks every session that which accepts, all if it is nil, to go on elsewhere, and
// returns how many could be asked. Those who cannot stay as they are.
func (d *Desk) Move(m Move, which func(*Session) bool) (asked int) {
	for s := range d.Sessions() {
		if (which == nil || which(s)) && s.Move(m) {
			asked++
		}
	}
	return asked
}
