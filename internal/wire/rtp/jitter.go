package rtp

import "time"

// A Jitter puts the packets of one source into order, tells which are missing, and
// gives up those that do not come in time. The zero value is ready.
//
// It is for sources that can be asked for a packet again; a [Sorter] is for others. It
// holds as many packets as it has slots for, whatever comes: what is further ahead is
// a new beginning.
type Jitter struct {
	// Slots is how many packets it may hold, a power of two; 1024 if 0.
	Slots int

	slots   []slot
	begun   bool
	next    uint16        // the one that is due
	top     uint16        // one behind the newest
	strange int           // packets in a row that are nowhere near
	came    uint16        // the last of those
	gap     bool          // packets before next are missing for good
	turn    time.Duration // from asking for a packet until it comes, smoothed; 0 if not known

	// Received and Missed count packets: those that came in time, and those that
	// were given up.
	Received, Missed uint64
}

// A Received is a packet in its turn. Its payload is valid until the next call.
type Received struct {
	Payload   []byte
	Timestamp uint32
	Seq       uint16
	Marker    bool
	// Lost says that packets before this one are missing for good.
	Lost bool
}

type slot struct {
	data    []byte
	missed  time.Time // when it was seen to be missing
	asked   time.Time // when it was last asked for
	stamp   uint32
	tries   uint8
	here    bool
	missing bool // it has been seen to be missing
	marker  bool
}

const (
	usualSlots = 1024
	// farPackets in a row that are nowhere near are a new beginning.
	farPackets = 3
	// askEvery is after what time a packet is asked for once more, where it is not known
	// how long the way takes, and askMost how often it is.
	askEvery = 60 * time.Millisecond
	askMost  = 8
	// askSoonest and askLatest bound that time where it is known.
	askSoonest, askLatest = 15 * time.Millisecond, 200 * time.Millisecond
)

// Push takes a packet that came at a moment. It reports false for one that came twice or
// too late.
func (j *Jitter) Push(now time.Time, seq uint16, stamp uint32, marker bool, payload []byte) bool {
	if j.slots == nil {
		if j.Slots == 0 {
			j.Slots = usualSlots
		}
		j.slots = make([]slot, j.Slots)
	}
	if !j.begun {
		j.restart(seq)
	}
	ahead := int(int16(seq - j.next))
	switch {
	case ahead >= len(j.slots) || ahead < -len(j.slots):
		if j.strange == 0 || seq-j.came != 1 {
			j.strange = 0
		}
		j.came = seq
		if j.strange++; j.strange < farPackets {
			return false
		}
		j.restart(seq)
		j.gap = true
	case ahead < 0:
		return false
	}
	j.strange = 0
	s := j.at(seq)
	if s.here {
		return false
	}
	if s.missing && s.tries == 1 {
		d := now.Sub(s.asked)
		if j.turn == 0 {
			j.turn = d
		}
		j.turn += (d - j.turn) / 4
	}
	for ; int16(seq-j.top) >= 0; j.top++ {
		m := j.at(j.top)
		*m = slot{data: m.data[:0], missing: j.top != seq, missed: now}
	}
	*s = slot{data: append(s.data[:0], payload...), stamp: stamp, marker: marker, here: true}
	j.Received++
	return true
}

func (j *Jitter) restart(seq uint16) {
	for i := range j.slots {
		j.slots[i].here, j.slots[i].missing = false, false
	}
	j.begun, j.next, j.top = true, seq, seq
}

func (j *Jitter) at(seq uint16) *slot { return &j.slots[int(seq)&(len(j.slots)-1)] }

// Pop returns the packet whose turn it is. One that is missing is waited for that long
// from when a later one came, whatever was waited for before: what is lost costs no more
// time the more of it there is.
func (j *Jitter) Pop(now time.Time, wait time.Duration) (r Received, ok bool) {
	for j.begun && j.next != j.top {
		s := j.at(j.next)
		if s.here {
			r = Received{s.data, s.stamp, j.next, s.marker, j.gap}
			s.here, j.gap = false, false
			j.next++
			return r, true
		}
		if now.Sub(s.missed) < wait {
			return r, false
		}
		j.gap = true
		j.Missed++
		s.missing = false
		j.next++
	}
	return r, false
}

// Missing appends the packets to be asked for now, in order, at most as many as dst
// has room for.
func (j *Jitter) Missing(now time.Time, dst []uint16) []uint16 {
	if !j.begun {
		return dst
	}
	every := askEvery
	if j.turn > 0 {
		every = min(max(j.turn+j.turn/4, askSoonest), askLatest)
	}
	for seq := j.next; seq != j.top && len(dst) < cap(dst); seq++ {
		s := j.at(seq)
		if s.here || !s.missing || s.tries >= askMost || now.Sub(s.asked) < every {
			continue
		}
		s.asked = now
		s.tries++
		dst = append(dst, seq)
	}
	return dst
}

// Highest returns the newest sequence number.
func (j *Jitter) Highest() uint16 { return j.top - 1 }
