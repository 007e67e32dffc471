package rtmp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An EventType says what a User Control message tells (7.1.7).
type EventType uint16

// The user control events.
const (
	StreamBegin      EventType = 0
	StreamEOF        EventType = 1
	StreamDry        EventType = 2
	SetBufferLength  EventType = 3
	StreamIsRecorded EventType = 4
	PingRequest      EventType = 6
	PingResponse     EventType = 7
)

// A UserControl is the content of a User Control message.
type UserControl struct {
	Type EventType
	// Value is a message stream, or the time of a ping.
	Value uint32
	// Buffer is the client's buffer in milliseconds, for SetBufferLength.
	Buffer uint32
}

// ParseUserControl decodes the payload of a User Control message. Events of
// unknown types need not have a value.
func ParseUserControl(b []byte) (UserControl, error) {
	if len(b) < 2 {
		return UserControl{}, fmt.Errorf("rtmp: user control message of %d bytes", len(b))
	}
	u := UserControl{Type: EventType(binary.BigEndian.Uint16(b))}
	b = b[2:]
	need := 0
	switch u.Type {
	case StreamBegin, StreamEOF, StreamDry, StreamIsRecorded, PingRequest, PingResponse:
		need = 4
	case SetBufferLength:
		need = 8
	}
	if len(b) < need {
		return UserControl{}, fmt.Errorf("rtmp: user control event %d has %d bytes, want %d", u.Type, len(b), need)
	}
	if len(b) >= 4 {
		u.Value = binary.BigEndian.Uint32(b)
	}
	if need == 8 {
		u.Buffer = binary.BigEndian.Uint32(b[4:])
	}
	return u, nil
}

// AppendUserControl appends a whole User Control message in one chunk.
func AppendUserControl(dst []byte, u UserControl) []byte {
	var b [10]byte
	binary.BigEndian.PutUint16(b[:], uint16(u.Type))
	binary.BigEndian.PutUint32(b[2:], u.Value)
	n := 6
	if u.Type == SetBufferLength {
		binary.BigEndian.PutUint32(b[6:], u.Buffer)
		n = 10
	}
	return appendControl(dst, TypeUserControl, b[:n])
}

// AppendSetChunkSize appends a Set Chunk Size message (5.4.1). What follows it
// must be cut at size bytes, 1 to 0x7fffffff.
func AppendSetChunkSize(dst []byte, size int) []byte {
	return appendControl32(dst, TypeSetChunkSize, uint32(size))
}

// AppendAbort appends an Abort message (5.4.2): the peer shall forget the
// unfinished message of a chunk stream.
func AppendAbort(dst []byte, csid uint32) []byte {
	return appendControl32(dst, TypeAbort, csid)
}

// AppendAcknowledgement appends an Acknowledgement (5.4.3) of received bytes.
func AppendAcknowledgement(dst []byte, sequence uint32) []byte {
	return appendControl32(dst, TypeAcknowledgement, sequence)
}

// AppendWindowAckSize appends a Window Acknowledgement Size message (5.4.4):
// the peer shall acknowledge each so many bytes.
func AppendWindowAckSize(dst []byte, bytes uint32) []byte {
	return appendControl32(dst, TypeWindowAckSize, bytes)
}

// AppendSetPeerBandwidth appends a Set Peer Bandwidth message with the limit
// type dynamic (5.4.5).
func AppendSetPeerBandwidth(dst []byte, bytes uint32) []byte {
	var b [5]byte
	binary.BigEndian.PutUint32(b[:], bytes)
	b[4] = 2
	return appendControl(dst, TypeSetPeerBandwidth, b[:])
}

// appendControl32 appends a protocol control message of one number. It fits
// into one chunk, since we never send with chunks below [DefaultChunkSize].
func appendControl32(dst []byte, t MessageType, v uint32) []byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return appendControl(dst, t, b[:])
}

func appendControl(dst []byte, t MessageType, body []byte) []byte {
	return AppendMessage(dst, Message{Type: t, CSID: CSIDControl, Payload: body}, DefaultChunkSize)
}

// ParseUint32 decodes the payload of the control messages that hold a number:
// Set Chunk Size, Abort, Acknowledgement, Window Acknowledgement Size and (its
// first four bytes) Set Peer Bandwidth.
func ParseUint32(b []byte) (uint32, error) {
	if len(b) < 4 {
		return 0, fmt.Errorf("rtmp: control message of %d bytes", len(b))
	}
	return binary.BigEndian.Uint32(b), nil
}

// Acks decides when received bytes are acknowledged. The zero value never does.
type Acks struct {
	// Window is what the peer asked for, in bytes; 0 for never. An
	// acknowledgement is due at half of it, as in SRS, so that the peer never
	// waits for one.
	Window uint32
	sent   uint64
}

// Due returns the figure to acknowledge, if it is time to. received counts all
// bytes since the connection began, handshake included.
func (a *Acks) Due(received uint64) (sequence uint32, due bool) {
	if a.Window == 0 || received == a.sent || received-a.sent < uint64(a.Window/2) {
		return 0, false
	}
	a.sent = received
	return uint32(received), true
}

// An Aggregate walks the messages inside an aggregate message (7.1.6), which
// look like FLV tags. They share the payload's memory.
type Aggregate struct {
	rest     []byte
	streamID uint32
	csid     uint32
	shift    uint32
	begun    bool
	first    uint32
}

// aggregateHead is the length of a tag's header, and aggregateTail that of the
// back pointer behind it.
const (
	aggregateHead = 11
	aggregateTail = 4
)

var errAggregate = errors.New("rtmp: aggregate message ends inside a tag")

// NewAggregate returns a walk over m.
func NewAggregate(m Message) Aggregate {
	return Aggregate{rest: m.Payload, streamID: m.StreamID, csid: m.CSID, first: m.Timestamp}
}

// Next returns the next message that is audio, video or data; others, further
// aggregates among them, are passed over. Timestamps are moved so that the
// first message has the one of the aggregate. It reports false at the end.
func (a *Aggregate) Next() (Message, bool, error) {
	for len(a.rest) > 0 {
		b := a.rest
		if len(b) < aggregateHead {
			a.rest = nil
			return Message{}, false, errAggregate
		}
		n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if len(b)-aggregateHead < n {
			a.rest = nil
			return Message{}, false, errAggregate
		}
		ts := uint32(b[7])<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])
		if !a.begun {
			a.begun, a.shift = true, a.first-ts
		}
		end := aggregateHead + n
		// Some peers leave out the last back pointer.
		a.rest = b[min(len(b), end+aggregateTail):]
		m := Message{
			Type: MessageType(b[0]), StreamID: a.streamID, CSID: a.csid,
			Timestamp: ts + a.shift, Payload: b[aggregateHead:end:end],
		}
		if m.Type.Media() {
			return m, true, nil
		}
	}
	return Message{}, false, nil
}
