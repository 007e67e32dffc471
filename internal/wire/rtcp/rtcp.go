// Package rtcp reads and writes the reports and requests that go along with RTP: sender
// and receiver reports (RFC 3550 6), lost packets and lost pictures (RFC 4585, RFC
// 5104), and how packets arrive, for transport-wide congestion control
// (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//
// A compound packet is gone through with [Next], without a copy; what a packet says is
// read when it is asked for, in bounds of its own length.
package rtcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Types of packets.
const (
	TypeSR      = 200
	TypeRR      = 201
	TypeSDES    = 202
	TypeBye     = 203
	TypeRTPFB   = 205
	TypePayload = 206
)

// Formats of feedback.
const (
	FormatNACK = 1  // of TypeRTPFB
	FormatTWCC = 15 // of TypeRTPFB
	FormatPLI  = 1  // of TypePayload
	FormatFIR  = 4  // of TypePayload
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("rtcp: bad syntax")

// A Packet is one of a compound. Body is what follows the sender's SSRC.
type Packet struct {
	Type   uint8
	Format uint8 // or a count
	SSRC   uint32
	Body   []byte
}

// Next cuts the first packet off b.
func Next(b []byte) (p Packet, rest []byte, err error) {
	if len(b) < 4 || b[0]>>6 != 2 {
		return p, nil, fmt.Errorf("%w: no packet", ErrSyntax)
	}
	n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b) {
		return p, nil, fmt.Errorf("%w: packet of %d bytes in %d", ErrSyntax, n, len(b))
	}
	body := b[4:n]
	if b[0]&0x20 != 0 {
		if len(body) == 0 || int(body[len(body)-1]) > len(body) {
			return p, nil, fmt.Errorf("%w: padding", ErrSyntax)
		}
		body = body[:len(body)-int(body[len(body)-1])]
	}
	p = Packet{Type: b[1], Format: b[0] & 0x1f}
	if len(body) >= 4 {
		p.SSRC, p.Body = binary.BigEndian.Uint32(body), body[4:]
	}
	return p, b[n:], nil
}

// A Report is what one side says of a source that it receives (RFC 3550 6.4.1).
type Report struct {
	SSRC     uint32
	Fraction uint8 // lost of 256 since the last
	Lost     uint32
	Highest  uint32 // sequence number, with roll-overs
	Jitter   uint32
	LastSR   uint32 // the middle of its NTP time
	Delay    uint32 // since then, in 1/65536 s
}

// Report returns the i-th report of a sender or receiver report.
func (p *Packet) Report(i int) (r Report, ok bool) {
	b := p.Body
	if p.Type == TypeSR {
		if len(b) < 20 {
			return r, false
		}
		b = b[20:]
	}
	if i < 0 || i >= int(p.Format) || len(b) < 24*(i+1) {
		return r, false
	}
	b = b[24*i:]
	u := binary.BigEndian.Uint32
	return Report{u(b), b[4], u(b[4:]) & 0xffffff, u(b[8:]), u(b[12:]), u(b[16:]), u(b[20:])}, true
}

// A Sender is what a sender report says of its sender.
type Sender struct {
	NTP       uint64
	Timestamp uint32
	Packets   uint32
	Octets    uint32
}

// Sender returns what a sender report says.
func (p *Packet) Sender() (s Sender, ok bool) {
	if p.Type != TypeSR || len(p.Body) < 20 {
		return s, false
	}
	u := binary.BigEndian.Uint32
	return Sender{binary.BigEndian.Uint64(p.Body), u(p.Body[8:]), u(p.Body[12:]), u(p.Body[16:])}, true
}

// Media returns the SSRC that feedback is about.
func (p *Packet) Media() uint32 {
	if len(p.Body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(p.Body)
}

// Lost appends the sequence numbers that are asked for to dst, at most as many as fit
// its capacity if it has one.
func (p *Packet) Lost(dst []uint16) []uint16 {
	if p.Type != TypeRTPFB || p.Format != FormatNACK || len(p.Body) < 4 {
		return dst
	}
	most := cap(dst)
	for b := p.Body[4:]; len(b) >= 4; b = b[4:] {
		seq, mask := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		for i := uint16(0); ; i++ {
			if most > 0 && len(dst) == most {
				return dst
			}
			dst = append(dst, seq+i)
			for mask != 0 && mask&1 == 0 {
				mask >>= 1
				i++
			}
			if mask == 0 {
				break
			}
			mask >>= 1
		}
	}
	return dst
}

// Asks reports whether a packet asks for a key frame of a source.
func (p *Packet) Asks(ssrc uint32) bool {
	if p.Type != TypePayload {
		return false
	}
	switch p.Format {
	case FormatPLI:
		return p.Media() == ssrc
	case FormatFIR:
		if len(p.Body) < 4 {
			return false
		}
		for b := p.Body[4:]; len(b) >= 8; b = b[8:] {
			if binary.BigEndian.Uint32(b) == ssrc {
				return true
			}
		}
	}
	return false
}

// NTP is a moment as sender reports have it: seconds since 1900 and a fraction.
func NTP(t time.Time) uint64 {
	const since1900 = 2208988800
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// Duration is the distance of two moments of NTP.
func Duration(from, to uint64) time.Duration {
	d := int64(to - from)
	return time.Duration(d>>32)*time.Second + time.Duration((uint64(d)&0xffffffff)*1e9>>32)
}

func head(dst []byte, count, typ uint8, words int, ssrc uint32) []byte {
	dst = append(dst, 0x80|count, typ, byte(words>>8), byte(words))
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// AppendSR appends a sender report without reports of others.
func AppendSR(dst []byte, ssrc uint32, s Sender) []byte {
	dst = head(dst, 0, TypeSR, 6, ssrc)
	dst = binary.BigEndian.AppendUint64(dst, s.NTP)
	for _, v := range [...]uint32{s.Timestamp, s.Packets, s.Octets} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return dst
}

// AppendRR appends a receiver report.
func AppendRR(dst []byte, ssrc uint32, reports ...Report) []byte {
	dst = head(dst, uint8(len(reports)), TypeRR, 1+6*len(reports), ssrc)
	for _, r := range reports {
		for _, v := range [...]uint32{r.SSRC, uint32(r.Fraction)<<24 | r.Lost&0xffffff, r.Highest, r.Jitter, r.LastSR, r.Delay} {
			dst = binary.BigEndian.AppendUint32(dst, v)
		}
	}
	return dst
}

// AppendSDES appends a description with nothing but a name of at most 255 bytes.
func AppendSDES(dst []byte, ssrc uint32, cname string) []byte {
	words := 1 + (2+len(cname)+1+3)/4
	at := len(dst)
	dst = head(dst, 1, TypeSDES, words, ssrc)
	dst = append(append(dst, 1, byte(len(cname))), cname...)
	for len(dst)-at < 4+4*words {
		dst = append(dst, 0)
	}
	return dst
}

// AppendPLI appends a request for a key frame.
func AppendPLI(dst []byte, ssrc, media uint32) []byte {
	return binary.BigEndian.AppendUint32(head(dst, FormatPLI, TypePayload, 2, ssrc), media)
}

// AppendFIR appends a request for a key frame, of the older kind; count tells it from
// the one before.
func AppendFIR(dst []byte, ssrc, media uint32, count uint8) []byte {
	dst = head(dst, FormatFIR, TypePayload, 4, ssrc)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, media)
	return append(dst, count, 0, 0, 0)
}

// AppendNACK appends a request for lost packets, which are in order.
func AppendNACK(dst []byte, ssrc, media uint32, lost []uint16) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(head(dst, FormatNACK, TypeRTPFB, 0, ssrc), media)
	for len(lost) > 0 {
		seq, mask := lost[0], uint16(0)
		lost = lost[1:]
		for len(lost) > 0 && lost[0]-seq-1 < 16 {
			mask |= 1 << (lost[0] - seq - 1)
			lost = lost[1:]
		}
		dst = append(dst, byte(seq>>8), byte(seq), byte(mask>>8), byte(mask))
	}
	binary.BigEndian.PutUint16(dst[at+2:], uint16((len(dst)-at)/4-1))
	return dst
}

// An Arrival says when a packet came, in units of 250 us of any clock; Lost if it did
// not.
type Arrival struct {
	Time int64
	Lost bool
}

// A Fate is what feedback of transport-wide congestion control says of one packet: that
// it came, at a tick of 250 us of the receiver's clock that counts around in 32 bits, or
// that it has not.
type Fate struct {
	Counter uint16
	Tick    uint32
	Came    bool
}

// Fates appends what feedback says of packets to dst, in their order and at most as many
// as fit its capacity; a packet that says less than it tells of is read as far as it
// goes.
func (p *Packet) Fates(dst []Fate) []Fate {
	if p.Type != TypeRTPFB || p.Format != FormatTWCC || len(p.Body) < 12 {
		return dst
	}
	first, count := binary.BigEndian.Uint16(p.Body[4:]), int(binary.BigEndian.Uint16(p.Body[6:]))
	tick := binary.BigEndian.Uint32(p.Body[8:]) >> 8 << 8 // reference of 64 ms
	chunks := p.Body[12:]
	deltas := chunks
	for n := 0; n < count; deltas = deltas[2:] {
		if len(deltas) < 2 {
			return dst
		}
		n += chunkLength(binary.BigEndian.Uint16(deltas))
	}
	for n := 0; n < count; chunks = chunks[2:] {
		c := binary.BigEndian.Uint16(chunks)
		for i := range min(chunkLength(c), count-n) {
			if len(dst) == cap(dst) {
				return dst
			}
			fate := Fate{Counter: first + uint16(n+i)}
			switch chunkSymbol(c, i) {
			case 1:
				if len(deltas) < 1 {
					return dst
				}
				tick += uint32(deltas[0])
				deltas = deltas[1:]
				fate.Tick, fate.Came = tick, true
			case 2:
				if len(deltas) < 2 {
					return dst
				}
				tick += uint32(int32(int16(binary.BigEndian.Uint16(deltas))))
				deltas = deltas[2:]
				fate.Tick, fate.Came = tick, true
			}
			dst = append(dst, fate)
		}
		n += chunkLength(c)
	}
	return dst
}

// chunkLength is of how many packets a chunk tells: a run of one symbol, or a vector of
// 14 of one bit or 7 of two.
func chunkLength(c uint16) int {
	switch c >> 14 {
	case 2:
		return 14
	case 3:
		return 7
	}
	return int(c & 0x1fff)
}

func chunkSymbol(c uint16, i int) uint16 {
	switch c >> 14 {
	case 2:
		return c >> (13 - i) & 1
	case 3:
		return c >> (12 - 2*i) & 3
	}
	return c >> 13 & 3
}

// AppendTWCC appends how the packets from a counter on have arrived, in order, at most
// as many as one packet takes; it returns how many those were, 0 if all are lost. count
// tells feedbacks apart.
func AppendTWCC(dst []byte, ssrc, media uint32, first uint16, count uint8, all []Arrival) ([]byte, int) {
	const most = 1000
	all = all[:min(len(all), most)]
	came := slices.IndexFunc(all, func(a Arrival) bool { return !a.Lost })
	if came < 0 {
		return dst, 0
	}
	reference := all[came].Time >> 8 // of 64 ms
	last := reference << 8
	n := 0
	for ; n < len(all); n++ { // up to where a step is too great to be written
		if all[n].Lost {
			continue
		}
		if d := all[n].Time - last; d < -32768 || d > 32767 {
			break
		}
		last = all[n].Time
	}
	all = all[:n]
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(head(dst, FormatTWCC, TypeRTPFB, 0, ssrc), media)
	dst = append(dst, byte(first>>8), byte(first), byte(n>>8), byte(n), byte(reference>>16), byte(reference>>8), byte(reference), count)
	last = reference << 8
	for i := 0; i < n; i += 7 { // chunks of seven symbols of two bits
		chunk := uint16(0xc000)
		for j := range min(7, n-i) {
			symbol := uint16(0)
			if a := all[i+j]; !a.Lost {
				symbol = 1
				if d := a.Time - last; d < 0 || d > 255 {
					symbol = 2
				}
				last = a.Time
			}
			chunk |= symbol << (12 - 2*j)
		}
		dst = append(dst, byte(chunk>>8), byte(chunk))
	}
	last = reference << 8
	for _, a := range all {
		if a.Lost {
			continue
		}
		if d := a.Time - last; d < 0 || d > 255 {
			dst = append(dst, byte(d>>8), byte(d))
		} else {
			dst = append(dst, byte(d))
		}
		last = a.Time
	}
	if pad := (4 - (len(dst)-at)%4) % 4; pad > 0 {
		dst[at] |= 0x20
		for i := range pad {
			dst = append(dst, 0)
			if i == pad-1 {
				dst[len(dst)-1] = byte(pad)
			}
		}
	}
	binary.BigEndian.PutUint16(dst[at+2:], uint16((len(dst)-at)/4-1))
	return dst, n
}
