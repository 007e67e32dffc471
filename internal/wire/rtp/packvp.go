package rtp

import (
	"weir/internal/media"
	"weir/internal/media/av1"
	"weir/internal/media/vp9"
)

// vp8 cuts a frame (RFC 7741 4.2): the descriptor has a number of 15 bits.
func (p *Packer) vp8(dst []Payload, f *media.Frame) []Payload {
	p.count++
	d := Payload{n: 4, head: [8]byte{0x90, 0x80, 0x80 | byte(p.count>>8), byte(p.count)}}
	for b := f.Payload; len(b) > 0; {
		n := min(len(b), p.max()-int(d.n))
		d.Body, b = b[:n], b[n:]
		dst = append(dst, d)
		d.head[0] &^= 0x10 // start of the partition
	}
	return dst
}

// numberAt is where the number of a picture is in what a Packer writes, 0 if a codec has
// none.
func numberAt(c media.Codec) int {
	switch c {
	case media.VP8:
		return 2
	case media.VP9:
		return 1
	}
	return 0
}

// Number returns the number of the picture in the descriptor of VP8 or VP9, of 15 bits;
// ok is false for codecs that have none.
func (p *Payload) Number(c media.Codec) (n uint16, ok bool) {
	at := numberAt(c)
	return uint16(p.head[at]&0x7f)<<8 | uint16(p.head[at+1]), at != 0
}

// PutNumber gives a copy of a payload another number; b begins with the payload.
func PutNumber(b []byte, c media.Codec, n uint16) {
	if at := numberAt(c); at != 0 && len(b) > at+1 {
		b[at], b[at+1] = 0x80|byte(n>>8), byte(n)
	}
}

// vp9 cuts a frame (RFC 9628 4.2), without layers and in the mode that is not
// flexible: those of a superframe are the receiver's decoder's to tell apart.
func (p *Packer) vp9(dst []Payload, f *media.Frame) []Payload {
	const (
		hasID, predicted, start, end, structure = 0x80, 0x40, 0x08, 0x04, 0x02
	)
	p.count++
	d := Payload{n: 3, head: [8]byte{hasID | start, 0x80 | byte(p.count>>8), byte(p.count)}}
	if !f.Key {
		d.head[0] |= predicted
	}
	if w, h, ok := vp9.Size(f.Payload); ok && f.Key {
		if f.Track.Width > 0 { // the first layer of several may be smaller
			w, h = f.Track.Width, f.Track.Height
		}
		d.head[0] |= structure // one layer, its size, no groups
		d.head[3], d.n = 0x10, 8
		d.head[4], d.head[5], d.head[6], d.head[7] = byte(w>>8), byte(w), byte(h>>8), byte(h)
	}
	for b := f.Payload; len(b) > 0; {
		n := min(len(b), p.max()-int(d.n))
		d.Body = b[:n]
		if b = b[n:]; len(b) == 0 {
			d.head[0] |= end
		}
		dst = append(dst, d)
		d.head[0] &^= start | structure
		d.n = 3
	}
	return dst
}

// av1 cuts a temporal unit: its units lose their sizes and are elements, cut where a
// packet is full (AV1 RTP payload format 4.4).
func (p *Packer) av1(dst []Payload, f *media.Frame) []Payload {
	p.units = p.units[:0]
	sequence := false
	for b := f.Payload; len(b) > 0 && len(p.units) < 64; {
		typ, whole, body, rest, err := av1.Next(b)
		if err != nil {
			return dst
		}
		b = rest
		switch typ {
		case av1.TypeTemporalDelimiter, av1.TypePadding, 8: // tile lists
			continue
		case av1.TypeSequenceHeader:
			sequence = true
		}
		p.units = append(p.units, withoutSize(whole, body))
	}
	if f.Key && !sequence {
		if c, err := av1.ParseConfig(f.Track.Config); err == nil && len(c.Units) > 0 {
			if typ, whole, body, _, err := av1.Next(c.Units); err == nil && typ == av1.TypeSequenceHeader {
				p.units = append([][]byte{withoutSize(whole, body)}, p.units...)
			}
		}
	}
	if len(p.units) == 0 {
		return dst
	}
	const (
		goesOn, continues, begins = 0x80, 0x40, 0x08 // Z, Y, N
	)
	head := byte(0)
	if f.Key {
		head = begins
	}
	body := make([]byte, 0, p.max())
	flush := func(cut bool) {
		if cut {
			head |= continues
		}
		dst = append(dst, Payload{n: 1, head: [8]byte{head}, Body: body})
		head = 0
		if cut {
			head = goesOn
		}
		body = make([]byte, 0, p.max())
	}
	for _, u := range p.units {
		for {
			room := p.max() - 1 - len(body) - 2 // of the element's length
			if room < 1 {
				flush(false)
				continue
			}
			n := min(room, len(u))
			body = appendLEB128(body, n)
			body = append(body, u[:n]...)
			if u = u[n:]; len(u) == 0 {
				break
			}
			flush(true)
		}
	}
	flush(false)
	clear(p.units)
	return dst
}

// withoutSize returns a unit whose header says that it has no size.
func withoutSize(whole, body []byte) []byte {
	if whole[0]&2 == 0 {
		return whole
	}
	u := append(make([]byte, 0, 2+len(body)), whole[0]&^2)
	if whole[0]&4 != 0 {
		u = append(u, whole[1])
	}
	return append(u, body...)
}

// appendLEB128 appends a length below 16384 in one byte or two.
func appendLEB128(dst []byte, n int) []byte {
	if n < 0x80 {
		return append(dst, byte(n))
	}
	return append(dst, byte(n)|0x80, byte(n>>7))
}
