package rtp

import "weir/internal/media"

// maxAAC is the longest frame of AAC that a header of 13 bits tells of, in bytes.
const maxAAC = 1<<13 - 1

// aac cuts a frame (RFC 3640 3.2, mode AAC-hbr): one a packet, with a header that says
// how long it is, fragments of one that is too long with the same header.
func (p *Packer) aac(dst []Payload, f *media.Frame) []Payload {
	size := len(f.Payload)
	if size > maxAAC {
		return dst
	}
	d := Payload{n: 4, head: [8]byte{0, 16, byte(size >> 5), byte(size << 3)}}
	for b := f.Payload; len(b) > 0; {
		n := min(len(b), p.max()-int(d.n))
		d.Body, b = b[:n], b[n:]
		dst = append(dst, d)
	}
	return dst
}

// mp3 cuts a frame (RFC 2250 3.5), with a header that says where in it a packet begins.
func (p *Packer) mp3(dst []Payload, f *media.Frame) []Payload {
	if len(f.Payload) > soundMost {
		return dst
	}
	for at := 0; at < len(f.Payload); {
		n := min(len(f.Payload)-at, p.max()-4)
		dst = append(dst, Payload{n: 4, head: [8]byte{2: byte(at >> 8), 3: byte(at)}, Body: f.Payload[at : at+n]})
		at += n
	}
	return dst
}
