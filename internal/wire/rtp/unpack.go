package rtp

import (
	"weir/internal/media"
	"weir/internal/media/av1"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
	"weir/internal/media/nal"
)

// MaxFrame is the longest frame that is put together, in bytes.
const MaxFrame = 8 << 20

// An Unpacker puts a frame together from its payloads, which come in order and without
// a gap. It is for one goroutine.
type Unpacker struct {
	// Codec is that of the payloads.
	Codec media.Codec

	buf   []byte
	ends  []int // of the units in buf
	open  bool  // the last unit goes on in the next payload
	bad   bool
	key   bool
	seen  bool // a payload has come
	units [][]byte
}

// Reset forgets what has come of a frame.
func (u *Unpacker) Reset() {
	u.buf, u.ends, u.open, u.bad, u.key, u.seen = u.buf[:0], u.ends[:0], false, false, false, false
}

// Empty reports whether nothing has come of a frame.
func (u *Unpacker) Empty() bool { return !u.seen }

// Add takes the next payload of the frame.
func (u *Unpacker) Add(b []byte) {
	if u.bad || len(b) == 0 {
		return
	}
	if len(u.buf)+len(b) > MaxFrame || len(u.ends) >= nal.MaxUnits {
		u.bad = true
		return
	}
	u.seen = true
	ok := true
	switch u.Codec {
	case media.H264:
		ok = u.h264(b)
	case media.H265:
		ok = u.h265(b)
	case media.VP8:
		ok = u.vp8(b)
	case media.VP9:
		ok = u.vp9(b)
	case media.AV1:
		ok = u.av1(b)
	default:
		u.buf = append(u.buf, b...)
		u.end()
	}
	u.bad = u.bad || !ok
}

// Take returns the units of the frame, which are valid until the next Add, and whether
// it is a key frame; ok is false if it is none that can be used.
func (u *Unpacker) Take() (units [][]byte, key, ok bool) {
	if u.bad || u.open || len(u.ends) == 0 {
		return nil, false, false
	}
	u.units = u.units[:0]
	from := 0
	for _, end := range u.ends {
		u.units = append(u.units, u.buf[from:end])
		from = end
	}
	return u.units, u.key, true
}

func (u *Unpacker) end() { u.ends = append(u.ends, len(u.buf)) }

// unit takes a whole unit of H.264 or H.265.
func (u *Unpacker) unit(b []byte, key bool) {
	u.buf = append(u.buf, b...)
	u.end()
	u.key = u.key || key
}

func (u *Unpacker) h264(b []byte) bool {
	switch typ := h264.Type(b); {
	case typ >= 1 && typ <= 23:
		if u.open {
			return false
		}
		u.unit(b, typ == h264.TypeIDR)
	case typ == typeSTAPA:
		return !u.open && u.aggregate(b[1:], 1, func(x []byte) bool { return h264.Type(x) == h264.TypeIDR })
	case typ == typeFUA:
		if len(b) < 3 {
			return false
		}
		return u.fragment(b[1], []byte{b[0]&0xe0 | b[1]&0x1f}, b[2:], b[1]&0x1f == h264.TypeIDR)
	default:
		return false
	}
	return true
}

func (u *Unpacker) h265(b []byte) bool {
	if len(b) < 3 {
		return false
	}
	key := func(typ byte) bool { return typ >= h265.TypeBLA && typ <= h265.TypeCRA+2 }
	switch typ := h265.Type(b); {
	case typ < typeAP:
		if u.open {
			return false
		}
		u.unit(b, key(typ))
	case typ == typeAP:
		return !u.open && u.aggregate(b[2:], 2, func(x []byte) bool { return key(h265.Type(x)) })
	case typ == typeFU:
		return u.fragment(b[2], []byte{b[0]&0x81 | b[2]&0x3f<<1, b[1]}, b[3:], key(b[2]&0x3f))
	default:
		return false
	}
	return true
}

// aggregate takes several units, each behind its length.
func (u *Unpacker) aggregate(b []byte, head int, key func([]byte) bool) bool {
	for len(b) > 0 {
		x, rest, err := nal.Next(b, 2)
		if err != nil || len(x) < head || len(u.ends) >= nal.MaxUnits {
			return false
		}
		u.unit(x, key(x))
		b = rest
	}
	return true
}

// fragment takes a piece of a unit, behind the header that says which.
func (u *Unpacker) fragment(flags byte, head, b []byte, key bool) bool {
	start, end := flags&0x80 != 0, flags&0x40 != 0
	if start == u.open || start && end && len(b) == 0 {
		return false
	}
	if start {
		u.buf = append(u.buf, head...)
		u.key = u.key || key
	}
	u.buf = append(u.buf, b...)
	u.open = !end
	if end {
		u.end()
	}
	return true
}

// vp8 takes a payload behind its descriptor (RFC 7741 4.2).
func (u *Unpacker) vp8(b []byte) bool {
	first := b[0]
	n := 1
	if first&0x80 != 0 {
		if len(b) < 2 {
			return false
		}
		x := b[1]
		n = 2
		if x&0x80 != 0 { // PictureID
			if len(b) <= n {
				return false
			}
			n += 1 + int(b[n]>>7)
		}
		if x&0x40 != 0 { // TL0PICIDX
			n++
		}
		if x&0x30 != 0 { // TID, KEYIDX
			n++
		}
	}
	if len(b) <= n {
		return false
	}
	b = b[n:]
	if len(u.buf) == 0 {
		if first&0x17 != 0x10 { // it does not begin here
			return false
		}
		u.key = b[0]&1 == 0
	}
	u.buf = append(u.buf, b...)
	u.ends = append(u.ends[:0], len(u.buf))
	return true
}

// vp9 takes a payload behind its descriptor (RFC 9628 4.2). Each spatial layer is a unit.
func (u *Unpacker) vp9(b []byte) bool {
	const (
		hasID, predicted, layered, flexible, start, structure = 0x80, 0x40, 0x20, 0x10, 0x08, 0x02
	)
	first := b[0]
	n := 1
	need := func(k int) bool { return len(b) >= n+k }
	if first&hasID != 0 {
		if !need(1) {
			return false
		}
		n += 1 + int(b[n]>>7)
	}
	if first&layered != 0 {
		if !need(1) {
			return false
		}
		n++
		if first&flexible == 0 {
			n++
		}
	}
	if first&flexible != 0 && first&predicted != 0 {
		for range 3 {
			if !need(1) {
				return false
			}
			n++
			if b[n-1]&1 == 0 {
				break
			}
		}
	}
	if first&structure != 0 {
		if !need(1) {
			return false
		}
		ss := b[n]
		n++
		if ss&0x10 != 0 {
			n += 4 * (int(ss>>5) + 1)
		}
		if ss&0x08 != 0 {
			if !need(1) {
				return false
			}
			groups := int(b[n])
			n++
			for range groups {
				if !need(1) {
					return false
				}
				n += 1 + int(b[n]>>2&3)
			}
		}
	}
	if len(b) <= n {
		return false
	}
	if first&start != 0 {
		if len(u.ends) == 0 {
			u.key = first&predicted == 0
		}
		u.ends = append(u.ends, 0)
	}
	if len(u.ends) == 0 {
		return false // it does not begin here
	}
	u.buf = append(u.buf, b[n:]...)
	u.ends[len(u.ends)-1] = len(u.buf)
	return true
}

// av1 takes the elements of a payload (AV1 RTP payload format 4.4).
func (u *Unpacker) av1(b []byte) bool {
	continued, goesOn, count, sequence := b[0]&0x80 != 0, b[0]&0x40 != 0, int(b[0]>>4&3), b[0]&0x08 != 0
	if continued != u.open {
		return false
	}
	u.key = u.key || sequence
	b = b[1:]
	for i := 0; len(b) > 0; i++ {
		if len(u.ends) >= nal.MaxUnits {
			return false
		}
		size := len(b)
		if count == 0 || i < count-1 {
			n, head := leb128(b)
			if head == 0 || n > len(b)-head {
				return false
			}
			b, size = b[head:], n
		} else if i >= count {
			return false
		}
		u.buf = append(u.buf, b[:size]...)
		b = b[size:]
		u.open = goesOn && len(b) == 0
		if !u.open {
			u.end()
		}
	}
	return true
}

// leb128 decodes a length of up to four bytes; n is 0 if it does not end.
func leb128(b []byte) (v, n int) {
	for i := 0; i < len(b) && i < 4; i++ {
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// AppendTemporalUnit appends the units of AV1 that [Unpacker.Take] returned with their
// sizes, and without delimiters and padding. sequence is the header of the sequence if
// there is one.
func AppendTemporalUnit(dst []byte, units [][]byte) (b, sequence []byte) {
	for _, u := range units {
		typ, _, body, _, err := av1.Next(u)
		if err != nil {
			continue
		}
		switch typ {
		case av1.TypeTemporalDelimiter, av1.TypePadding:
			continue
		}
		from := len(dst)
		if u[0]&4 != 0 { // with an extension, which AppendUnit does not write
			dst = append(dst, u[0]|2, u[1])
			dst = appendLEB(dst, len(body))
			dst = append(dst, body...)
		} else {
			dst = av1.AppendUnit(dst, typ, body)
		}
		if typ == av1.TypeSequenceHeader {
			sequence = dst[from:]
		}
	}
	return dst, sequence
}

func appendLEB(dst []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
