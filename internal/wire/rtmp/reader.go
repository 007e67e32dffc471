package rtmp

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Limits bound what a peer can make a [Reader] hold. Zero fields mean the
// defaults.
type Limits struct {
	// Message is the longest message in bytes, at most [MaxMessage]; 16 MiB
	// less one by default.
	Message int
	// Streams is how many chunk streams a connection may use; 64 by default.
	Streams int
	// Partial is how many bytes all unfinished messages may hold together;
	// 32 MiB by default.
	Partial int
}

const (
	minBuffer = 4 << 10
	maxBuffer = 64 << 10

	minSlab = 1 << 10
	maxSlab = 64 << 10
	// Messages up to slabCut bytes share blocks, so that an audio frame does
	// not cost an allocation; at most an eighth of a block is left over.
	slabCut = maxSlab / 8

	firstStep = 16 << 10 // what a long message gets before its bytes arrive
)

// A Reader turns the chunks of one direction of a connection into messages. It
// obeys Set Chunk Size and Abort itself, and passes them on too.
//
// The bytes come from an io.Reader with [Reader.ReadMessage], or through
// [Reader.Feed] and [Reader.Next]. An error of the io.Reader, such as a timeout,
// loses nothing: the next call goes on where it was. A Reader is for one
// goroutine.
type Reader struct {
	src    io.Reader
	limits Limits

	buf      []byte
	r, w     int // what is buffered: buf[r:w]
	received uint64

	chunkSize int
	low       [lowStreams]*chunkStream
	high      map[uint32]*chunkStream
	streams   int

	cur     *chunkStream // the chunk whose payload is being read
	left    int          // bytes of it that are missing
	active  int          // messages begun and not finished
	partial int          // bytes allocated for them

	slab   []byte
	block  int   // size of the last slab
	longer int   // twice the longest message so far
	err    error // the peer's fault, for ever
}

// lowStreams is below what a chunk stream is found without a map: those that clients use
// are. There is one such table for each viewer.
const lowStreams = 12

// A chunkStream is what must be remembered of a chunk stream (5.3.1.2).
type chunkStream struct {
	csid      uint32
	typ       MessageType
	streamID  uint32
	timestamp uint32 // absolute
	delta     uint32
	extended  bool
	field     uint32 // the extended timestamp as it was written
	length    int
	active    bool
	payload   []byte
}

// NewReader returns a Reader of the chunks that follow the handshake. src may
// be nil if only Feed and Next are used.
func NewReader(src io.Reader, limits Limits) *Reader {
	r := &Reader{src: src, chunkSize: DefaultChunkSize}
	r.SetLimits(limits)
	return r
}

// SetLimits changes the limits, for messages that begin from now on.
func (r *Reader) SetLimits(l Limits) {
	if l.Message <= 0 || l.Message > MaxMessage {
		l.Message = MaxMessage
	}
	if l.Streams <= 0 {
		l.Streams = 64
	}
	if l.Partial <= 0 {
		l.Partial = 32 << 20
	}
	r.limits = l
}

// SetSource changes where the bytes come from.
func (r *Reader) SetSource(src io.Reader) { r.src = src }

// Received counts the bytes that came in, used or not.
func (r *Reader) Received() uint64 { return r.received }

// ReadMessage returns the next message. At the end of input the error is io.EOF
// if nothing was begun, else io.ErrUnexpectedEOF.
func (r *Reader) ReadMessage() (Message, error) {
	for {
		m, ok, err := r.Next()
		if ok || err != nil {
			return m, err
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && (r.w > r.r || r.active > 0) {
				err = io.ErrUnexpectedEOF
			}
			return Message{}, err
		}
	}
}

// Feed adds bytes as if they had been read. They are copied.
func (r *Reader) Feed(p []byte) {
	r.buf = append(r.buf[:copy(r.buf, r.buf[r.r:r.w])], p...)
	r.r, r.w = 0, len(r.buf)
	r.received += uint64(len(p))
}

// Shrink gives back the memory that nothing is in, for a peer that is not
// expected to say much more.
func (r *Reader) Shrink() {
	if r.r == r.w {
		r.buf, r.r, r.w = nil, 0, 0
	}
	r.slab, r.block = nil, 0
}

// fill reads once. The buffer grows only for a peer that fills it, since most
// connections are viewers that say little.
func (r *Reader) fill() error {
	if r.r > 0 {
		r.w, r.r = copy(r.buf, r.buf[r.r:r.w]), 0
	}
	if r.w == len(r.buf) {
		r.buf = append(make([]byte, 0, max(minBuffer, r.w)), r.buf[:r.w]...)
		r.buf = append(r.buf, make([]byte, max(minBuffer, r.w))...)
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.received += uint64(n)
		if n > 0 {
			if r.w == len(r.buf) && r.w < maxBuffer {
				r.buf = append(r.buf, make([]byte, min(len(r.buf), maxBuffer-len(r.buf)))...)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Next returns the next message if all its bytes are there. An error means that
// the peer broke the protocol; it stays.
func (r *Reader) Next() (m Message, ok bool, err error) {
	if r.err != nil {
		return m, false, r.err
	}
	for {
		if r.cur == nil {
			if ok, err := r.header(); !ok || err != nil {
				r.err = err
				return m, false, err
			}
		}
		cs := r.cur
		n := min(r.left, r.w-r.r)
		if err := r.grow(cs, n); err != nil {
			r.err = err
			return m, false, err
		}
		cs.payload = append(cs.payload, r.buf[r.r:r.r+n]...)
		r.r += n
		if r.left -= n; r.left > 0 {
			return m, false, nil
		}
		r.cur = nil
		if len(cs.payload) < cs.length {
			continue
		}
		m = Message{Type: cs.typ, StreamID: cs.streamID, CSID: cs.csid, Timestamp: cs.timestamp, Payload: cs.payload}
		r.longer = max(r.longer, 2*cs.length)
		r.drop(cs)
		if err := r.obey(m); err != nil {
			r.err = err
			return Message{}, false, err
		}
		return m, true, nil
	}
}

// drop forgets the message that cs was in, finished or not.
func (r *Reader) drop(cs *chunkStream) {
	if !cs.active {
		return
	}
	r.partial -= cap(cs.payload)
	r.active--
	cs.active, cs.payload = false, nil
}

// obey does what a protocol control message asks of the chunk layer (5.4).
func (r *Reader) obey(m Message) error {
	if m.Type != TypeSetChunkSize && m.Type != TypeAbort {
		return nil
	}
	if len(m.Payload) < 4 {
		return fmt.Errorf("rtmp: %v message of %d bytes", m.Type, len(m.Payload))
	}
	v := binary.BigEndian.Uint32(m.Payload)
	if m.Type == TypeAbort {
		if cs := r.stream(v); cs != nil {
			r.drop(cs)
		}
		return nil
	}
	if v == 0 || v > 1<<31-1 {
		return fmt.Errorf("%w: %d", ErrChunkSize, v)
	}
	r.chunkSize = int(v)
	return nil
}

// grow makes room for n more bytes. What a peer only claims costs it no more
// than firstStep, unless it has sent messages of that size before.
func (r *Reader) grow(cs *chunkStream, n int) error {
	need, had := len(cs.payload)+n, cap(cs.payload)
	if need <= had {
		return nil
	}
	size := cs.length
	if size > slabCut && size > r.longer {
		size = min(size, max(need, firstStep, 4*had))
	}
	if r.partial += size - had; r.partial > r.limits.Partial {
		return fmt.Errorf("%w: unfinished messages hold over %d bytes", ErrMessageSize, r.limits.Partial)
	}
	var p []byte
	if size <= slabCut {
		if len(r.slab) < size {
			r.block = min(maxSlab, max(minSlab, 2*r.block))
			r.slab = make([]byte, max(size, r.block))
		}
		p, r.slab = r.slab[:0:size], r.slab[size:]
	} else {
		p = make([]byte, 0, size)
	}
	cs.payload = append(p, cs.payload...)
	return nil
}

func (r *Reader) stream(csid uint32) *chunkStream {
	if csid < lowStreams {
		return r.low[csid]
	}
	return r.high[csid]
}

func (r *Reader) newStream(csid uint32) (*chunkStream, error) {
	if r.streams++; r.streams > r.limits.Streams {
		return nil, fmt.Errorf("rtmp: more than %d chunk streams", r.limits.Streams)
	}
	cs := &chunkStream{csid: csid}
	if csid < lowStreams {
		r.low[csid] = cs
		return cs, nil
	}
	if r.high == nil {
		r.high = make(map[uint32]*chunkStream)
	}
	r.high[csid] = cs
	return cs, nil
}

var headerSizes = [4]int{11, 7, 3, 0}

// header reads the headers of a chunk and makes it the current one. It reports
// false, and changes nothing, if bytes are missing.
func (r *Reader) header() (bool, error) {
	b := r.buf[r.r:r.w]
	if len(b) == 0 {
		return false, nil
	}
	format, csid, n := b[0]>>6, uint32(b[0]&0x3f), 1
	switch csid { // 5.3.1.1: values below 2 say that more bytes follow
	case 0:
		n = 2
	case 1:
		n = 3
	}
	if len(b) < n+headerSizes[format] {
		return false, nil
	}
	switch n {
	case 2:
		csid = 64 + uint32(b[1])
	case 3:
		csid = 64 + uint32(b[1]) + uint32(b[2])<<8
	}
	cs := r.stream(csid)
	h := b[n : n+headerSizes[format]]
	n += headerSizes[format]
	if format == 3 {
		if cs == nil {
			return false, fmt.Errorf("%w: csid %d begins with a header of type 3", ErrChunkStart, csid)
		}
		if cs.extended {
			var enough bool
			if n, enough = cs.repeated(b, n); !enough {
				return false, nil
			}
		}
		r.r += n
		return true, r.begin(cs, cs.active, cs.delta)
	}

	field := uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2])
	extended := field == 0xffffff
	if extended {
		if len(b) < n+4 {
			return false, nil
		}
		field = binary.BigEndian.Uint32(b[n:])
		n += 4
	}
	if cs == nil {
		// librtmp begins a ping with type 1, which SRS takes; type 2 tells
		// no length.
		if format == 2 {
			return false, fmt.Errorf("%w: csid %d begins with a header of type 2", ErrChunkStart, csid)
		}
		var err error
		if cs, err = r.newStream(csid); err != nil {
			return false, err
		}
	}
	length, typ := cs.length, cs.typ
	if format < 2 {
		length = int(h[3])<<16 | int(h[4])<<8 | int(h[5])
		typ = MessageType(h[6])
	}
	more := cs.active
	if more && (format == 0 || length != cs.length) {
		return false, fmt.Errorf("%w: csid %d begins a message inside one of %d bytes", ErrChunkStart, csid, cs.length)
	}
	if length > r.limits.Message {
		return false, fmt.Errorf("%w: %v message of %d bytes on csid %d, limit %d", ErrMessageSize, typ, length, csid, r.limits.Message)
	}
	cs.length, cs.typ = length, typ
	cs.extended, cs.field = extended, field
	if !more {
		cs.delta = field
		if format == 0 {
			// A type 3 header after this one adds the same figure again
			// (5.3.1.2.4).
			cs.timestamp = 0
			cs.streamID = binary.LittleEndian.Uint32(h[7:])
		}
	}
	r.r += n
	return true, r.begin(cs, more, field)
}

// begin makes cs the current chunk, of the message it is in or of a new one
// that is delta milliseconds later.
func (r *Reader) begin(cs *chunkStream, more bool, delta uint32) error {
	if !more {
		if cs.length > r.limits.Message { // a header of type 3, after limits shrank
			return fmt.Errorf("%w: %d bytes on csid %d", ErrMessageSize, cs.length, cs.csid)
		}
		cs.active = true
		cs.timestamp += delta
		r.active++
	}
	r.cur, r.left = cs, min(r.chunkSize, cs.length-len(cs.payload))
	return nil
}

// repeated returns where the payload begins after a header of type 3 on a
// stream with extended timestamps. The text says that the field is there again
// (5.3.1.3), but some peers leave it out, so it is taken only if it is one of
// the two figures that peers write. It reports false if more bytes are needed
// to know; a peer that leaves the field out is not kept waiting unless its
// payload looks like it so far.
func (cs *chunkStream) repeated(b []byte, n int) (int, bool) {
	next := b[n:min(len(b), n+4)]
	timestamp := cs.timestamp
	if !cs.active {
		timestamp += cs.delta
	}
	for _, v := range [...]uint32{cs.field, timestamp} {
		var want [4]byte
		binary.BigEndian.PutUint32(want[:], v)
		if slices.Equal(next, want[:len(next)]) {
			if len(next) < 4 {
				return n, false
			}
			return n + 4, true
		}
	}
	return n, true
}
