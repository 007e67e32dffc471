package srt

import (
	"math"
	"time"
)

// Times in this package are µs since the connection began, but at its borders.
const (
	ms       = 1000
	second   = 1000 * ms
	ackEvery = 10 * ms
	lightAck = 64 // packets
	// answerAck is how often acknowledgements are answered: every second one is enough to
	// measure by, and with many players the answers cost as much as the media.
	answerAck   = 15 * ms
	never       = math.MaxInt64
	answerEvery = 50 * ms
)

// A Conn is one connection. Its methods are called by one goroutine at a time, with
// times that never go back. It holds nothing of the outside: who has it calls
// [Conn.Advance] whenever [Conn.Next] says so.
type Conn struct {
	// Immutable.
	p        Params
	id, peer uint32
	began    time.Time
	ours     hello // as agreed: recv is what we wait, peer what the peer waits
	theirs   hello
	answer   []byte // of the handshake, for callers that did not get it
	keys     *Keys

	now      int64 // of the call that is being handled
	err      error
	heard    int64 // when a packet last came
	spoke    int64 // when one last went
	answered int64
	rtt, dev int64 // smoothed round trip and its deviation
	rtt0     int64 // the first round trip that was measured
	scratch  []byte
	rcv      receiver
	snd      sender
	base     int64 // our time less the peer's stamp, at the handshake
	stats    Stats
}

func newConn(now time.Time, p Params, id, peer, isn, window uint32, ours, theirs hello, keys *Keys) *Conn {
	c := &Conn{p: p, id: id, peer: peer, began: now, ours: ours, theirs: theirs, keys: keys, rtt: 100 * ms, dev: 50 * ms, answered: -second}
	c.rcv.start(isn)
	c.snd.start(isn, int(min(window, 1<<16)), p.SendPackets)
	return c
}

// ID returns our socket id.
func (c *Conn) ID() uint32 { return c.id }

// PeerID returns the peer's.
func (c *Conn) PeerID() uint32 { return c.peer }

// Err returns why the connection has ended, nil while it has not.
func (c *Conn) Err() error { return c.err }

// Latency returns how long each end waits for what is missing, as agreed.
func (c *Conn) Latency() (recv, send time.Duration) {
	return time.Duration(c.ours.recv) * time.Millisecond, time.Duration(c.ours.peer) * time.Millisecond
}

// Secured reports whether payloads are encrypted.
func (c *Conn) Secured() bool { return c.keys != nil }

// Answer sends the answer of the handshake again, for a caller that repeats its
// request.
func (c *Conn) Answer(now time.Time) {
	c.clock(now)
	if c.err == nil && c.answer != nil && c.now-c.answered >= answerEvery {
		c.answered = c.now
		c.transmit(c.answer)
	}
}

func (c *Conn) clock(now time.Time) { c.now = max(c.now, now.Sub(c.began).Microseconds()) }

// Handle takes a datagram for our socket id, which came from the peer's address. It
// changes b. Nothing is done that time asks for: that is for Advance, once all has been
// handled that is there, since what seems to be missing or late may be in it.
func (c *Conn) Handle(now time.Time, b []byte) {
	c.clock(now)
	if c.err != nil || len(b) < headerSize || len(b) > MaxDatagram {
		return
	}
	c.heard = c.now
	if isControl(b) {
		c.control(b)
	} else {
		c.data(b)
	}
	if c.err == nil {
		c.pump()
	}
}

// Advance does what time alone asks for. Whoever was kept from looking after the
// connection handles what has come meanwhile before that.
func (c *Conn) Advance(now time.Time) {
	c.clock(now)
	c.work()
}

// Close ends the connection; the peer is told.
func (c *Conn) Close(now time.Time) {
	c.clock(now)
	if c.err == nil {
		c.sendControl(ctlShutdown, 0, 0, nil)
		c.end(ErrClosed)
	}
}

func (c *Conn) end(err error) {
	c.err = err
	c.rcv.release()
	c.snd.release()
}

func (c *Conn) control(b []byte) {
	typ, sub := controlType(b)
	info, body := be.Uint32(b[4:]), b[headerSize:]
	switch typ {
	case ctlHandshake:
		if c.answer != nil && c.now-c.answered >= answerEvery {
			c.answered = c.now
			c.transmit(c.answer)
		}
	case ctlACK:
		c.ack(info, body[:len(body)&^3])
	case ctlNAK:
		c.nak(body)
	case ctlACKACK:
		c.ackAck(info, be.Uint32(b[8:]))
	case ctlDropReq:
		c.dropReq(body)
	case ctlShutdown:
		c.rcv.flush(c)
		c.end(ErrShutdown)
	case ctlExt:
		c.extended(sub, body)
	}
}

// extended takes a change of keys (3.2.2).
func (c *Conn) extended(sub uint16, body []byte) {
	if c.keys == nil || len(body) > maxKM {
		return
	}
	switch sub {
	case extKMReq:
		if c.keys.renew(body) {
			c.sendControl(ctlExt, extKMRsp, 0, body)
		}
	case extKMRsp:
		if len(body) > 4 && string(body) == string(c.keys.renewal) {
			c.keys.renewal = nil
		}
	}
}

// work does what is due.
func (c *Conn) work() {
	if c.err != nil {
		return
	}
	idle := max(c.p.Idle.Microseconds(), 8*c.rtt)
	if c.now-c.heard >= idle {
		c.sendControl(ctlShutdown, 0, 0, nil)
		c.end(ErrIdle)
		return
	}
	c.receiverWork()
	if c.err != nil {
		return
	}
	c.senderWork()
	if c.now-c.spoke >= second {
		c.sendControl(ctlKeepAlive, 0, 0, nil)
	}
}

// Next returns when Advance is to be called, if nothing comes before.
func (c *Conn) Next() time.Time {
	at := min(c.heard+max(c.p.Idle.Microseconds(), 8*c.rtt), c.spoke+second, c.receiverNext(), c.senderNext())
	return c.began.Add(time.Duration(max(at, c.now)) * time.Microsecond)
}

// sendControl sends a control packet.
func (c *Conn) sendControl(typ, sub uint16, info uint32, body []byte) {
	b := appendControl(c.scratch[:0], typ, sub, info, uint32(c.now), c.peer)
	b = append(b, body...)
	if len(body) == 0 {
		b = append(b, 0, 0, 0, 0) // libsrt writes one word in any case
	}
	c.scratch = b
	c.transmit(b)
}

func (c *Conn) transmit(b []byte) {
	c.spoke = c.now
	c.p.Send(b)
}

// sample takes a measured round trip (4.10).
func (c *Conn) sample(rtt int64) {
	switch {
	case rtt <= 0:
		return
	case c.rtt0 == 0:
		c.rtt0, c.rtt, c.dev = rtt, rtt, rtt/2
	default:
		c.smooth(rtt)
	}
}

func (c *Conn) smooth(rtt int64) {
	c.dev = (3*c.dev + abs(rtt-c.rtt)) / 4
	c.rtt = (7*c.rtt + rtt) / 8
}

func abs(n int64) int64 { return max(n, -n) }

// Stats are a connection's totals, by libsrt's names for them.
type Stats struct {
	Recv, RecvUnique, RecvBytes    int64 // packets that came, and those that were wanted; bytes of media
	RecvLoss, RecvDrop, RecvRexmit int64 // found missing, given up, came again
	Belated, Duplicate, Undecrypt  int64
	Sent, SentUnique, SentBytes    int64
	SendLoss, SendDrop, Rexmit     int64 // reported missing, given up, sent again
	Bogus                          int64 // packets with numbers that cannot be
	RTT, RTTVar                    time.Duration
	RecvHeld, SendHeld             int // packets in the buffers
	Flight                         int // packets sent and not acknowledged
	Bandwidth                      int // of the way to us, in packets a second
}

// Stats returns the totals.
func (c *Conn) Stats() Stats {
	s := c.stats
	s.RTT, s.RTTVar = time.Duration(c.rtt)*time.Microsecond, time.Duration(c.dev)*time.Microsecond
	s.RecvHeld, s.SendHeld = c.rcv.held, c.snd.len()
	s.Flight = seqDiff(c.snd.next, c.snd.first)
	s.Bandwidth = c.rcv.pairs.perSecond()
	return s
}
