package webrtc

import (
	"time"

	"weir/internal/wire/rtcp"
)

// Some ways lose packets. What a player asks for again gets lost on them too, and Chromium
// asks once more only after 100 ms, in which the picture stands still if it is not kept
// that long. So for who loses much, what is sent again is sent twice, a little apart, also
// if it was but told to be lost (mend.go); so is sound, which players do not ask for;
// pictures are to be kept longer, and sound with them (hold.go). What that costs is paid on
// such ways alone.

// care is what is known of a viewer's losses. It belongs to the loop.
type care struct {
	on      bool
	since   time.Time // when it was last looked,
	packets uint32    // and what had been sent then
	asked   int       // packets that were asked for since
	told    uint8     // the greatest share that was told to be lost since, of 256
	bad     time.Time // when it was last so that care was needed

	sent, lost float64       // of the last seconds
	kept       time.Duration // how long the player was told to keep pictures,
	tell       int           // with how many frames it is to be told that yet,
	notes      [notesMost]note
	noted      uint // and with which it was told

	mender
	holder
}

const (
	// lookEvery is how often losses are counted, and fade what of the counts is left then.
	lookEvery = 500 * time.Millisecond
	fade      = 7. / 8
	// A viewer is cared for that loses one packet in lossOf or more, and lossLeast at
	// least, until it has lost less for calmFor.
	lossOf    = 50
	lossLeast = 3
	calmFor   = 30 * time.Second
	// tellFrames is with how many frames news are told, since some of them get lost.
	tellFrames = 10
	notesMost  = 64
	// keepStep is by how much longer each frame is to be kept than the one before, until
	// all are for as long as they should: the picture goes slower for a moment. It would
	// stand still if all were told at once, and more than 150 ms Chromium counts as a freeze.
	keepStep = 30 * time.Millisecond
	// fadeFor is how long it takes until what is held and kept is as if nothing had been,
	// and keepFurther how much later that begins with pictures: so long does Chromium
	// remember how late sound was. It forgets 1.7 % each 0.5 s and minds what is more
	// than 5 %.
	fadeFor     = 90 * time.Second
	keepFurther = 87 * time.Second
)

// look counts the losses of a viewer that has been sent so many packets in all. The first
// ones are seen at once.
func (c *care) look(now time.Time, packets uint32) {
	n := packets - c.packets
	if now.Sub(c.since) < lookEvery && (c.on || c.asked < lossLeast || c.asked*lossOf < int(n)) {
		return
	}
	lost := max(float64(c.asked), float64(c.told)*float64(n)/256)
	c.sent, c.lost = fade*c.sent+float64(n), fade*c.lost+min(lost, float64(n))
	c.since, c.packets, c.asked, c.told = now, packets, 0, 0
	if c.lost >= lossLeast && c.lost*lossOf >= c.sent {
		c.on, c.bad = true, now
	} else if now.Sub(c.bad) >= calmFor {
		c.on = false
	}
}

// fade is what is left of a time at a moment: all while care is needed, and nothing in the
// end.
func (c *care) fade(d time.Duration, now time.Time) time.Duration {
	if c.bad.IsZero() {
		return 0
	}
	left := min(fadeFor, max(0, fadeFor+calmFor-now.Sub(c.bad)))
	return time.Duration(float64(d) * left.Seconds() / fadeFor.Seconds())
}

// keep is how long the player of a viewer is told to keep pictures with a packet, if it is
// told. A packet that is sent again says what it said, byte for byte.
func (v *viewer) keep(t *out, p *packet, seq uint16) (d time.Duration, told bool) {
	switch {
	case t.delay == 0 || p.track == soundTrack || !p.first:
		return 0, false
	case p.heard:
		return v.peer.conf.PlayoutDelay + p.ahead, p.key
	case t.packets > 0 && int16(seq-t.next) < 0:
		for _, n := range v.care.notes {
			if n.told && n.seq == seq {
				return n.keep, true
			}
		}
		return 0, false
	}
	c := &v.care
	d = c.fade(v.peer.conf.PlayoutDelay, v.loop.now.Add(-keepFurther)).Truncate(10 * time.Millisecond)
	if d != c.kept {
		c.kept, c.tell = min(d, c.kept+keepStep), tellFrames
	}
	d = c.kept
	if c.tell == 0 && (!p.key || d == 0 || seq-c.notes[(c.noted-1)%notesMost].seq < ringLeast) {
		return 0, false
	}
	c.tell = max(0, c.tell-1)
	n := &c.notes[c.noted%notesMost]
	if n.told && int16(n.seq+1-t.floor) > 0 {
		t.floor = n.seq + 1 // what it said is forgotten
	}
	*n = note{seq: seq, keep: d, told: true}
	c.noted++
	return d, true
}

// note is what a packet told.
type note struct {
	seq  uint16
	keep time.Duration
	told bool
}

// lossTold takes what a viewer reports of its losses.
func (v *viewer) lossTold(r *rtcp.Packet) {
	most := uint8(0)
	for i := 0; ; i++ {
		b, ok := r.Report(i)
		if !ok {
			break
		}
		for k := range v.tracks {
			if t := &v.tracks[k]; t.on && t.ssrc == b.SSRC {
				most = max(most, b.Fraction)
			}
		}
	}
	if most > 0 {
		v.loop.offer(func() { v.care.told = max(v.care.told, most) })
	}
}
