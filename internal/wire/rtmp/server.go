package rtmp

import (
	"fmt"
	"time"

	"weir/internal/format/amf"
)

// A Flow is the dialect in which a client publishes.
type Flow uint8

// The flows. An FMLE encoder (ffmpeg, OBS) sends releaseStream and FCPublish
// before createStream, a Haivision encoder FCPublish after it, Flash neither.
const (
	Flash Flow = iota
	FMLE
	Haivision
)

// String returns the name of the flow as SRS's API and log have it:
// "fmle-publish".
func (f Flow) String() string {
	switch f {
	case FMLE:
		return "fmle-publish"
	case Haivision:
		return "haivision-publish"
	}
	return "flash-publish"
}

// ConnectInfo is what a client says in connect (7.2.1.1).
type ConnectInfo struct {
	TcURL, App, PageURL, SwfURL, FlashVer string
	// ObjectEncoding is 0 or 3; values are AMF0 either way.
	ObjectEncoding float64
	Capabilities   Capabilities
	// Object is the command object, and Args the second one, which edges and
	// forwarders of SRS send; nil if there is none.
	Object, Args amf.Object
	// Transaction is what the client wrote; it should be 1.
	Transaction float64
}

// A Wish is what a client wants on its stream.
type Wish struct {
	// Publish is false for play.
	Publish bool
	// Name is the stream with its parameters, as written; it may be empty.
	Name string

	// Of publish.
	Flow Flow
	Type string // "live", "record" or "append"

	// Of play. Start is in the client's units and means little for a live
	// stream. Duration is 0 for no end.
	Start    float64
	Duration time.Duration
	Reset    bool
}

// An EventKind says what the message that was handled means to the caller.
type EventKind uint8

// The kinds of event.
const (
	// None: the message was answered, or was nothing.
	None EventKind = iota
	// Connect: the client connects. Event.Connect is set; answer with
	// [Server.Accept] or [Server.Reject].
	Connect
	// Wished: the client wants to publish or play. Event.Wish is set; answer
	// with StartPublish, StartPlay or Refuse.
	Wished
	// Media: a publisher's audio, video or data, which is the message itself.
	Media
	// Ended: the client ended its publication or playing. It may wish again.
	Ended
	// Paused and Resumed: a player's pause. It was answered.
	Paused
	Resumed
	// AudioOn to VideoOff: a player's receiveAudio and receiveVideo.
	AudioOn
	AudioOff
	VideoOn
	VideoOff
	// Buffer: a player's Event.Buffer has changed.
	Buffer
	// Pong: the answer to [Server.Ping], with Event.Time.
	Pong
)

// An Event is what a message means to the caller.
type Event struct {
	Kind    EventKind
	Connect *ConnectInfo
	Wish    *Wish
	Buffer  time.Duration
	Time    uint32
}

type serverState uint8

const (
	connecting serverState = iota
	connected              // connect was heard and not yet answered
	identifying
	wished // publish or play was heard and not yet answered
	publishing
	playing
)

// maxIdle is how many messages a client may send before it connects, and then
// before it says what it wants, in one stretch.
const maxIdle = 1000

// A Server is the server's side of a conversation after the handshake, as a
// state machine: messages go in through Handle, events come out of it, and what
// is to be sent gathers until Take. It decides nothing of policy.
//
// A Server is for one goroutine at a time.
type Server struct {
	state   serverState
	connect ConnectInfo
	wish    Wish
	acks    Acks
	idle    int

	// What was heard since the last wish.
	created, released    bool
	fcEarly, fcLate      bool
	name                 string   // of releaseStream or FCPublish
	pending              *Command // ended a publication by asking for the next thing
	chunkSize            int
	out                  []byte
	body                 []byte
	acknowledgedByClient uint32
}

// NewServer returns a Server that waits for connect.
func NewServer() *Server { return &Server{chunkSize: DefaultChunkSize} }

// ChunkSize returns the size of chunks that we send.
func (s *Server) ChunkSize() int { return s.chunkSize }

// Acknowledged returns the client's last acknowledgement, in bytes modulo 2^32.
func (s *Server) Acknowledged() uint32 { return s.acknowledgedByClient }

// Pending returns how many bytes wait to be taken.
func (s *Server) Pending() int { return len(s.out) }

// Take appends what is to be sent to dst.
func (s *Server) Take(dst []byte) []byte {
	dst = append(dst, s.out...)
	s.out = s.out[:0]
	return dst
}

// Shrink gives back the memory that nothing is in, for a client that is not expected to
// ask for much more.
func (s *Server) Shrink() {
	if len(s.out) == 0 {
		s.out = nil
	}
	s.body = nil
}

// Received acknowledges what came in, if it is time to. n counts all bytes since
// the connection began, handshake included.
func (s *Server) Received(n uint64) {
	if seq, due := s.acks.Due(n); due {
		s.out = AppendAcknowledgement(s.out, seq)
	}
}

// Next returns a wish that was made by the very command that ended what was
// before it. It is to be asked after each Ended.
func (s *Server) Next() (Event, error) {
	c := s.pending
	if c == nil {
		return Event{}, nil
	}
	s.pending = nil
	return s.identify(c)
}

// Handle takes the next message. Aggregates are to be taken apart before, with
// [Aggregate].
func (s *Server) Handle(m Message) (Event, error) {
	if s.state == connecting || s.state == identifying {
		if s.idle++; s.idle > maxIdle {
			return Event{}, fmt.Errorf("%w: %d messages so far", ErrIdentify, maxIdle)
		}
	}
	switch m.Type {
	case TypeWindowAckSize:
		v, err := ParseUint32(m.Payload)
		if err == nil && v > 0 {
			s.acks.Window = v
		}
		return Event{}, err
	case TypeAcknowledgement:
		v, err := ParseUint32(m.Payload)
		s.acknowledgedByClient = v
		return Event{}, err
	case TypeUserControl:
		return s.userControl(m.Payload)
	case TypeAudio, TypeVideo, TypeDataAMF0, TypeDataAMF3:
		if s.state == publishing {
			return Event{Kind: Media}, nil
		}
	case TypeCommandAMF0, TypeCommandAMF3:
		c, err := ParseCommand(m)
		if err != nil {
			return Event{}, err
		}
		return s.call(&c)
	}
	return Event{}, nil
}

func (s *Server) userControl(b []byte) (Event, error) {
	u, err := ParseUserControl(b)
	if err != nil {
		return Event{}, err
	}
	switch u.Type {
	case PingRequest:
		s.out = AppendUserControl(s.out, UserControl{Type: PingResponse, Value: u.Value})
	case PingResponse:
		return Event{Kind: Pong, Time: u.Value}, nil
	case SetBufferLength:
		return Event{Kind: Buffer, Buffer: time.Duration(u.Buffer) * time.Millisecond}, nil
	}
	return Event{}, nil
}

// call handles a command in the state that we are in.
func (s *Server) call(c *Command) (Event, error) {
	if c.Name == resultCommand || c.Name == errorCommand || c.Name == onStatusCommand {
		return Event{}, nil // an answer; answering it again could go on for ever
	}
	switch s.state {
	case connecting:
		if c.Name != connectCommand {
			return Event{}, nil
		}
		return s.connectCall(c)
	case identifying:
		return s.identify(c)
	case publishing:
		return s.whilePublishing(c)
	case playing:
		return s.whilePlaying(c)
	}
	return Event{}, nil
}

func (s *Server) connectCall(c *Command) (Event, error) {
	o, _ := amf.Properties(c.Object)
	info := ConnectInfo{
		TcURL: o.Text("tcUrl"), App: o.Text("app"), PageURL: o.Text("pageUrl"),
		SwfURL: o.Text("swfUrl"), FlashVer: o.Text("flashVer"),
		Capabilities: ParseCapabilities(o), Object: o, Transaction: c.Transaction,
	}
	info.ObjectEncoding, _ = o.Number("objectEncoding")
	if len(c.Args) > 0 {
		info.Args, _ = amf.Properties(c.Args[0])
	}
	s.connect = info
	s.connect.Object, s.connect.Args = nil, nil // what else was said is kept by who needs it
	if info.TcURL == "" {
		return Event{}, ErrConnect
	}
	s.state, s.idle = connected, 0
	return Event{Kind: Connect, Connect: &info}, nil
}

// identify handles a command of a client that neither publishes nor plays.
func (s *Server) identify(c *Command) (Event, error) {
	switch c.Name {
	case "createStream":
		s.created = true
		s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, StreamID)
	case "releaseStream", "FCPublish", "FCUnpublish":
		if name := c.Text(0); name != "" && c.Name != "FCUnpublish" {
			s.name = name
		}
		switch {
		case c.Name == "releaseStream":
			s.released = true
		case c.Name == "FCPublish" && s.created:
			s.fcLate = true
		case c.Name == "FCPublish":
			s.fcEarly = true
		}
		s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, amf.Undefined{})
	case "publish":
		w := Wish{Publish: true, Name: c.Text(0), Type: c.Text(1)}
		if w.Name == "" {
			w.Name = s.name
		}
		switch {
		case s.released || s.fcEarly:
			w.Flow = FMLE
		case s.fcLate:
			w.Flow = Haivision
		}
		return s.want(w)
	case "play":
		w := Wish{Name: c.Text(0), Start: c.Number(1, -2), Reset: c.Bool(3, true)}
		// The text has seconds; SRS, and so its clients, milliseconds.
		if ms := c.Number(2, -1); ms > 0 && ms < float64(1<<53) {
			w.Duration = time.Duration(min(ms, 1e12) * float64(time.Millisecond))
		}
		return s.want(w)
	case "closeStream":
		// Of the stream that has ended already.
	default:
		s.answerNull(c)
	}
	return Event{}, nil
}

func (s *Server) want(w Wish) (Event, error) {
	s.created, s.released, s.fcEarly, s.fcLate, s.name = false, false, false, false, ""
	s.state, s.wish, s.idle = wished, w, 0
	return Event{Kind: Wished, Wish: &w}, nil
}

// answerNull answers a call that we know nothing of, as SRS does. Many clients
// wait for the answer to _checkbw, getStreamLength or FCSubscribe.
func (s *Server) answerNull(c *Command) {
	s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, nil)
}

func (s *Server) end() (Event, error) {
	s.state, s.idle = identifying, 0
	return Event{Kind: Ended}, nil
}

func (s *Server) whilePublishing(c *Command) (Event, error) {
	switch c.Name {
	case "FCUnpublish", "releaseStream":
		if s.wish.Flow != Flash {
			s.unpublished(c)
			return s.end()
		}
		if c.Name == "releaseStream" {
			s.pending = c
		}
		return s.end()
	case "deleteStream":
		if c.Transaction > 0 {
			s.answerNull(c)
		}
		return s.end()
	case "closeStream":
		return s.end()
	case "publish", "play":
		s.pending = c
		return s.end()
	case "createStream":
		s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, StreamID)
	case "FCPublish":
		s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, amf.Undefined{})
	default:
		if c.Transaction > 0 {
			s.answerNull(c)
		}
	}
	return Event{}, nil
}

func (s *Server) whilePlaying(c *Command) (Event, error) {
	switch c.Name {
	case "pause", "pauseRaw":
		paused := c.Bool(0, true)
		s.pauseNotify(paused)
		if paused {
			return Event{Kind: Paused}, nil
		}
		return Event{Kind: Resumed}, nil
	case "closeStream":
		return s.end()
	case "deleteStream":
		if c.Transaction > 0 {
			s.answerNull(c)
		}
		return s.end()
	case "publish", "play":
		s.pending = c
		return s.end()
	case "createStream":
		s.command(CSIDCommand, 0, resultCommand, c.Transaction, nil, StreamID)
		return Event{}, nil
	case "receiveAudio":
		return Event{Kind: onOff(c, AudioOn, AudioOff)}, nil
	case "receiveVideo":
		return Event{Kind: onOff(c, VideoOn, VideoOff)}, nil
	}
	if c.Transaction > 0 {
		s.answerNull(c)
	}
	return Event{}, nil
}

func onOff(c *Command, on, off EventKind) EventKind {
	if c.Bool(0, true) {
		return on
	}
	return off
}
