package webrtc

import "weir/internal/link/datagram"

// An outbox is what a loop sends by one socket.
type outbox struct {
	batch  *datagram.Batch // nil of a stream,
	stream *stream         // which takes each datagram at once
	one    []byte
}

func newOutbox(k *socket) *outbox {
	if k.stream != nil {
		return &outbox{stream: k.stream}
	}
	return &outbox{batch: k.sock.NewBatch()}
}

// room returns n bytes to write a datagram to, which post then takes; nothing else may be
// asked for before.
func (o *outbox) room(n int) []byte {
	if o.batch != nil {
		return o.batch.Room(n)
	}
	if cap(o.one) < n {
		o.one = make([]byte, n)
	}
	return o.one[:n:n]
}

// post takes the datagram of the first n bytes that room returned.
func (o *outbox) post(n int, to *path) {
	if o.batch != nil {
		o.batch.Post(to.own, to.addr, n)
	} else {
		o.stream.send(o.one[:n])
	}
}

// flush sends all that was posted.
func (o *outbox) flush() {
	if o.batch != nil {
		o.batch.Flush()
	}
}
