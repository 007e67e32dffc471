// Package rtmp speaks Adobe's Real-Time Messaging Protocol without a socket:
// the handshake, the chunk stream, the messages and the server's side of the
// conversation.
//
// Everything is a function of bytes. A [Reader] turns bytes into [Message]
// values, the Append functions turn messages into bytes, and a [Server] answers
// the messages of a client and says what the client wants. Nothing here starts
// a goroutine, opens a socket or reads a clock; package link/rtmp joins it to
// a connection.
//
// Whatever a peer sends, memory stays bounded ([Limits]), a claimed length
// allocates nothing before its bytes arrive, and nothing panics. The clauses
// named in this package are those of "Adobe's Real Time Messaging Protocol"
// 1.0 (2012) and of Enhanced RTMP v2.
//
// Not spoken: RTMPT, RTMPE, shared objects, and values that only AMF3 has.
package rtmp

import "fmt"

// A MessageType says what a message holds (6.1, 7.1).
type MessageType uint8

// The message types that occur.
const (
	TypeSetChunkSize     MessageType = 1
	TypeAbort            MessageType = 2
	TypeAcknowledgement  MessageType = 3
	TypeUserControl      MessageType = 4
	TypeWindowAckSize    MessageType = 5
	TypeSetPeerBandwidth MessageType = 6
	TypeAudio            MessageType = 8
	TypeVideo            MessageType = 9
	TypeDataAMF3         MessageType = 15
	TypeCommandAMF3      MessageType = 17
	TypeDataAMF0         MessageType = 18
	TypeCommandAMF0      MessageType = 20
	TypeAggregate        MessageType = 22
)

// String returns a short name, "audio" or "type 42".
func (t MessageType) String() string {
	switch t {
	case TypeSetChunkSize:
		return "set chunk size"
	case TypeAbort:
		return "abort"
	case TypeAcknowledgement:
		return "acknowledgement"
	case TypeUserControl:
		return "user control"
	case TypeWindowAckSize:
		return "window acknowledgement size"
	case TypeSetPeerBandwidth:
		return "set peer bandwidth"
	case TypeAudio:
		return "audio"
	case TypeVideo:
		return "video"
	case TypeDataAMF0, TypeDataAMF3:
		return "data"
	case TypeCommandAMF0, TypeCommandAMF3:
		return "command"
	case TypeAggregate:
		return "aggregate"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Media reports whether the message is audio, video or script data.
func (t MessageType) Media() bool {
	switch t {
	case TypeAudio, TypeVideo, TypeDataAMF0, TypeDataAMF3:
		return true
	}
	return false
}

// The chunk streams that we send on. Peers may use others.
const (
	CSIDControl = 2 // protocol control and user control
	CSIDCommand = 3 // commands of the connection
	CSIDAudio   = 4
	CSIDStream  = 5 // commands and data of the message stream
	CSIDVideo   = 6
	CSIDPublish = 8 // a client's publish and play
)

// StreamID is the message stream that a [Server] gives to every createStream.
const StreamID = 1

// DefaultChunkSize is what both sides use before a Set Chunk Size (5.4.1).
const DefaultChunkSize = 128

// MaxMessage is the longest message that the 24-bit length can tell, in bytes.
const MaxMessage = 1<<24 - 1

// A Message is what one side says at a time.
type Message struct {
	Type     MessageType
	StreamID uint32
	// CSID is the chunk stream, 2 to 65599.
	CSID uint32
	// Timestamp is absolute, in milliseconds, and wraps.
	Timestamp uint32
	// Payload belongs to the receiver: a [Reader] never writes to it again.
	Payload []byte
}

// Data returns the AMF0 values of a script data message: its payload without
// the zero byte that leads type 15 (Enhanced RTMP, AMF3 data).
func (m Message) Data() []byte {
	if m.Type == TypeDataAMF3 && len(m.Payload) > 0 {
		return m.Payload[1:]
	}
	return m.Payload
}

// An Error is a fault of the peer that SRS has a number for, which its log
// and its tools know.
type Error struct {
	Code int
	text string
}

func (e *Error) Error() string { return e.text }

// Faults with a number. Errors that come from peers' bytes wrap one of them
// where one fits.
var (
	ErrPlainRequired = &Error{2000, "rtmp: handshake version is not 3"}
	ErrChunkStart    = &Error{2001, "rtmp: chunk does not fit the one before"}
	ErrMessageSize   = &Error{2002, "rtmp: message too long"}
	ErrCommand       = &Error{2004, "rtmp: malformed command"}
	ErrConnect       = &Error{2005, "rtmp: connect without tcUrl"}
	ErrTcURL         = &Error{2006, "rtmp: unusable tcUrl"}
	ErrChunkSize     = &Error{2010, "rtmp: invalid chunk size"}
	ErrProxyHeader   = &Error{2054, "rtmp: proxy header too long"}
	ErrIdentify      = &Error{2055, "rtmp: client does not say what it wants"}
)
