package srt

import "slices"

// receiver is what comes: packets in order, those that wait behind a hole, and the
// holes.
type receiver struct {
	next  uint32 // the first that is missing; all before it is done
	high  uint32 // the newest that came
	slots []slot // by sequence number; nil while nothing waits
	held  int    // slots in use
	loss  []span // holes, from next on
	far   int    // packets in a row beyond all that can be
	order order

	// time
	stamp   int64 // the newest unwrapped stamp of the peer
	stamped bool
	off     int64 // since when stamps have been out of all bounds, 0 if they are not
	drift   drift

	// acknowledgement
	acks     []sentAck // ring of those that are not answered
	number   uint32    // of the last
	sentPos  uint32    // its position
	done     uint32    // the newest position that the peer knows we have
	lastAck  int64
	since    int   // packets since the last full one
	lastNAK  int64 // when all holes were last told of, or the first came
	rate     rate
	pairs    pairs
	scratch  []byte
	anything bool // data came
}

type slot struct {
	state byte  // empty, here or gone
	at    int64 // when it is to be played
	buf   []byte
}

const (
	empty = iota
	here
	gone // given up by the sender
)

type sentAck struct {
	number, pos uint32
	at          int64
}

const ackRing = 256

func (r *receiver) start(isn uint32) {
	r.next, r.high = isn, seqAdd(isn, -1)
	r.sentPos, r.done = isn, isn
}

func (r *receiver) release() { r.slots, r.loss, r.acks, r.held = nil, nil, nil, 0 }

func (r *receiver) at(seq uint32) *slot { return &r.slots[int(seq)&(len(r.slots)-1)] }

// data takes a data packet.
func (c *Conn) data(b []byte) {
	r := &c.rcv
	seq, word, payload := be.Uint32(b), be.Uint32(b[4:]), b[headerSize:]
	if word&maskMessage == 0 || len(payload) == 0 {
		c.stats.Bogus++
		return
	}
	c.stats.Recv++
	again := word&flagRexmit != 0
	if again {
		c.stats.RecvRexmit++
	}
	r.rate.add(c.now, len(payload)+headerSize+overhead)
	ahead := seqDiff(seq, r.next)
	if ahead < 0 {
		c.stats.Belated++
		return
	}
	if ahead >= c.p.RecvPackets {
		c.beyond()
		return
	}
	r.far = 0
	fresh := seqDiff(seq, r.high)
	if fresh <= 0 && !r.found(seq) {
		c.stats.Duplicate++
		return
	}
	if !again && fresh == 1 {
		r.pairs.add(seq, c.now)
	}
	if !again {
		c.reordered(-fresh)
	}
	due := c.due(be.Uint32(b[8:]), !again && fresh > 0)
	if fresh > 1 {
		c.gap(span{seqNext(r.high), seqAdd(seq, -1)})
	}
	if fresh > 0 {
		r.high = seq
	}
	r.anything = true
	r.since++
	c.stats.RecvUnique++
	c.stats.RecvBytes += int64(len(payload))
	payload = c.decrypt(byte(word>>shiftKey&3), seq, payload)
	if ahead == 0 {
		c.deliver(payload)
		r.next = seqNext(seq)
		r.flush(c)
	} else {
		r.put(seq, payload, due, here)
	}
	if r.since%lightAck == 0 {
		c.sendControl(ctlACK, 0, 0, be.AppendUint32(r.scratch[:0], r.next))
	}
}

// beyond counts packets that are further ahead than can be held.
func (c *Conn) beyond() {
	c.stats.Bogus++
	if c.rcv.far++; c.rcv.far >= 3 && c.rcv.held == 0 {
		c.sendControl(ctlShutdown, 0, 0, nil)
		c.end(ErrSequence)
	}
}

// decrypt returns the payload in the clear, nil if there is no key for it or it is
// not as agreed.
func (c *Conn) decrypt(kk byte, seq uint32, payload []byte) []byte {
	switch {
	case c.keys == nil && kk == 0:
		return payload
	case c.keys != nil && c.keys.rx.apply(kk, c.keys.salt[:], seq, payload):
		return payload
	}
	c.stats.Undecrypt++
	return nil
}

func (c *Conn) deliver(payload []byte) {
	if len(payload) > 0 && c.p.Deliver != nil {
		c.p.Deliver(payload)
	}
}

// flush hands out what is in order.
func (r *receiver) flush(c *Conn) {
	for r.held > 0 {
		s := r.at(r.next)
		if s.state == empty {
			return
		}
		if s.state == here {
			c.deliver(s.buf)
		}
		s.state, s.buf = empty, s.buf[:0]
		r.held--
		r.next = seqNext(r.next)
	}
	if len(r.slots) > 1024 {
		r.slots = nil
	}
}

// put keeps a packet that waits behind a hole.
func (r *receiver) put(seq uint32, payload []byte, due int64, state byte) {
	if need := seqDiff(seq, r.next) + 1; need > len(r.slots) {
		size := max(64, len(r.slots))
		for size < need {
			size *= 2
		}
		old := *r
		r.slots = make([]slot, size)
		for q := range old.slots { // those in use are less than a turn of the old ring apart
			s := seqAdd(r.next, q)
			if o := old.at(s); o.state != empty {
				*r.at(s) = *o
			}
		}
	}
	s := r.at(seq)
	s.state, s.at, s.buf = state, due, append(s.buf[:0], payload...)
	r.held++
}

// gap notes a hole, and tells the peer at once.
func (c *Conn) gap(s span) {
	r := &c.rcv
	if len(r.loss) == 0 { // all of them are told of again some time from now
		r.lastNAK = c.now
	}
	r.loss = append(r.loss, s)
	c.stats.RecvLoss += int64(s.len())
	if r.order.tolerance > 0 {
		r.order.young = append(r.order.young, hole{s, r.order.tolerance})
		return
	}
	c.report(r.loss[len(r.loss)-1:])
}

func (c *Conn) report(loss []span) {
	r := &c.rcv
	r.scratch = appendLoss(r.scratch[:0], loss, c.p.MSS-overhead-headerSize)
	c.sendControl(ctlNAK, 0, 0, r.scratch)
}

// found takes a sequence number out of the holes, and reports whether it was in one.
func (r *receiver) found(seq uint32) bool {
	for i, s := range r.loss {
		if seqDiff(seq, s.first) < 0 {
			return false
		}
		if seqDiff(seq, s.last) > 0 {
			continue
		}
		switch {
		case s.first == s.last:
			r.loss = slices.Delete(r.loss, i, i+1)
		case seq == s.first:
			r.loss[i].first = seqNext(seq)
		case seq == s.last:
			r.loss[i].last = seqAdd(seq, -1)
		default:
			r.loss[i].last = seqAdd(seq, -1)
			r.loss = slices.Insert(r.loss, i+1, span{seqNext(seq), s.last})
		}
		return true
	}
	return false
}

// dropReq takes the sender's word that it will not send some packets any more.
func (c *Conn) dropReq(b []byte) {
	r := &c.rcv
	if len(b) < 8 {
		c.stats.Bogus++
		return
	}
	s := span{be.Uint32(b), be.Uint32(b[4:])}
	if s.first > maxSeq || s.last > maxSeq || seqDiff(s.last, s.first) < 0 || seqDiff(s.first, r.high) > 1 || seqDiff(s.last, r.next) >= c.p.RecvPackets {
		c.stats.Bogus++
		return
	}
	if seqDiff(s.first, r.next) < 0 {
		s.first = r.next
	}
	for q := s.first; seqDiff(q, s.last) <= 0; q = seqNext(q) {
		if seqDiff(q, r.high) > 0 {
			r.high = q
		} else if !r.found(q) {
			continue // we have it
		}
		c.stats.RecvDrop++
		r.put(q, nil, c.now+int64(c.ours.recv)*ms, gone)
	}
	r.flush(c)
}

// due returns when a packet is to be played, in our time; steady says that it came
// first and in order, so that its stamp tells of the peer's clock.
func (c *Conn) due(stamp uint32, steady bool) int64 {
	r := &c.rcv
	if !r.stamped {
		r.stamped, r.stamp = true, int64(stamp)
	}
	t := r.stamp + int64(int32(stamp-uint32(r.stamp)))
	latency := int64(c.ours.recv) * ms
	if steady {
		r.stamp = t
		// A sender whose clock starts again, or that stamps by the time of its media,
		// is followed after a second.
		switch late := c.now - c.base - t; {
		case late <= latency+c.rtt && late >= -2*latency-second:
			r.off = 0
		case r.off == 0:
			r.off = max(1, c.now)
		case c.now-r.off >= second:
			c.base, r.off = c.now-t, 0
		}
	}
	// Never later than had it been on its way for no time at all.
	return min(c.base+t+latency, c.now+latency)
}

// drift follows the difference in speed of two clocks (4.7).
type drift struct {
	sum int64
	n   int
}

const (
	driftSamples = 1000
	driftStep    = 5 * ms
)

func (c *Conn) followDrift(stamp uint32, rtt int64) {
	r := &c.rcv
	if !r.stamped {
		return
	}
	t := r.stamp + int64(int32(stamp-uint32(r.stamp)))
	r.drift.sum += c.now - c.base - t - (rtt-c.rtt0)/2
	if r.drift.n++; r.drift.n < driftSamples {
		return
	}
	mean := r.drift.sum / driftSamples
	r.drift.sum, r.drift.n = 0, 0
	if abs(mean) > driftStep {
		c.base += mean
	}
}

// ackAck takes the peer's answer to an acknowledgement: the only measure of the
// round trip that a receiver has.
func (c *Conn) ackAck(number, stamp uint32) {
	r := &c.rcv
	i := slices.IndexFunc(r.acks, func(a sentAck) bool { return a.number == number })
	if i < 0 {
		return
	}
	a := r.acks[i]
	r.acks = slices.Delete(r.acks, 0, i+1)
	if seqDiff(a.pos, r.done) > 0 {
		r.done = a.pos
	}
	c.sample(c.now - a.at)
	c.followDrift(stamp, c.now-a.at)
}

// receiverWork acknowledges, reports holes again, and gives up those whose time has
// come.
func (c *Conn) receiverWork() {
	r := &c.rcv
	if !r.anything {
		return
	}
	c.giveUp()
	if len(r.loss) > 0 && c.now-r.lastNAK >= c.nakEvery() {
		c.report(r.loss)
		r.lastNAK = c.now
	}
	if c.ackDue() <= c.now {
		c.sendAck()
	}
}

func (c *Conn) receiverNext() int64 {
	if !c.rcv.anything {
		return never
	}
	at := min(c.ackDue(), c.giveUpAt())
	if len(c.rcv.loss) > 0 {
		at = min(at, c.rcv.lastNAK+c.nakEvery())
	}
	return at
}

// nakEvery is how often holes are reported again: before the round trip is known
// often enough that a report is repeated while there is time.
func (c *Conn) nakEvery() int64 {
	every := (c.rtt + 4*c.dev) / 2
	if c.rtt0 == 0 {
		every = min(every, int64(c.ours.recv)*ms/3)
	}
	return max(20*ms, every)
}

func (c *Conn) ackDue() int64 {
	r := &c.rcv
	switch {
	case r.next != r.sentPos || r.number == 0:
		return r.lastAck + ackEvery
	case r.next != r.done:
		return r.lastAck + max(ackEvery, c.rtt+4*c.dev)
	}
	return never
}

func (c *Conn) sendAck() {
	r := &c.rcv
	r.number = max(1, seqNext(r.number))
	r.sentPos, r.lastAck, r.since = r.next, c.now, 0
	if len(r.acks) >= ackRing {
		r.acks = slices.Delete(r.acks, 0, ackRing/2)
	}
	r.acks = append(r.acks, sentAck{r.number, r.next, c.now})
	packets, bytes := r.rate.read(c.now)
	b := r.scratch[:0]
	for _, w := range []uint32{r.next, uint32(c.rtt), uint32(c.dev), uint32(c.p.RecvPackets - seqDiff(r.high, r.next) - 1), uint32(packets), uint32(r.pairs.perSecond()), uint32(bytes)} {
		b = be.AppendUint32(b, w)
	}
	r.scratch = b
	c.sendControl(ctlACK, 0, r.number, b)
}

// giveUpAt is when the first hole is given up.
func (c *Conn) giveUpAt() int64 {
	r := &c.rcv
	if r.held == 0 || len(r.loss) == 0 || c.ours.flags&flagDropLate == 0 {
		return never
	}
	return r.at(seqNext(r.loss[0].last)).at
}

func (c *Conn) giveUp() {
	r := &c.rcv
	for c.giveUpAt() <= c.now {
		s := r.loss[0]
		r.loss = slices.Delete(r.loss, 0, 1)
		c.stats.RecvDrop += int64(s.len())
		r.next = seqNext(s.last)
		r.flush(c)
	}
}

// rate measures what comes, over the last whole second.
type rate struct {
	began          int64
	packets, bytes int
	p, b           int // of the second before
}

func (r *rate) add(now int64, n int) {
	r.read(now)
	r.packets++
	r.bytes += n
}

// read returns packets and bytes a second.
func (r *rate) read(now int64) (packets, bytes int) {
	if d := now - r.began; d >= second {
		r.p, r.b = int(int64(r.packets)*second/d), int(int64(r.bytes)*second/d)
		r.packets, r.bytes, r.began = 0, 0, now
	}
	return r.p, r.b
}

// pairs measures the capacity of the way by the pairs of packets that a sender sends
// without a gap: those numbered 16n and 16n+1.
type pairs struct {
	first int64
	seen  [16]int64
	n     int
}

func (p *pairs) add(seq uint32, now int64) {
	switch seq & 15 {
	case 0:
		p.first = now
	case 1:
		if p.first > 0 {
			p.seen[p.n%len(p.seen)] = max(1, now-p.first)
			p.n++
		}
		p.first = 0
	}
}

// perSecond returns the median, in packets a second; 1000 before anything was seen.
func (p *pairs) perSecond() int {
	n := min(p.n, len(p.seen))
	if n == 0 {
		return 1000
	}
	sorted := p.seen
	slices.Sort(sorted[:n])
	return int(second / sorted[n/2])
}
