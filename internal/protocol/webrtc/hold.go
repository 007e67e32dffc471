package webrtc

import (
	"slices"
	"time"

	"weir/internal/media"
)

// A browser that is told to keep pictures does so at once, while it moves sound after them
// by an eighth of the distance a second (libwebrtc's StreamSynchronization: a quarter of
// the difference goes into its average, of which half is passed on). But sound it keeps at
// least as long as what came late was late, within half a second. So who is told to keep
// pictures is sent sound in batches: the first packet of each is held for so long that
// sound is kept about as long as the picture. All that costs is that these packets come
// together.

// holder has the sound that a viewer is not sent yet.
type holder struct {
	held []uint16  // sequence numbers
	due  time.Time // when they are sent
	line struct {
		stamp uint32 // of a packet,
		at    int64  // and when it would have come at the earliest, in Unix ns
	}
}

const (
	// holdLess is what sound is kept for beside that it comes late, and on its way to the
	// loudspeaker. Chromium aims at the lateness and up to 20 ms, and keeps what comes
	// on time for 3/4 of that and more.
	holdLess = 60 * time.Millisecond
	// heldMost is how many packets of sound are held at most.
	heldMost = 64
	// lineMost is by how much a packet is off the line at most, and lineCreep what part
	// of the time the line goes down, after a publisher's clock that is slow.
	lineMost  = int64(500 * time.Millisecond)
	lineCreep = 1000
)

// earliest is when a packet would have come at the earliest, by those before it, in Unix ns.
func (h *holder) earliest(p *packet, rate int64) int64 {
	passed := int64(media.Duration(int64(int32(p.time-h.line.stamp)), rate))
	at := h.line.at + passed
	switch off := p.at - at; {
	case off < 0, off > lineMost:
		at = p.at
	default:
		at += min(off, max(0, passed/lineCreep))
	}
	h.line.stamp, h.line.at = p.time, at
	return at
}

// holdFor is for how long the first packet of a batch of sound is held.
func (v *viewer) holdFor() time.Duration {
	if t := &v.tracks[pictureTrack]; v.care.bad.IsZero() || !t.live || t.delay == 0 {
		return 0
	}
	return max(0, v.care.fade(v.peer.conf.PlayoutDelay, v.loop.now)-holdLess) * 3 / 4
}

// hold holds a packet of sound back, and reports false if it is to be sent at once.
func (l *loop) hold(v *viewer, t *out, p *packet, seq uint16) bool {
	h, d := &v.care.holder, v.holdFor()
	if d == 0 && len(h.held) == 0 {
		return false
	}
	at := time.Unix(0, h.earliest(p, t.rate))
	if len(h.held) == 0 {
		h.due = at.Add(d)
		if !h.due.After(l.now) {
			return false
		}
		l.holders = append(l.holders, v)
	}
	if h.held = append(h.held, seq); len(h.held) == heldMost {
		h.due = l.now
	}
	return true
}

// sendHeld sends the sound that is due.
func (l *loop) sendHeld() {
	l.holders = slices.DeleteFunc(l.holders, func(v *viewer) bool {
		h, t := &v.care.holder, &v.tracks[soundTrack]
		if l.now.Before(h.due) {
			return false
		}
		for _, seq := range h.held {
			if p, ok := v.lane.lost(soundTrack, seq-t.offset); ok && v.path.sock != nil {
				l.seal(v, t, &p, seq, p.time, 0)
				l.repeat(v, soundTrack, seq)
			}
		}
		h.held = h.held[:0]
		l.account(v)
		return true
	})
}
