package srt

import "time"

// sender is what goes: packets that wait for their turn or for the peer's word that
// they came.
type sender struct {
	ring   []outgoing // by sequence number
	limit  int        // packets
	first  uint32     // the oldest that is kept
	next   uint32     // the first that was never sent
	end    uint32     // that of the next one written
	window int        // packets that may be on their way: the least of what the peer said
	most   int        // what it said in the handshake
	lost   []uint32   // to be sent again, in this order; those that came meanwhile are passed over
	number uint32     // of messages

	at       int64 // when the next packet may go
	rate     rate  // what is written
	acked    int64 // when the position last moved
	tries    int   // times that all was sent again blindly since
	lastAA   int64 // when an acknowledgement was last answered
	lastAckN uint32
	pool     [][]byte
}

// outgoing is a packet as it goes, but for the encryption of its payload: that is done each
// time it is sent, which comes to the same bytes, so that nothing of one peer's is kept.
type outgoing struct {
	head    [headerSize]byte
	payload []byte // in the clear
	own     bool   // the payload is ours, and not others' too
	lost    bool   // it is in lost
	at      int64  // when it was written
	again   int64  // when it was last sent again; 0 if it was not
}

func (o *outgoing) size() int { return headerSize + len(o.payload) }

// burst is how far pacing may run ahead, as who drives us looks after us so often.
const burst = 10 * ms

func (s *sender) start(isn uint32, window, limit int) {
	s.first, s.next, s.end = isn, isn, isn
	s.window, s.most, s.limit = max(2, window), max(2, window), limit
	s.number = 1
}

func (s *sender) release() { s.ring, s.lost, s.pool = nil, nil, nil; s.first, s.next = s.end, s.end }

func (s *sender) len() int { return seqDiff(s.end, s.first) }

func (s *sender) packet(seq uint32) *outgoing { return &s.ring[int(seq)&(len(s.ring)-1)] }

// Room returns how many packets may be written.
func (c *Conn) Room() int {
	if c.err != nil {
		return 0
	}
	return c.snd.limit - c.snd.len()
}

// Unsent returns how many packets were written and have not been sent.
func (c *Conn) Unsent() int { return seqDiff(c.snd.end, c.snd.next) }

// Write sends a payload of at most [MaxPayload] bytes, or has it wait for its turn.
// It reports false, and does nothing, if there is no room.
func (c *Conn) Write(now time.Time, payload []byte) bool { return c.write(now, payload, false) }

// WriteShared is Write for a payload that never changes: it is not copied.
func (c *Conn) WriteShared(now time.Time, payload []byte) bool { return c.write(now, payload, true) }

func (c *Conn) write(now time.Time, payload []byte, shared bool) bool {
	c.clock(now)
	s := &c.snd
	if c.Room() <= 0 || len(payload) == 0 || len(payload) > c.p.MSS-overhead-headerSize {
		return false
	}
	s.grow()
	o := s.packet(s.end)
	*o = outgoing{payload: payload, at: c.now}
	if !shared {
		o.own = true
		o.payload = append(s.buffer(), payload...)
	}
	word := uint32(flagSolo) | s.number
	if s.number++; s.number > c.messages() {
		s.number = 1
	}
	kk := byte(0)
	if c.keys != nil {
		kk = c.keys.active
		word |= uint32(kk) << shiftKey
	}
	be.PutUint32(o.head[:], s.end)
	be.PutUint32(o.head[4:], word)
	be.PutUint32(o.head[8:], uint32(c.now))
	be.PutUint32(o.head[12:], c.peer)
	if kk != 0 {
		c.refresh()
	}
	s.end = seqNext(s.end)
	s.rate.add(c.now, o.size()+overhead)
	c.pump()
	return true
}

// messages is the greatest message number.
func (c *Conn) messages() uint32 {
	if c.theirs.flags&flagRexmitOK == 0 {
		return 2*maxMessage + 1
	}
	return maxMessage
}

// buffer returns one to write a packet into.
func (s *sender) buffer() []byte {
	if n := len(s.pool); n > 0 {
		b := s.pool[n-1]
		s.pool = s.pool[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 1316)
}

// drop forgets the oldest packet.
func (s *sender) drop() {
	o := s.packet(s.first)
	if o.own && len(s.pool) < 64 {
		s.pool = append(s.pool, o.payload)
	}
	*o = outgoing{}
	if s.first == s.next {
		s.next = seqNext(s.next)
	}
	s.first = seqNext(s.first)
	if n := len(s.ring); n > usualRing && s.len() < n/8 {
		s.resize(n / 4) // a burst is over
	}
}

// leastRing is the least number of packets that there is room for, usualRing the one that
// is kept.
const leastRing, usualRing = 32, 128

func (s *sender) grow() {
	if s.len() == len(s.ring) {
		s.resize(max(leastRing, 2*len(s.ring)))
	}
}

// resize moves what is kept to a ring of n, a power of two.
func (s *sender) resize(n int) {
	old := *s
	s.ring = make([]outgoing, max(leastRing, n))
	for i := range s.len() {
		q := seqAdd(s.first, i)
		*s.packet(q) = *old.packet(q)
	}
}

// pump sends what may go: first what was lost, then what is new.
func (c *Conn) pump() {
	s := &c.snd
	for c.err == nil && s.at <= c.now+burst {
		o := c.pickLost()
		if o != nil {
			o.lost, o.again = false, max(1, c.now)
			if c.theirs.flags&flagRexmitOK != 0 {
				o.head[4] |= flagRexmit >> 24
			}
			c.stats.Rexmit++
		} else if seqDiff(s.end, s.next) > 0 && seqDiff(s.next, s.first) < s.window {
			o = s.packet(s.next)
			if s.next == s.first {
				s.acked = c.now
			}
			s.next = seqNext(s.next)
			c.stats.SentUnique++
			c.stats.SentBytes += int64(len(o.payload))
		} else {
			return
		}
		c.stats.Sent++
		s.at = max(s.at, c.now-burst) + int64(o.size()+overhead)*second/c.bandwidth()
		c.transmitData(o)
	}
}

func (c *Conn) transmitData(o *outgoing) {
	kk := o.head[4] >> (shiftKey - 24) & 3
	if c.p.SendData != nil && kk == 0 {
		c.spoke = c.now
		c.p.SendData(o.head[:], o.payload)
		return
	}
	c.scratch = append(append(c.scratch[:0], o.head[:]...), o.payload...)
	if kk != 0 {
		c.keys.tx.apply(kk, c.keys.salt[:], be.Uint32(o.head[:]), c.scratch[headerSize:])
	}
	c.transmit(c.scratch)
}

// bandwidth is the most that is sent, in bytes a second.
func (c *Conn) bandwidth() int64 {
	if c.p.MaxBW > 0 {
		return c.p.MaxBW
	}
	_, bytes := c.snd.rate.read(c.now)
	return max(LeastRate, 2*int64(bytes))
}

// pickLost returns the next packet to be sent again, nil if there is none.
func (c *Conn) pickLost() *outgoing {
	s := &c.snd
	for len(s.lost) > 0 {
		q := s.lost[0]
		s.lost = s.lost[1:]
		if seqDiff(q, s.first) >= 0 && seqDiff(q, s.next) < 0 {
			if o := s.packet(q); o.lost {
				return o
			}
		}
	}
	s.lost = nil
	return nil
}

// markLost has a packet sent again, unless that was done just now.
func (c *Conn) markLost(q uint32) {
	s := &c.snd
	o := s.packet(q)
	if o.lost || o.again > 0 && c.now-o.again < max(c.rtt-4*c.dev, c.rtt/2) {
		return
	}
	o.lost = true
	s.lost = append(s.lost, q)
	c.stats.SendLoss++
}

// ack takes an acknowledgement.
func (c *Conn) ack(number uint32, body []byte) {
	s := &c.snd
	if len(body) < 4 {
		c.stats.Bogus++
		return
	}
	pos := be.Uint32(body)
	if pos > maxSeq || seqDiff(pos, s.next) > 0 {
		c.stats.Bogus++
		return
	}
	moved := seqDiff(pos, s.first)
	for s.first != pos && moved > 0 {
		s.drop()
	}
	if moved > 0 {
		s.acked, s.tries = c.now, 0
	}
	if len(body) < 16 {
		s.window = max(0, s.window-max(0, moved))
		return
	}
	if moved >= 0 {
		s.window = min(s.most, int(min(be.Uint32(body[12:]), 1<<16)))
	}
	if rtt, dev := int64(be.Uint32(body[4:])), int64(be.Uint32(body[8:])); rtt > 0 && rtt < 60*second && dev < 60*second && !c.rcv.anything {
		c.rtt, c.dev = rtt, dev
	}
	if c.now-s.lastAA >= answerAck || number == s.lastAckN {
		s.lastAA, s.lastAckN = c.now, number
		c.sendControl(ctlACKACK, 0, number, nil)
	}
}

// nak takes a list of what the peer misses.
func (c *Conn) nak(body []byte) {
	s := &c.snd
	left, over := seqDiff(s.next, s.first), false // a list names each packet once
	ok := parseLoss(body, func(l span) {
		if seqDiff(l.last, s.next) >= 0 { // never sent
			c.stats.Bogus++
			return
		}
		if seqDiff(l.first, s.first) < 0 {
			c.refuse(span{l.first, seqAdd(s.first, -1)}, l.last)
			l.first = s.first
		}
		if left -= max(0, l.len()); left < 0 {
			over = true
			return
		}
		for q := l.first; seqDiff(q, l.last) <= 0; q = seqNext(q) {
			c.markLost(q)
		}
	})
	if !ok || over {
		c.stats.Bogus++
	}
}

// refuse tells the peer that some packets will not come any more; last bounds them.
func (c *Conn) refuse(gone span, last uint32) {
	if seqDiff(gone.last, last) > 0 {
		gone.last = last
	}
	if seqDiff(gone.last, gone.first) >= c.snd.most {
		return
	}
	var b [8]byte
	be.PutUint32(b[:], gone.first)
	be.PutUint32(b[4:], gone.last)
	c.sendControl(ctlDropReq, 0, 0, b[:])
}

// senderWork sends what is due and gives up what is too late.
func (c *Conn) senderWork() {
	s := &c.snd
	if at := c.dropAt(); at <= c.now {
		limit := c.now - c.dropAfter()
		for s.len() > 0 && s.packet(s.first).at <= limit {
			c.stats.SendDrop++
			s.drop()
		}
	}
	if c.blindAt() <= c.now {
		s.tries++
		for q := s.first; q != s.next; q = seqNext(q) {
			c.markLost(q)
		}
	}
	c.pump()
	c.announce()
}

func (c *Conn) senderNext() int64 {
	s := &c.snd
	at := min(c.dropAt(), c.blindAt())
	if len(s.lost) > 0 || s.end != s.next && seqDiff(s.next, s.first) < s.window {
		at = min(at, s.at-burst)
	}
	if c.keys != nil && c.keys.renewal != nil && c.keys.asked < maxAsks {
		at = min(at, c.askAt())
	}
	return at
}

func (c *Conn) dropAfter() int64 { return max(int64(c.ours.peer)*ms, second) + 20*ms }

// dropAt is when the oldest packet is too late for a peer that would drop it.
func (c *Conn) dropAt() int64 {
	s := &c.snd
	if s.len() == 0 || c.theirs.flags&flagDropLate == 0 {
		return never
	}
	return s.packet(s.first).at + c.dropAfter()
}

// blindAt is when all that is on its way is sent again, to a peer that does not
// repeat its reports.
func (c *Conn) blindAt() int64 {
	s := &c.snd
	if s.first == s.next || c.theirs.flags&flagNAKReport != 0 {
		return never
	}
	n := int64(s.tries + 1)
	return s.acked + n*(c.rtt+4*c.dev+20*ms) + 10*ms
}

const maxAsks = 10

func (c *Conn) askAt() int64 { return c.keys.askedAt + c.rtt*3/2 }

// refresh counts what was encrypted and changes keys in time (6.1.6).
func (c *Conn) refresh() {
	k := c.keys
	k.sent++
	switch k.sent {
	case c.p.Refresh - c.p.Announce:
		if c.snd.len() >= k.sent { // what the other key is for may have to be sent again
			k.sent--
			return
		}
		if !k.next(c.p.Rand) {
			k.sent = 0 // goes on with the old key
		}
	case c.p.Refresh:
		k.active = keyEven + keyOdd - k.active
		k.sent = 0
	}
}

// announce tells the peer of a new key until it confirms it.
func (c *Conn) announce() {
	k := c.keys
	if k == nil || k.renewal == nil || k.asked >= maxAsks || k.asked > 0 && c.askAt() > c.now {
		return
	}
	k.asked++
	k.askedAt = c.now
	c.sendControl(ctlExt, extKMReq, 0, k.renewal)
}
