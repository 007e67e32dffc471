package session

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
)

// A Session is one visitor. Its acts (Publish, Play, Watch, Leave, Close) are
// called by the goroutine that serves the visitor; everything else may be
// called by anybody.
type Session struct {
	// Immutable.
	Visitor
	ID    string // 8 characters, SRS's client id
	Began time.Time
	desk  *Desk
	// borrowed says that it stands for one of another process; see [Desk.Borrow].
	borrowed bool
	ctx      context.Context
	cancel   context.CancelCauseFunc

	in, out         atomic.Int64
	moved           atomic.Bool  // of one at another process: it was asked to come here
	dropped         atomic.Int64 // frames that it lost by being slow, in acts that ended and in loops
	baseIn, baseOut atomic.Int64 // of acts that ended

	mu          sync.Mutex
	act         Act           // 0 while it does nothing; guarded by mu
	actBegan    time.Time     // guarded by mu
	before      *hub.Counters // of the stream, when it was published; guarded by mu
	ask         Ask           // guarded by mu
	stream      *hub.Stream
	meter       meter      // guarded by mu
	moveBy      func(Move) // guarded by mu
	connected   bool
	closed      bool
	release     func() // of the hold on the stream
	publication *hub.Publication
	reader      *hub.Subscription
}

// Context is done when the session is over; its cause says why.
func (s *Session) Context() context.Context { return s.ctx }

// Kick ends the session with a cause; the goroutine that serves it notices.
func (s *Session) Kick(cause error) { s.cancel(cause) }

// Doing returns what the session does now; act is 0 if it does nothing.
func (s *Session) Doing() (act Act, ask Ask, stream *hub.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.act, s.ask, s.stream
}

// Bytes returns how many bytes came from the visitor and went to it.
func (s *Session) Bytes() (in, out int64) { return s.in.Load(), s.out.Load() }

// since returns the bytes of the present act.
func (s *Session) since() (in, out int64) {
	return s.in.Load() - s.baseIn.Load(), s.out.Load() - s.baseOut.Load()
}

// Count adds bytes that came from the visitor and went to it.
func (s *Session) Count(in, out int) {
	if in != 0 {
		s.in.Add(int64(in))
	}
	if out != 0 {
		s.out.Add(int64(out))
	}
}

// Drop adds frames that the visitor lost by being slow.
func (s *Session) Drop(frames int) { s.dropped.Add(int64(frames)) }

// Dropped returns how many frames the visitor has lost by being slow.
func (s *Session) Dropped() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped.Load()
	if s.reader != nil {
		lost, _ := s.reader.Dropped()
		n += int64(lost)
	}
	return n
}

// Kbps returns the mean rates of the last 30 s in kbit/s, 0 before that.
func (s *Session) Kbps() (in, out int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meter.rates()
}

// Publish claims the stream that ask names, after the authorizers have
// admitted it.
func (s *Session) Publish(ctx context.Context, ask Ask) (*hub.Publication, error) {
	if err := s.admit(ctx, Publish, &ask); err != nil {
		return nil, err
	}
	d := s.desk
	taken := func() { s.Kick(hub.ErrTaken) }
	p, err := d.claim(ctx, s, ask, taken)
	if err != nil {
		d.tally.refuse(Publish, err)
		s.undo(Unpublished, err)
		return nil, err
	}
	s.mu.Lock()
	s.publication = p
	s.act, s.actBegan = Publish, p.Began
	counters := p.Stream().Counters()
	s.before = &counters
	s.mu.Unlock()
	d.mu.Lock()
	// Another may have taken the stream over meanwhile and be listed already.
	if p.Stream().Publication() == p {
		d.publishers[ask.Key] = s
	}
	d.mu.Unlock()
	s.recheck(ask)
	d.tell(Event{What: Published, Session: s, Ask: ask, StreamID: s.stream.ID})
	return p, nil
}

const (
	// partingTime is how long a stream that is busy is waited for: who lost its
	// connection and comes back at once may be here before we have read the end of
	// the old one.
	partingTime = 100 * time.Millisecond
	partingStep = 10 * time.Millisecond
)

// claim claims for s what it asks for.
func (d *Desk) claim(ctx context.Context, s *Session, ask Ask, taken func()) (*hub.Publication, error) {
	key := ask.Key
	for waited := time.Duration(0); ; waited += partingStep {
		p, err := d.Hub.Publish(key, hub.PublishOptions{Takeover: d.mayPreempt(s, key), Taken: taken, By: s.Protocol, Private: ask.Private})
		if !errors.Is(err, hub.ErrBusy) || waited >= partingTime || context.Cause(ctx) != nil {
			return p, err
		}
		if present := d.Publisher(key); present != nil && present.Look != nil {
			present.Look()
		}
		time.Sleep(partingStep)
	}
}

// Play joins the stream that ask names, after the authorizers have admitted
// it. The stream need not be live.
func (s *Session) Play(ctx context.Context, ask Ask, o hub.Options) (*hub.Subscription, error) {
	if err := s.Watch(ctx, ask); err != nil {
		return nil, err
	}
	_, ask, _ = s.Doing()
	reader := s.desk.Hub.Subscribe(ask.Key, o)
	s.mu.Lock()
	s.reader = reader
	s.mu.Unlock()
	return reader, nil
}

// Watch is Play for visitors who fetch what others read from the stream, such
// as the segments of HLS: it signs them in without a place in the ring.
func (s *Session) Watch(ctx context.Context, ask Ask) error {
	if err := s.admit(ctx, Play, &ask); err != nil {
		return err
	}
	s.mu.Lock()
	s.act, s.actBegan = Play, time.Now()
	s.mu.Unlock()
	s.recheck(ask)
	s.desk.tell(Event{What: Played, Session: s, Ask: ask, StreamID: s.stream.ID})
	return nil
}

// admit resolves the vhost and asks the authorizers. When it returns nil the
// session holds the stream.
func (s *Session) admit(ctx context.Context, act Act, ask *Ask) (err error) {
	d := s.desk
	if d.rules.Trace != nil && !s.Internal {
		var done func(error)
		ctx, done = d.rules.Trace(ctx, &Request{Act: act, Session: s, Ask: *ask})
		defer func() { done(err) }()
	}
	vhost, ok := d.rules.Vhost(ask.Key.Vhost)
	if !ok {
		return ErrNoVhost
	}
	ask.Key.Vhost = vhost
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	if s.Connects {
		if err := d.authorize(ctx, &Request{Act: Connect, Session: s, Ask: *ask}); err != nil {
			d.tally.refuse(Connect, err)
			return err
		}
		s.connected = true
		d.tell(Event{What: Connected, Session: s, Ask: *ask})
	}
	if ask.Key.Stream == "" {
		return ErrNoName
	}
	if !usable(ask.Key) {
		return ErrBadName
	}
	stream, release := d.Hub.Hold(ask.Key)
	admitted := false
	defer func() { // also when an authorizer panics
		if !admitted {
			release()
		}
	}()
	if d.rules.Reserve != nil && !s.Internal {
		unreserve, err := d.rules.Reserve(&Request{Act: act, Session: s, Ask: *ask, StreamID: stream.ID})
		if err != nil {
			d.tally.refuse(act, err)
			return err
		}
		free := release
		release = func() { unreserve(); free() }
	}
	if err := d.authorize(ctx, &Request{Act: act, Session: s, Ask: *ask, StreamID: stream.ID}); err != nil {
		d.tally.refuse(act, err)
		return err
	}
	admitted = true
	s.mu.Lock()
	s.ask, s.stream, s.release = *ask, stream, release
	s.mu.Unlock()
	return nil
}

// recheck ends a session whose vhost was removed while it was being admitted:
// those who are listed when a vhost goes are ended by who removes it.
func (s *Session) recheck(ask Ask) {
	if vhost, ok := s.desk.rules.Vhost(ask.Key.Vhost); !ok || vhost != ask.Key.Vhost {
		s.Kick(ErrRemoved)
	}
}

// usable reports whether names may become parts of paths: no element of them is
// "." or "..", none is over 255 bytes, and none holds what cannot be printed.
func usable(k hub.Key) bool {
	for part := range strings.SplitSeq(k.App+"/"+k.Stream, "/") {
		if part == "." || part == ".." || len(part) > 255 || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
			return false
		}
	}
	return true
}

// undo takes back what was admitted but could not be done.
func (s *Session) undo(what What, err error) {
	ask, stream, release := s.ask, s.stream, s.release
	s.mu.Lock()
	s.stream, s.release = nil, nil
	s.mu.Unlock()
	s.desk.tell(Event{What: what, Session: s, Ask: ask, StreamID: stream.ID, Err: err})
	release()
}

// Leave ends the present act, with the reason; the session may ask again. It
// does nothing if there is none.
func (s *Session) Leave(err error) {
	s.mu.Lock()
	act, ask, stream, release := s.act, s.ask, s.stream, s.release
	s.act, s.stream, s.release = 0, nil, nil
	publication, reader := s.publication, s.reader
	s.publication, s.reader = nil, nil
	began, before := s.actBegan, s.before
	s.mu.Unlock()
	if act == 0 {
		return
	}
	if reader != nil {
		lost, _ := reader.Dropped()
		s.Drop(int(lost))
	}
	s.desk.remember(s, act, ask, stream, began, before, err)
	what := Stopped
	if act == Publish {
		what = Unpublished
		s.desk.forget(ask.Key, s)
		publication.Close(err)
	}
	if reader != nil {
		reader.Close()
	}
	s.desk.tell(Event{What: what, Session: s, Ask: ask, StreamID: stream.ID, Err: err, Listed: true})
	s.desk.settle(s, stream.ID, ask.Key.Vhost)
	release()
}

// Close signs the visitor out; err is the reason, nil for a normal end. Later
// calls do nothing.
func (s *Session) Close(err error) {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	if s.borrowed {
		s.unborrow(err)
		return
	}
	s.Leave(err)
	s.cancel(err)
	if s.connected {
		s.desk.tell(Event{What: Closed, Session: s, Ask: s.ask, Err: err})
	}
	s.desk.tally.end(err)
	// Last, so that who waits for the desk to be empty knows that all was told.
	s.desk.remove(s)
}

// Conn returns nc with its bytes counted for the session.
func (s *Session) Conn(nc net.Conn) net.Conn { return &conn{nc, s} }

type conn struct {
	net.Conn
	s *Session
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.in.Add(int64(n))
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.s.out.Add(int64(n))
	return n, err
}

// WriteBuffers sends several buffers in one call where the connection below
// can.
func (c *conn) WriteBuffers(b *net.Buffers) (int64, error) {
	n, err := b.WriteTo(c.Conn)
	c.s.out.Add(n)
	return n, err
}

// Dismount tells the connection below that its reader may have to wait for something
// else; see Ride of package link.
func (c *conn) Dismount() {
	if d, ok := c.Conn.(interface{ Dismount() }); ok {
		d.Dismount()
	}
}

func (d *Desk) mayPreempt(s *Session, key hub.Key) bool {
	if present := d.Publisher(key); present != nil && !s.Internal && (present.Internal || present.moved.Load() && present.IP == s.IP) {
		return true
	}
	if d.rules.Preempt == nil || s.Internal {
		return false
	}
	switch d.rules.Preempt(key.Vhost) {
	case PreemptOn:
		return true
	case PreemptSameIP:
		present := d.Publisher(key)
		return present != nil && present.IP == s.IP
	}
	return false
}

func (d *Desk) forget(key hub.Key, s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.publishers[key] == s {
		delete(d.publishers, key)
	}
}

func (d *Desk) remove(s *Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s.ID)
}
