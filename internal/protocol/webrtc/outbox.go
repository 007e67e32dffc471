package webrtc

import "net/netip"

// An outbox gathers the datagrams that a loop sends by one socket. Those of one viewer
// that are equally long, but for the last, are one letter, which the system may take
// as one and cut itself (UDP_SEGMENT).
type outbox struct {
	sock    *socket
	slab    []byte // what is sent, letter after letter
	letters []letter
	kernel  mailbag
}

// letter is a run of datagrams to one address.
type letter struct {
	dest     netip.AddrPort
	from, to int // in slab
	each     int // length of each but the last
	n        int // datagrams
	shut     bool
}

const (
	// slabSize is how many bytes are gathered, and lettersMost how many letters.
	slabSize    = 256 << 10
	lettersMost = 64
	// letterMost is how long a letter may be, and segmentsMost of how many datagrams:
	// the system's limits.
	letterMost   = 65000
	segmentsMost = 60
	// datagramMost is what is reserved for one.
	datagramMost = 2048
)

func newOutbox(k *socket) *outbox {
	size := slabSize
	if k.stream != nil {
		size = slabSize / 8 // of one peer
	}
	return &outbox{sock: k, slab: make([]byte, 0, size), letters: make([]letter, 0, lettersMost)}
}

// room returns n bytes to be written to, which [outbox.post] is told of; nothing else
// may be asked for before.
func (o *outbox) room(n int) []byte {
	if len(o.slab)+n > cap(o.slab) || len(o.letters) == cap(o.letters) {
		o.flush()
	}
	return o.slab[len(o.slab) : len(o.slab) : len(o.slab)+n]
}

// post takes a datagram of n bytes that was written to what room returned.
func (o *outbox) post(n int, dest netip.AddrPort) {
	at := len(o.slab)
	o.slab = o.slab[:at+n]
	if len(o.letters) > 0 {
		l := &o.letters[len(o.letters)-1]
		if !l.shut && l.dest == dest && n <= l.each && l.n < segmentsMost && l.to-l.from+n <= letterMost {
			l.to += n
			l.n++
			l.shut = n < l.each
			return
		}
	}
	o.letters = append(o.letters, letter{dest: dest, from: at, to: at + n, each: n, n: 1})
}

// each sends datagrams one by one.
func (o *outbox) each(letters []letter) {
	for i := range letters {
		l := &letters[i]
		for b := o.slab[l.from:l.to]; len(b) > 0; {
			n := min(len(b), l.each)
			o.sock.write(b[:n], l.dest)
			b = b[n:]
		}
	}
}
