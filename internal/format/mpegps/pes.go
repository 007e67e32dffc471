package mpegps

// pes is a packet of an elementary stream.
type pes struct {
	timed    bool
	pts, dts uint64 // 90 kHz, 33 bits
	body     []byte // aliases what was parsed
}

// parsePES reads a whole packet (ISO/IEC 13818-1 2.4.3.6, ISO/IEC 11172-1 2.4.3.3).
func parsePES(b []byte) (h pes, ok bool) {
	if len(b) < 7 {
		return h, false
	}
	if b[6]&0xc0 != 0x80 {
		return parsePES1(b[6:])
	}
	if len(b) < 9 || b[6]&0x30 != 0 || 9+int(b[8]) > len(b) { // scrambled
		return h, false
	}
	flags, head := b[7], b[9:9+int(b[8])]
	h.body = b[9+len(head):]
	if flags&0x80 == 0 || len(head) < 5 {
		return h, true
	}
	h.timed = true
	h.pts = readTime(head)
	h.dts = h.pts
	if flags&0x40 != 0 && len(head) >= 10 {
		h.dts = readTime(head[5:])
	}
	return h, true
}

// parsePES1 reads what follows the length of a packet of MPEG-1.
func parsePES1(b []byte) (h pes, ok bool) {
	for n := 0; len(b) > 0 && b[0] == 0xff; n++ { // stuffing
		if n == 16 {
			return h, false
		}
		b = b[1:]
	}
	if len(b) >= 2 && b[0]>>6 == 1 { // size of a buffer
		b = b[2:]
	}
	switch {
	case len(b) >= 5 && b[0]>>4 == 2:
		h.timed, h.pts = true, readTime(b)
		h.dts = h.pts
		b = b[5:]
	case len(b) >= 10 && b[0]>>4 == 3:
		h.timed, h.pts, h.dts = true, readTime(b), readTime(b[5:])
		b = b[10:]
	case len(b) >= 1 && b[0] == 0x0f:
		b = b[1:]
	default:
		return h, false
	}
	h.body = b
	return h, true
}

func readTime(b []byte) uint64 {
	return uint64(b[0]>>1&7)<<30 | uint64(b[1])<<22 | uint64(b[2]>>1)<<15 | uint64(b[3])<<7 | uint64(b[4]>>1)
}
