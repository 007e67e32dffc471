package srt

// order follows how far packets overtake each other, so that a hole is not told of before
// it is likely to be one.
type order struct {
	tolerance int    // packets that may come before a hole is told of
	young     []hole // those that were not told of
	steady    int    // packets in a row that came in order
	early     int    // times in a row that less would have done
}

// hole is one that may fill itself.
type hole struct {
	span
	left int // packets that may come until it is told of
}

const (
	// calm is after how many packets in order, and tame after how many that were turned
	// around by less, the tolerance shrinks by one.
	calm, tame = 50, 10
	// maxYoung bounds the holes that are waited with.
	maxYoung = 256
)

// reordered takes a packet that was not sent again: behind is how many newer ones came
// before it, less than 1 if it is the newest.
func (c *Conn) reordered(behind int) {
	o := &c.rcv.order
	if c.p.Reorder == 0 {
		return
	}
	switch {
	case behind <= 0:
		o.early = 0
		if o.steady++; o.steady >= calm {
			o.steady = 0
			o.tolerance = max(0, o.tolerance-1)
		}
	case behind > o.tolerance:
		o.steady, o.early = 0, 0
		o.tolerance = min(behind, c.p.Reorder)
	default:
		o.steady = 0
		if o.early++; o.early >= tame {
			o.early = 0
			o.tolerance = max(0, o.tolerance-1)
		}
	}
	// Each packet brings the end of waiting nearer.
	kept := o.young[:0]
	for _, h := range o.young {
		if h.left--; h.left > 0 && len(o.young) < maxYoung {
			kept = append(kept, h)
		} else {
			c.tell(h.span)
		}
	}
	o.young = kept
}

// tell reports what is still missing of a hole.
func (c *Conn) tell(s span) {
	for i, l := range c.rcv.loss {
		if seqDiff(l.first, s.last) > 0 {
			return
		}
		if seqDiff(l.last, s.first) >= 0 {
			c.report(c.rcv.loss[i : i+1])
		}
	}
}
