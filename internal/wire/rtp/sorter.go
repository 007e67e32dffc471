package rtp

const (
	// window is how many packets a Sorter waits for one that is missing: more than
	// networks turn around.
	window = 64
	// near is how far a sequence number may be from the one that is due.
	near = 4 * window
	// strangers is how many packets in a row, nowhere near, are a new beginning.
	strangers = 4
)

// A Sorter puts the packets of one source into the order of their sequence numbers.
// One that is missing is waited for until 64 later ones have come. The zero value is
// ready. It holds at most 64 packets.
type Sorter struct {
	begun   bool
	next    uint16 // the one that is due
	gap     bool   // packets before next are missing for good
	strange int
	held    [window][]byte // by sequence number
	here    [window]bool
}

// Push takes a packet and calls each with those that are in order now; lost tells
// that some before are missing for good. The bytes are valid until each returns.
// Packets that come twice or too late are dropped; if several in a row are nowhere
// near, the source has begun anew and is followed.
func (s *Sorter) Push(sequence uint16, packet []byte, each func(packet []byte, lost bool)) {
	ahead := int(int16(sequence - s.next))
	switch {
	case !s.begun:
		s.begun, s.next = true, sequence
	case ahead < 0 && ahead > -near:
		return
	case ahead < 0 || ahead >= near:
		if s.strange++; s.strange < strangers {
			return
		}
		for range window {
			s.step(each)
		}
		s.next, s.gap = sequence, true
	}
	s.strange = 0
	for int(int16(sequence-s.next)) >= window {
		s.step(each)
	}
	if sequence == s.next {
		each(packet, s.gap)
		s.gap = false
		s.next++
	} else if i := sequence % window; !s.here[i] {
		s.held[i], s.here[i] = append(s.held[i][:0], packet...), true
	}
	for s.here[s.next%window] {
		s.step(each)
	}
}

// step hands out the packet that is due, or gives it up.
func (s *Sorter) step(each func([]byte, bool)) {
	i := s.next % window
	s.next++
	if !s.here[i] {
		s.gap = true
		return
	}
	s.here[i] = false
	each(s.held[i], s.gap)
	s.gap = false
}
