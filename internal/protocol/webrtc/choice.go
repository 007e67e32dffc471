package webrtc

import (
	"cmp"
	"slices"
	"time"

	"weir/internal/hub"
	"weir/internal/wire/estimate"
	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
)

// Where a picture comes in layers each viewer gets the best one that its way carries. How
// much that is it says itself, of packets that have a counter; before it is given a better
// layer it is sent padding for a moment, as much as that layer would be more.

// A choice is what a viewer of layers has beside others. It belongs to the loop.
type choice struct {
	twcc   uint8 // number of the counter's extension, 0 if the viewer takes none
	zero   time.Time
	want   int // the layer to be gone over to
	looked time.Duration
	rose   time.Duration // when a better layer was begun with
	heard  bool          // something was said of packets
	way    estimate.Estimator
	book   [bookSize]entry
	ladder []rung // scratch
	told   []estimate.Result
	trial
}

// trial is the trial of a better layer.
type trial struct {
	began    time.Duration
	goal     int // bits a second of padding; 0 if there is no trial
	padded   int // bytes
	patience time.Duration
}

// entry is one packet that was sent, by its sequence number, which is its counter too: so
// one that is sent again is what it was, byte for byte, as it must be where its key stream
// is the same.
type entry struct {
	at     time.Duration
	pos    uint64 // in the lane, if it is no padding
	stamp  uint32
	seq    uint16
	number uint16 // of the picture
	size   uint16
	used   bool
	pad    bool
	judged bool // it was said to be lost
	came   bool
}

// rung is a layer that comes.
type rung struct {
	layer int
	rate  int // bits a second
	size  int // pixels
}

const (
	bookSize = 2048
	// chooseEvery is how often a layer is chosen.
	chooseEvery = 200 * time.Millisecond
	// deafTime is after what time a viewer that says nothing of its packets is taken for
	// one that never does.
	deafTime = 3 * time.Second
	// A trial takes tryTime, of which padTime padding is sent; there are patienceLeast to
	// patienceMost between two, more after each that showed that the way does not carry
	// more.
	tryTime       = 1100 * time.Millisecond
	padTime       = 800 * time.Millisecond
	patienceLeast = time.Second
	patienceMost  = 32 * time.Second
	// calmTime is for how long nothing was wrong before more is tried, and keepTime how
	// long a better layer must last to have been right.
	calmTime = time.Second
	keepTime = 10 * time.Second
	// padSize is the padding of one packet, the most that there can be, and padMost how
	// many are sent at once.
	padSize = 255
	padMost = 64
	// onWire is what a payload has around it: headers of RTP, UDP and IP, and what
	// encryption adds.
	onWire = wire.HeaderSize + 8 + 16 + 28
)

// meter measures a rate.
type meter struct {
	since, bytes int64
	rate         int64 // bits a second of the seconds before
}

const meterTime = int64(time.Second)

// add counts bytes that came at a moment, in ns.
func (m *meter) add(at int64, n int) {
	if d := at - m.since; d >= meterTime {
		if m.since != 0 && d < 2*meterTime {
			m.rate = m.now(at)
		} else {
			m.rate = 0 // it has stopped meanwhile
		}
		m.since, m.bytes = at, 0
	}
	m.bytes += int64(n)
}

// now returns bits a second; of the first second it is what is known.
func (m *meter) now(at int64) int64 {
	d := max(at-m.since, meterTime/4)
	fresh := m.bytes * 8 * int64(time.Second) / d
	switch {
	case m.rate == 0:
		return fresh
	case at-m.since < meterTime:
		return m.rate
	}
	return (m.rate + fresh) / 2
}

// rungs appends the layers that come, the smallest first, and tells which cannot be shown
// before there is a key frame of them.
func (l *lane) rungs(dst []rung, now time.Time) (all []rung, keyless [hub.LayersMost]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now.UnixNano()
	for i := pictureTrack; i < trackCount; i++ {
		t := &l.tracks[i]
		switch {
		case at-t.last >= int64(layerSilence):
		case !t.begun || t.track == nil:
			keyless[i-pictureTrack] = true
		default:
			dst = append(dst, rung{i - pictureTrack, int(t.meter.now(at)), t.track.Width * t.track.Height})
		}
	}
	slices.SortStableFunc(dst, func(a, b rung) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.rate, b.rate)) })
	return dst, keyless
}

// choose decides which layer a viewer is to have.
func (l *loop) choose(v *viewer) {
	c := v.choice
	if c == nil {
		c = &choice{zero: l.now, looked: -chooseEvery, trial: trial{patience: patienceLeast}}
		if p := v.peer.plan; p != nil && p.video != nil {
			c.twcc = p.video.twcc
		}
		v.choice = c
	}
	now := l.now.Sub(c.zero)
	if now-c.looked < chooseEvery {
		return
	}
	c.looked = now
	var keyless [hub.LayersMost]bool
	c.ladder, keyless = v.lane.rungs(c.ladder[:0], l.now)
	for n, is := range keyless {
		if is {
			v.lane.wish(l.now, pictureTrack+n)
		}
	}
	if len(c.ladder) == 0 {
		return
	}
	current := slices.IndexFunc(c.ladder, func(r rung) bool { return r.layer == v.layer })
	best := len(c.ladder) - 1
	if c.twcc != 0 && (c.heard || now < deafTime) {
		best = pick(c.ladder, current, c.way.Rate())
	}
	v.peer.estimate.Store(int64(c.way.Rate()))
	c.want = c.ladder[best].layer
	switch {
	case !v.joined:
		v.layer = c.want
		v.peer.layer.Store(int32(v.layer))
	case current >= 0 && best < current:
		// What is sent of the layer until then would only be in the way. It goes on at
		// a key frame.
		v.layer = noLayer
		c.fell(now)
	case current >= 0 && best == current && best+1 < len(c.ladder):
		c.climb(now, c.ladder[best].rate, c.ladder[best+1].rate)
	}
	if c.want != v.layer || !v.tracks[pictureTrack].live {
		v.lane.wish(l.now, pictureTrack+c.want)
	}
}

// pick returns the best rung that a way carries: with something to spare if it is better
// than the current one, which may be -1.
func pick(ladder []rung, current, carries int) (best int) {
	for i, r := range ladder {
		spare := 115
		if i <= current {
			spare = 95
		}
		if r.rate*spare/100 <= carries {
			best = i
		}
	}
	return best
}

// fell notes that the viewer gets a lower layer.
func (c *choice) fell(now time.Duration) {
	if c.rose > 0 && now-c.rose < keepTime {
		c.patience = min(2*c.patience, patienceMost)
	} else {
		c.patience = patienceLeast
	}
	c.goal, c.began = 0, now
}

// climb tries whether the way carries the next layer.
func (c *choice) climb(now time.Duration, current, next int) {
	since := now - c.began
	switch {
	case c.goal > 0 && c.way.Since(now) < since, c.goal > 0 && since > tryTime:
		c.goal = 0
		c.patience = min(2*c.patience, patienceMost)
	case c.goal == 0 && c.heard && since >= c.patience && c.way.Since(now) >= calmTime:
		c.began, c.padded = now, 0
		c.goal = max(next*5/4-current, 0)
	}
}

// goesOver reports whether a viewer goes over to another layer with a packet, and makes
// it so: sequence numbers, time stamps and picture numbers go on.
func (v *viewer) goesOver(p *packet) bool {
	want := 0
	if c := v.choice; c != nil && v.lane.layered.Load() {
		want = c.want
	}
	layer := int(p.track) - pictureTrack
	if !p.key || layer != want {
		return false
	}
	t := &v.tracks[pictureTrack]
	v.layer, v.from, v.upto = layer, 0, 0
	v.peer.layer.Store(int32(layer))
	if c := v.choice; c != nil {
		c.rose, c.goal = time.Duration(p.at-c.zero.UnixNano()), 0
	}
	if t.packets == 0 {
		return true // it begins just now
	}
	t.offset = t.next - p.seq
	t.floor = t.next
	t.shift = 0
	if p.time == t.stamp || p.time-t.stamp > 1<<31 {
		t.shift = t.stamp + 90 - p.time
	}
	if n, ok := p.Number(p.codec); ok {
		t.numbers = t.number + 1 - n
	}
	return true
}

// note writes down what was sent.
func (c *choice) note(now time.Time, e entry) {
	e.at, e.used = now.Sub(c.zero), true
	c.book[e.seq%bookSize] = e
}

// find returns what was sent with a sequence number, nil if that is not known any more.
func (c *choice) find(seq uint16) *entry {
	if e := &c.book[seq%bookSize]; e.used && e.seq == seq {
		return e
	}
	return nil
}

// hear takes what a viewer says of its packets.
func (l *loop) hear(v *viewer, fates []rtcp.Fate) {
	c := v.choice
	if c == nil {
		return
	}
	c.told = c.told[:0]
	for i := range fates {
		f := &fates[i]
		e := c.find(f.Counter)
		if e == nil || e.came || e.judged && !f.Came {
			continue
		}
		e.came, e.judged = f.Came, true
		c.told = append(c.told, estimate.Result{Sent: e.at, Tick: f.Tick, Came: f.Came, Size: int(e.size)})
	}
	if len(c.told) > 0 {
		c.heard = true
		c.way.Add(time.Since(c.zero), c.told)
	}
}

// pad sends a viewer the padding that is due in a trial.
func (l *loop) pad(v *viewer) {
	c, t := v.choice, &v.tracks[pictureTrack]
	since := l.now.Sub(c.zero) - c.began
	if c.goal == 0 || since > padTime || t.packets == 0 {
		return
	}
	due := int(int64(c.goal) / 8 * int64(since) / int64(time.Second))
	for n := 0; c.padded < due && n < padMost; n++ {
		e := entry{seq: t.next, stamp: t.stamp, pad: true, size: padSize + onWire}
		c.note(l.now, e)
		if !l.padding(v, t, &e) {
			return
		}
		t.next++
		t.offset++
		c.padded += padSize + onWire
	}
}

// padding sends one packet of padding.
func (l *loop) padding(v *viewer, t *out, e *entry) bool {
	o := l.box(v.path.sock)
	b := o.room(counterSize + padSize + overhead)[:counterSize+padSize]
	clear(b)
	wire.PutCounter(b, false, t.typ, e.seq, e.stamp, t.ssrc, v.choice.twcc, e.seq)
	b[0] |= 0x20
	b[len(b)-1] = padSize
	return l.ship(v, o, b)
}

// counterSize is the length of a header with a counter.
const counterSize = wire.HeaderSize + 8

// sendNotedAgain sends a packet of a picture in layers again, and reports whether it is
// there.
func (l *loop) sendNotedAgain(v *viewer, t *out, seq uint16) bool {
	e := v.choice.find(seq)
	if e == nil || !v.again.take(l.now, againMost) {
		return false
	}
	if e.pad {
		return l.padding(v, t, e)
	}
	p, ok := v.lane.packet(e.pos)
	switch {
	case !ok:
	case p.codec != t.is:
		return false
	case t.rtx != 0:
		l.repair(v, t, &p, seq, e.stamp, e.number)
	default:
		l.seal(v, t, &p, seq, e.stamp, e.number)
	}
	return ok
}
