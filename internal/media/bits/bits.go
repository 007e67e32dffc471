// Package bits reads numbers of any width from the headers of bitstreams,
// most significant bit first.
//
// A [Reader] that has come to its end gives zeros and says so in
// [Reader.OK], so a parser reads on and asks once. Nothing here allocates.
package bits

// A Reader reads a byte slice bit by bit. Its zero value is empty.
type Reader struct {
	b   []byte
	pos int // in bits
	bad bool
}

// New returns a reader of b.
func New(b []byte) Reader { return Reader{b: b} }

// OK reports whether all that was read was there and made sense.
func (r *Reader) OK() bool { return !r.bad }

// Left returns how many bits are left.
func (r *Reader) Left() int { return len(r.b)*8 - r.pos }

// Pos returns how many bits were read.
func (r *Reader) Pos() int { return r.pos }

// Skip passes over n bits; n is not negative.
func (r *Reader) Skip(n int) {
	if n > r.Left() {
		r.fail()
		return
	}
	r.pos += n
}

// Align passes over the rest of the byte.
func (r *Reader) Align() { r.pos = (r.pos + 7) &^ 7 }

func (r *Reader) fail() {
	r.bad = true
	r.pos = len(r.b) * 8
}

// Bits reads an unsigned number of n bits, n from 0 to 32.
func (r *Reader) Bits(n int) uint32 {
	if n > r.Left() {
		r.fail()
		return 0
	}
	var v uint64
	for n > 0 {
		have := 8 - r.pos&7
		take := min(have, n)
		v = v<<take | uint64(r.b[r.pos>>3]>>(have-take))&(1<<take-1)
		r.pos += take
		n -= take
	}
	return uint32(v)
}

// Flag reads one bit.
func (r *Reader) Flag() bool { return r.Bits(1) == 1 }

// UE reads an Exp-Golomb number, as H.264 9.1 and H.265 9.2 define ue(v).
func (r *Reader) UE() uint32 {
	zeros := 0
	for !r.Flag() {
		if zeros++; zeros > 32 || r.bad {
			r.fail()
			return 0
		}
	}
	// With 32 zeros the only value in range is 2^32-1.
	return uint32(uint64(1)<<zeros - 1 + uint64(r.Bits(zeros)))
}

// SE reads a signed Exp-Golomb number, se(v).
func (r *Reader) SE() int32 {
	k := r.UE()
	if k&1 == 1 {
		return int32(k/2 + 1)
	}
	return -int32(k / 2)
}
