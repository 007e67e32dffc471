package webrtc

import (
	"time"

	"weir/internal/wire/rtcp"
)

// What a player has not got it asks for; where that is lost too it asks again only after
// 100 ms. So pictures of those who are cared for have counters (transport-wide congestion
// control), of whose fate Chromium tells each 50 to 100 ms anyway, and what is told to be
// lost there is sent again unless it was just now. The counter is the sequence number.

// mender is what is known of what a viewer was sent again.
type mender struct {
	counted bool     // pictures have counters,
	from    uint16   // those from this number on,
	all     bool     // or all that are kept
	mended  []mended // the last of them, around
	mends   uint
}

// mended is a packet that was sent again.
type mended struct {
	seq uint16
	at  time.Time
}

const (
	mendedMost = 64
	// mendOnce is for how long a packet that was sent again is not because of its fate:
	// that is told late.
	mendOnce = 150 * time.Millisecond
	// repeatAfter is how much later packets are sent a second time, and repeatsMost how
	// many wait for that in a loop.
	repeatAfter = 10 * time.Millisecond
	repeatsMost = 8192
)

// mend notes that a packet is sent again.
func (m *mender) mend(seq uint16, now time.Time) {
	if m.mended == nil {
		m.mended = make([]mended, mendedMost) // few viewers need them
	}
	m.mended[m.mends%mendedMost] = mended{seq, now}
	m.mends++
}

// fresh reports whether a packet was sent again just now.
func (m *mender) fresh(seq uint16, now time.Time) bool {
	for i := range m.mended {
		if e := &m.mended[i]; e.seq == seq && now.Sub(e.at) < mendOnce {
			return true
		}
	}
	return false
}

// counter is the number of the counter's extension that a packet of a viewer's has, 0 if it
// has none. Once some have it all do that follow: a packet that is sent again is what it
// was, byte for byte.
func (v *viewer) counter(t *out, p *packet, seq uint16) uint8 {
	m := &v.care.mender
	switch {
	case p.track == soundTrack:
		return 0
	case v.choice != nil:
		return v.choice.twcc
	case v.peer.plan == nil || v.peer.plan.video == nil || v.peer.plan.video.twcc == 0:
		return 0
	case !m.counted:
		if !v.care.on || t.packets > 0 && seq != t.next {
			return 0
		}
		m.counted, m.from = true, seq
	case !m.all && int16(seq-m.from) < 0:
		return 0
	case !m.all:
		m.all = t.next-m.from > ringMost
	}
	return v.peer.plan.video.twcc
}

// miss sends again what a viewer that is cared for is told to have lost.
func (l *loop) miss(v *viewer, fates []rtcp.Fate) {
	if !v.care.on || v.path.sock == nil || !v.tracks[pictureTrack].live {
		return
	}
	for i := range fates {
		if f := &fates[i]; !f.Came && !v.care.fresh(f.Counter, l.now) {
			l.mend(v, pictureTrack, f.Counter)
		}
	}
	l.account(v)
}

// mend sends a packet again, and once more in a moment if the viewer is cared for.
func (l *loop) mend(v *viewer, track int, seq uint16) {
	if !l.sendAgain(v, track, seq) {
		return
	}
	if track == pictureTrack && v.care.on {
		v.care.mend(seq, l.now)
	}
	l.repeat(v, track, seq)
}

// repeat is a packet that is to be sent a second time.
type repeat struct {
	v     *viewer
	track uint8
	seq   uint16
	due   time.Time
}

// repeat has a packet of a viewer's sent a second time, if the viewer is cared for.
func (l *loop) repeat(v *viewer, track int, seq uint16) {
	if v.care.on && len(l.repeats) < repeatsMost {
		l.repeats = append(l.repeats, repeat{v, uint8(track), seq, l.now.Add(repeatAfter)})
	}
}

// sendRepeats sends what is due.
func (l *loop) sendRepeats() {
	n := 0
	for ; n < len(l.repeats) && !l.now.Before(l.repeats[n].due); n++ {
		r := &l.repeats[n]
		if r.v.path.sock != nil {
			l.sendAgain(r.v, int(r.track), r.seq)
			l.account(r.v)
		}
	}
	if n > 0 {
		left := copy(l.repeats, l.repeats[n:])
		clear(l.repeats[left:])
		l.repeats = l.repeats[:left]
	}
}

// sendAgain sends a packet again, and reports whether it is there.
func (l *loop) sendAgain(v *viewer, track int, seq uint16) bool {
	t := &v.tracks[track]
	if v.choice != nil && track == pictureTrack {
		return l.sendNotedAgain(v, t, seq)
	}
	p, ok := v.lane.lost(track, seq-t.offset)
	if !ok || p.codec != t.is || int16(seq-t.floor) < 0 || !v.again.take(l.now, againMost) {
		return false
	}
	if t.rtx != 0 {
		l.repair(v, t, &p, seq, v.stampOf(&p), v.numberOf(t, &p))
	} else {
		l.seal(v, t, &p, seq, v.stampOf(&p), v.numberOf(t, &p))
	}
	return true
}
