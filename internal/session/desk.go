// Package session is the front desk: whoever publishes or plays signs in here
// and is signed out here, on every protocol.
//
// A visitor comes ([Desk.Connect]), asks to publish or to play, may leave off
// and ask again ([Session.Leave]), and goes ([Session.Close]). One session is
// one client id and one row in the API, whatever it does one after the other.
// The desk asks the authorizers in order before it lets anybody in, tells the
// observers what happened afterwards, counts bytes, and knows everybody who is
// there, so that rules, callbacks, statistics and kicking need no line of code
// in any protocol.
//
// Nothing here holds a lock while an authorizer thinks: a callback server that
// hangs delays the session that waits for it and no other.
package session

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
)

// An Error is a refusal with the number that SRS has for it.
type Error struct {
	Code int
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Why a visitor is refused or its session ended.
var (
	ErrFull     = &Error{1074, "too many connections"}
	ErrNoVhost  = &Error{2014, "no such vhost, or it is disabled"}
	ErrNoName   = &Error{2051, "stream name is empty"}
	ErrBadName  = &Error{2051, "stream name is not usable"}
	ErrDenied   = &Error{1052, "access denied"}
	ErrRefer    = &Error{2015, "referer check failed and access denied"}
	ErrKicked   = &Error{9001, "kicked by the API"}
	ErrIdle     = &Error{2056, "nobody watches"}
	ErrTimeout  = &Error{1011, "no data in time"}
	ErrShutdown = &Error{1098, "server is stopping"}
	ErrRemoved  = &Error{2014, "vhost was removed"}
	ErrLoop     = &Error{1030, "stream came from this server, in a circle"}
)

// A Moved says that a stream is to be had from another server.
type Moved struct {
	Host string `json:"ip"`
	Port int    `json:"port"`
}

// Addr returns host and port.
func (m *Moved) Addr() string { return net.JoinHostPort(m.Host, strconv.Itoa(m.Port)) }

// Error tells where the stream is.
func (m *Moved) Error() string { return "stream is at " + m.Addr() }

// Code returns the SRS number of err: 0 for nil, that of the innermost [Error],
// 1028 for hub.ErrBusy, else 1007 (a socket's end).
func Code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if errors.Is(err, hub.ErrBusy) {
		return 1028
	}
	return 1007
}

// Act is what a visitor wants to do.
type Act uint8

// The acts.
const (
	Connect Act = iota + 1
	Publish
	Play
)

// String returns "connect", "publish" or "play".
func (a Act) String() string {
	switch a {
	case Connect:
		return "connect"
	case Publish:
		return "publish"
	case Play:
		return "play"
	}
	return "none"
}

// A Visitor says who comes. It does not change while the session lasts.
type Visitor struct {
	// Protocol is the door: "rtmp", "flv", "hls".
	Protocol string
	Remote   netip.AddrPort
	Local    netip.AddrPort
	// IP is the address to report and to judge; empty means Remote's. It differs
	// where a trusted proxy in front told of the real client, and may be set until
	// the session first asks.
	IP  string
	TLS bool
	// Bearer is the token that the visitor's HTTP request has, if any.
	Bearer string
	// PageURL, SwfURL and TcURL may be set until the session first asks.
	PageURL, SwfURL, TcURL string
	// Connects marks protocols with a connect step of their own (RTMP, SRT),
	// to whom the acts Connect and the event Closed apply.
	Connects bool
	// Internal marks what the server does for itself, such as to have a stream from
	// its origin: no rule applies to it, and whoever else publishes the stream takes
	// it over.
	Internal bool
	// Polls marks one who has no connection and asks now and then, wherever the address
	// leads by then.
	Polls bool
	// Via lists the servers that the stream comes through which the visitor
	// publishes, or goes through which it plays, as they name themselves, with commas
	// between. It may be set until the session first asks.
	Via string
	// Look has the protocol look at once whether the visitor is still there, where
	// it reads now and then only; may be nil.
	Look func()
	// Wish has the protocol ask the visitor, who publishes, for a key frame: of the layer
	// of that number, 0 where there is one only. It returns at once; nil if there is no
	// asking.
	Wish func(layer int)
	// Detail returns facts that only the protocol knows, for the API; may be
	// nil.
	Detail func() any
}

// Said is what a visitor said, word for word, as callbacks repeat it.
type Said struct {
	Vhost, App, Stream, Param string
	// TcURL is the one that callbacks report, if it is not the visitor's.
	TcURL string
}

// An Ask says what a visitor wants.
type Ask struct {
	// Key names the stream; the desk replaces the vhost by the configured
	// one that serves it.
	Key  hub.Key
	Said Said
	// Type is SRS's word for the client: "fmle-publish", "rtmp-play".
	Type string
	// Name is what the API calls the stream in the client's row, if it is not
	// Said.Stream: "livestream.flv".
	Name string
	// Private has what it publishes be seen by those of its protocol only.
	Private bool
	// Silent marks visitors of whom callbacks hear nothing (HLS without
	// hls_ctx); rules hold for them all the same.
	Silent bool
}

// AllTracks reports whether a player asks for all tracks of the stream by the parameter
// tracks=all, which is weir's own: players that know of one track of a kind get the first.
func (a *Ask) AllTracks() bool {
	for pair := range strings.FieldsFuncSeq(a.Said.Param, func(r rune) bool { return r == '?' || r == '&' }) {
		if pair == "tracks=all" {
			return true
		}
	}
	return false
}

// A Request is what authorizers judge.
type Request struct {
	Act     Act
	Session *Session
	Ask     Ask
	// StreamID is the stream's id in the API, empty for Connect.
	StreamID string
}

// An Authorizer decides. It returns nil to admit, or an error that says why
// not. It must heed ctx.
type Authorizer interface {
	Authorize(ctx context.Context, r *Request) error
}

// An Undoer is an Authorizer that is told when what it has admitted came to nothing,
// because one after it refused, or the visitor went meanwhile. Undo must return at
// once.
type Undoer interface {
	Undo(r *Request, err error)
}

// An Observer is told what happened, after it happened, in the order in which
// it happened to each session. Observe must return at once.
type Observer interface {
	Observe(e Event)
}

// What is the kind of an event.
type What uint8

// The kinds of event.
const (
	Connected What = iota + 1
	Published
	Unpublished
	Played
	Stopped
	Closed
	Segmented // a segment of HLS was finished; Event.Segment tells which
	Recorded  // a recording was finished; Event.Recording tells which
	Wanted    // what somebody publishes here is played at another process of an upgrade
	Unwanted  // it is not any more
)

// An Event tells what happened to a session.
type Event struct {
	What     What
	Session  *Session
	Ask      Ask
	StreamID string
	// Err is why it ended, for Unpublished, Stopped and Closed.
	Err error
	// Recording is set for Recorded.
	Recording *Recording
	// Segment is set for Segmented.
	Segment *Segment
	// Listed says, for Unpublished and Stopped, that the act had really begun;
	// otherwise it was admitted by the authorizers and failed later.
	Listed bool
}

// A Recording is a finished file, as on_dvr tells of it. The session is the one
// that published it, which may have ended; of a file that was left over from an
// earlier run only its ID, IP and TcURL are known.
type Recording struct {
	// File is a path, as configured.
	File string
	// URL is where object storage has it, empty if it is in none.
	URL string
}

// A Segment is a finished piece of HLS, as on_hls tells of it.
type Segment struct {
	Duration time.Duration
	// File and Playlist are paths, as configured; URL and PlaylistURL are
	// relative to the root of the HTTP server, URL with hls_entry_prefix whole. URI is
	// what the playlist calls the segment.
	File, URL, URI, Playlist, PlaylistURL string
	Seq                                   int64
}

// Preempt says who may take a stream over from its publisher.
type Preempt uint8

// The ways to treat a second publisher.
const (
	PreemptOff Preempt = iota
	PreemptSameIP
	PreemptOn
)

// Rules is what the desk must know of the configuration.
type Rules struct {
	// Vhost returns the configured vhost that serves a name.
	Vhost func(name string) (string, bool)
	// Preempt says how a vhost treats second publishers.
	Preempt func(vhost string) Preempt
	// Max is the greatest number of sessions.
	Max func() int
	// History is for how long it is kept who published and played; nil or 0 keeps
	// nothing.
	History func() time.Duration
	// Reserve, if not nil, takes a place for an act before the authorizers are asked,
	// or refuses it; release is called when the act is over, or refused after all.
	Reserve func(r *Request) (release func(), err error)
	// Trace, if not nil, is told when an act is asked for; done is called with what
	// became of it. The context that it returns goes to the authorizers.
	Trace func(ctx context.Context, r *Request) (traced context.Context, done func(error))
}

// A Desk admits sessions. Make one with New.
type Desk struct {
	// Immutable once sessions come.
	Hub         *hub.Hub
	rules       Rules
	authorizers []Authorizer
	observers   []Observer

	mu         sync.Mutex
	sessions   map[string]*Session  // guarded by mu
	publishers map[hub.Key]*Session // guarded by mu
	totals     map[string]*total    // of streams and vhosts; guarded by mu
	closing    error                // guarded by mu

	tally       tally
	history     history
	connections atomic.Int64 // ever
	in, out     atomic.Int64 // bytes of sessions that ended
}

// New returns a desk for h.
func New(h *hub.Hub, r Rules) *Desk {
	return &Desk{Hub: h, rules: r, history: history{keep: r.History}, sessions: map[string]*Session{}, publishers: map[hub.Key]*Session{}, totals: map[string]*total{}}
}

// Authorize appends to the list of those who are asked, in order.
func (d *Desk) Authorize(a ...Authorizer) { d.authorizers = append(d.authorizers, a...) }

// Observe appends to the list of those who are told.
func (d *Desk) Observe(o ...Observer) { d.observers = append(d.observers, o...) }

// Connect signs a visitor in, who may then ask. The session ends with ctx, by
// Close, or by a kick. The error is ErrFull or ErrShutdown.
func (d *Desk) Connect(ctx context.Context, v Visitor) (*Session, error) {
	if v.IP == "" {
		v.IP = v.Remote.Addr().Unmap().String()
	}
	s := &Session{Visitor: v, desk: d, Began: time.Now()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closing != nil:
		s.cancel(d.closing)
		return nil, d.closing
	case d.rules.Max != nil && len(d.sessions) >= d.rules.Max():
		s.cancel(ErrFull)
		return nil, ErrFull
	}
	for s.ID == "" || d.sessions[s.ID] != nil {
		s.ID = hub.NewID("", 8)
	}
	d.sessions[s.ID] = s
	d.connections.Add(1)
	return s, nil
}

// Sessions iterates over a snapshot of those present, by id.
func (d *Desk) Sessions() iter.Seq[*Session] {
	d.mu.Lock()
	ids := slices.Sorted(maps.Keys(d.sessions))
	all := make([]*Session, len(ids))
	for i, id := range ids {
		all[i] = d.sessions[id]
	}
	d.mu.Unlock()
	return slices.Values(all)
}

// Session returns the session with an id, or nil.
func (d *Desk) Session(id string) *Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[id]
}

// Publisher returns the session that publishes key, or nil.
func (d *Desk) Publisher(key hub.Key) *Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.publishers[key]
}

// Publishing iterates over a snapshot of those who publish.
func (d *Desk) Publishing() iter.Seq[*Session] {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Values(slices.Collect(maps.Values(d.publishers)))
}

// Publishers returns how many sessions publish.
func (d *Desk) Publishers() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.publishers)
}

// Len returns how many sessions there are, and how many there ever were.
func (d *Desk) Len() (present int, ever int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions), d.connections.Load()
}

// Shut refuses newcomers from now on.
func (d *Desk) Shut(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = cause
}

// End kicks every session that which accepts, with a cause.
func (d *Desk) End(cause error, which func(*Session) bool) {
	for s := range d.Sessions() {
		if which == nil || which(s) {
			s.Kick(cause)
		}
	}
}

func (d *Desk) authorize(ctx context.Context, r *Request) error {
	if r.Session.Internal {
		return nil
	}
	for i, a := range d.authorizers {
		if err := a.Authorize(ctx, r); err != nil {
			undo(d.authorizers[:i], r, err)
			return err
		}
		if err := context.Cause(ctx); err != nil {
			undo(d.authorizers[:i+1], r, err)
			return err
		}
	}
	return nil
}

// undo tells those who admitted a request that it came to nothing.
func undo(admitted []Authorizer, r *Request, err error) {
	for _, a := range slices.Backward(admitted) {
		if u, ok := a.(Undoer); ok {
			u.Undo(r, err)
		}
	}
}

// Tell has the observers told of something that happened to a session outside
// of its acts, such as a segment of what it publishes.
func (d *Desk) Tell(e Event) { d.tell(e) }

func (d *Desk) tell(e Event) {
	for _, o := range d.observers {
		o.Observe(e)
	}
}
