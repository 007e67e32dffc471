package sender

import (
	"net"
	"time"
)

// A Caller is an HTTP connection between two requests, given to [Replies].
type Caller struct {
	// Conn is a plain TCP connection, which Replies owns if it takes it.
	Conn net.Conn
	// First is sent first: the answer to the request that came before.
	First Reply
	// Read is what has been read from the connection and not been answered.
	Read []byte
	// Reply answers a request at once, from memory, without waiting for anything, or
	// has wake called when it can, from any goroutine, also before it returns. head is
	// the request up to and with the empty line, valid during the call. ok is false if
	// the request is for somebody else; it has then done nothing.
	Reply func(head []byte, wake func()) (r Reply, ok bool)
	// Back is given the connection, with what has been read and not answered,
	// when a request is for somebody else. It runs in a goroutine of its own.
	Back func(nc net.Conn, read []byte)
}

// A Reply is one answer. Nobody may change the bytes afterwards; the slice of
// parts is for Replies to use up.
type Reply struct {
	Parts [][]byte
	// Close ends the connection when all is sent.
	Close bool
	// Next, if it is set, tells what follows Parts, of an answer that is not whole yet,
	// each time that all before is sent. It must not wait: if nothing has come, more is
	// not nil, and wake is called when something has, unless more, which gives that up,
	// was called before. done says that the answer is whole with these parts. An answer
	// to which nothing comes for long ends with its connection.
	Next func(wake func()) (parts [][]byte, done bool, more func())
	// Cancel, if it is set, says that there is no answer yet: wake is called when Reply is
	// to be asked again, unless Cancel was called before. At Until it is given up, and
	// the request is for somebody else.
	Cancel func()
	Until  time.Time
}

// headMost bounds the head of a request that Replies looks at; a longer one is
// for somebody else.
const headMost = 8 << 10
