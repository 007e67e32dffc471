package rtmp

import "weir/internal/format/amf"

// Codes of onStatus and of answers to connect that this package's users say or
// hear (7.2.2, and what Flash Media Server says).
const (
	ConnectSuccess   = "NetConnection.Connect.Success"
	ConnectRejected  = "NetConnection.Connect.Rejected"
	ConnectFailed    = "NetConnection.Connect.Failed"
	ConnectClosed    = "NetConnection.Connect.Closed"
	ConnectReconnect = "NetConnection.Connect.ReconnectRequest"

	PublishStart   = "NetStream.Publish.Start"
	PublishBadName = "NetStream.Publish.BadName"
	PublishDenied  = "NetStream.Publish.Denied"
	PublishFailed  = "NetStream.Publish.Failed"
	UnpublishDone  = "NetStream.Unpublish.Success"

	PlayReset           = "NetStream.Play.Reset"
	PlayStart           = "NetStream.Play.Start"
	PlayStop            = "NetStream.Play.Stop"
	PlayComplete        = "NetStream.Play.Complete"
	PlayFailed          = "NetStream.Play.Failed"
	PlayStreamNotFound  = "NetStream.Play.StreamNotFound"
	PlayUnpublishNotify = "NetStream.Play.UnpublishNotify"
	PauseNotify         = "NetStream.Pause.Notify"
	UnpauseNotify       = "NetStream.Unpause.Notify"
)

// A Status is what onStatus tells.
type Status struct {
	// Level is "status", "warning" or "error".
	Level       string
	Code        string
	Description string
	// More properties, behind those above.
	More amf.Object
}

// clientID is what SRS calls every client.
const clientID = "ASAICiss"

func property(key string, v any) amf.Property { return amf.Property{Key: key, Value: v} }

func (st Status) object() amf.Object {
	return append(amf.Object{
		property("level", st.Level),
		property("code", st.Code),
		property("description", st.Description),
	}, st.More...)
}

// An Identity is what a server says of itself in the answer to connect, with
// the names that SRS gave the fields and that its edges and tools read.
type Identity struct {
	Signature string // srs_sig, "SRS" if empty
	Server    string // srs_server, "weir/1.0"
	License   string // srs_license, "MIT" if empty
	URL       string // srs_url
	Version   string // srs_version: the API level, "7.0.18"
	Authors   string // srs_authors
	ServerIP  string // srs_server_ip
	PID       int    // srs_pid
	ID        string // srs_id: the session's
}

func (id Identity) properties() amf.ECMAArray {
	text := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	return amf.ECMAArray{
		property("version", "3,5,3,888"),
		property("srs_sig", text(id.Signature, "SRS")),
		property("srs_server", id.Server),
		property("srs_license", text(id.License, "MIT")),
		property("srs_url", id.URL),
		property("srs_version", id.Version),
		property("srs_authors", id.Authors),
		property("srs_server_ip", id.ServerIP),
		property("srs_pid", id.PID),
		property("srs_id", id.ID),
	}
}

// A Reply is what a server answers to connect.
type Reply struct {
	Identity Identity
	// ChunkSize is what we send with, in bytes; 60000 if 0.
	ChunkSize int
	// OutAckSize is the window that the client is told; 2500000 if 0.
	OutAckSize uint32
	// InAckSize is at which window we acknowledge; 0 for the client's own.
	InAckSize uint32
	// Capabilities are told to clients of Enhanced RTMP only.
	Capabilities Capabilities
}

const (
	defaultChunkSize  = 60000
	defaultAckSize    = 2500000
	peerBandwidth     = 2500000
	fmsVersion        = "FMS/3,5,3,888"
	fmsCapabilities   = 127
	connectedText     = "Connection succeeded"
	publishStartText  = "Started publishing stream."
	publishStopText   = "Stop publishing stream."
	unpublishedText   = "Stream is now unpublished"
	playResetText     = "Playing and resetting stream."
	playStartText     = "Started playing stream."
	redirectText      = "RTMP 302 Redirect"
	connectCommand    = "connect"
	resultCommand     = "_result"
	errorCommand      = "_error"
	onStatusCommand   = "onStatus"
	sampleAccessEvent = "|RtmpSampleAccess"
)

// Accept answers connect. What follows is the client's: [Server.Handle] says
// when it has told what it wants.
func (s *Server) Accept(r Reply) {
	if r.ChunkSize <= 0 {
		r.ChunkSize = defaultChunkSize
	}
	if r.OutAckSize == 0 {
		r.OutAckSize = defaultAckSize
	}
	if r.InAckSize != 0 {
		s.acks.Window = r.InAckSize
	}
	s.out = AppendWindowAckSize(s.out, r.OutAckSize)
	s.out = AppendSetPeerBandwidth(s.out, peerBandwidth)
	s.SetChunkSize(r.ChunkSize)

	info := Status{Level: "status", Code: ConnectSuccess, Description: connectedText, More: amf.Object{
		property("objectEncoding", s.connect.ObjectEncoding),
		property("data", r.Identity.properties()),
	}}.object()
	if s.connect.Capabilities.Has {
		info = append(info, r.Capabilities.Properties()...)
	}
	// The transaction of connect is 1 (7.2.1.1), whatever the client wrote.
	s.command(CSIDCommand, 0, resultCommand, 1, amf.Object{
		property("fmsVer", fmsVersion),
		property("capabilities", fmsCapabilities),
		property("mode", 1),
	}, info)
	s.command(CSIDCommand, 0, "onBWDone", 0, nil)
	s.state = identifying
}

// Reject answers connect with a refusal.
func (s *Server) Reject(code, description string) {
	s.command(CSIDCommand, 0, errorCommand, 1, nil, Status{Level: "error", Code: code, Description: description}.object())
}

// StartPublish says that the publication has begun, and goes on to its media.
func (s *Server) StartPublish() {
	if s.wish.Flow != Flash {
		s.command(CSIDStream, StreamID, "onFCPublish", 0, nil, amf.Object{
			property("code", PublishStart),
			property("description", publishStartText),
		})
	}
	s.Status(Status{Level: "status", Code: PublishStart, Description: publishStartText,
		More: amf.Object{property("clientid", clientID)}})
	s.state = publishing
}

// unpublished answers the command that ended a publication.
func (s *Server) unpublished(c *Command) {
	s.command(CSIDStream, StreamID, "onFCUnpublish", 0, nil, amf.Object{
		property("code", UnpublishDone),
		property("description", publishStopText),
	})
	s.command(CSIDCommand, StreamID, resultCommand, c.Transaction, nil, amf.Undefined{})
	s.Status(Status{Level: "status", Code: UnpublishDone, Description: unpublishedText,
		More: amf.Object{property("clientid", clientID)}})
}

// StartPlay says that playing has begun, and goes on to the client's controls.
func (s *Server) StartPlay() {
	s.out = AppendUserControl(s.out, UserControl{Type: StreamBegin, Value: StreamID})
	for _, st := range [...]Status{
		{Code: PlayReset, Description: playResetText},
		{Code: PlayStart, Description: playStartText},
	} {
		st.Level = "status"
		st.More = amf.Object{property("details", "stream"), property("clientid", clientID)}
		s.Status(st)
	}
	s.data(sampleAccessEvent, true, true)
	s.state = playing
}

// Refuse answers publish or play with an error, in RTMP's words. The client may
// ask for something else then, if the connection stays.
func (s *Server) Refuse(code, description string) {
	s.Status(Status{Level: "error", Code: code, Description: description,
		More: amf.Object{property("clientid", clientID)}})
	s.state = identifying
}

// Redirect tells a player to go to another server, as SRS's origins do: tcURL is
// the address with the app, full the one with the stream too.
func (s *Server) Redirect(tcURL, full string) {
	s.status(0, Status{Level: "error", Code: ConnectRejected, Description: redirectText,
		More: amf.Object{property("ex", amf.Object{
			property("code", 302),
			property("redirect", tcURL),
			property("redirect2", full),
		})}})
}

// RequestReconnect asks a client to go on elsewhere (Enhanced RTMP v2, Reconnect
// Request); tcURL is empty for the same address. It reports false, and asks
// nothing, if the client did not say that it can.
func (s *Server) RequestReconnect(tcURL, description string) bool {
	if s.connect.Capabilities.Ex&CapsReconnect == 0 {
		return false
	}
	st := Status{Level: "status", Code: ConnectReconnect, Description: description}
	if tcURL != "" {
		st.More = amf.Object{property("tcUrl", tcURL)}
	}
	s.status(0, st)
	return true
}

// Status tells something of the message stream.
func (s *Server) Status(st Status) { s.status(StreamID, st) }

func (s *Server) status(stream uint32, st Status) {
	s.command(CSIDStream, stream, onStatusCommand, 0, nil, st.object())
}

// StreamEOF says that playing has come to its end.
func (s *Server) StreamEOF() {
	s.out = AppendUserControl(s.out, UserControl{Type: StreamEOF, Value: StreamID})
}

// Ping asks for a ping response; time is in milliseconds of any clock.
func (s *Server) Ping(time uint32) {
	s.out = AppendUserControl(s.out, UserControl{Type: PingRequest, Value: time})
}

// SetChunkSize changes the size of the chunks that we send, which is kept
// between 128 and 0x7fffffff. All that is sent after it must be cut at that
// size.
func (s *Server) SetChunkSize(size int) {
	size = max(DefaultChunkSize, min(size, 1<<31-1))
	s.out = AppendSetChunkSize(s.out, size)
	s.chunkSize = size
}

func (s *Server) command(csid, stream uint32, name string, transaction float64, values ...any) {
	s.body = AppendCommand(s.body[:0], name, transaction, values...)
	s.out = AppendParts(s.out, Message{Type: TypeCommandAMF0, CSID: csid, StreamID: stream}, s.chunkSize, s.body)
}

func (s *Server) data(values ...any) {
	s.body = amf.AppendAll(s.body[:0], values...)
	s.out = AppendParts(s.out, Message{Type: TypeDataAMF0, CSID: CSIDStream, StreamID: StreamID}, s.chunkSize, s.body)
}

// pauseNotify answers pause.
func (s *Server) pauseNotify(paused bool) {
	st, event := Status{Level: "status", Code: UnpauseNotify, Description: "Unpaused stream."}, StreamBegin
	if paused {
		st, event = Status{Level: "status", Code: PauseNotify, Description: "Paused stream."}, StreamEOF
	}
	s.Status(st)
	s.out = AppendUserControl(s.out, UserControl{Type: event, Value: StreamID})
}
