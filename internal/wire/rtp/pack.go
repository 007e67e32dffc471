package rtp

import (
	"time"

	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
	"weir/internal/media/nal"
)

// MaxPayload is the usual length of a payload, SRS's: with the headers of RTP, SRTP,
// UDP and IPv6, of extensions, and some tunnels around it, it fits what paths take.
const MaxPayload = 1200

// A Payload is what one packet carries: Head, then Body, which is a slice of the frame
// or of what was made of it, and is not to be changed.
type Payload struct {
	Body   []byte
	head   [8]byte
	n      uint8
	Marker bool // the last one of a frame
}

// Head returns the bytes before Body.
func (p *Payload) Head() []byte { return p.head[:p.n] }

// Size returns the length of the whole.
func (p *Payload) Size() int { return int(p.n) + len(p.Body) }

// AppendTo appends the whole.
func (p *Payload) AppendTo(dst []byte) []byte {
	return append(append(dst, p.head[:p.n]...), p.Body...)
}

// A Packer cuts the frames of one track into payloads. It is for one goroutine.
type Packer struct {
	// Max is the longest payload, MaxPayload if 0.
	Max int
	// Single sends units of H.264 whole (packetization-mode 0) up to SingleMost bytes.
	// Longer ones are cut in spite of it: browsers take fragments in every mode, but no
	// datagram of more than 2048 bytes.
	Single bool
	// Merge puts neighbouring units into one payload where they fit (merge_nalus).
	Merge bool
	// KeepB keeps frames that are shown before one that was sent already.
	KeepB bool
	// DropSEI leaves supplemental enhancement information out.
	DropSEI bool

	track  *media.Track
	length int      // of the length before a unit
	sets   [][]byte // parameter sets, to go before a key frame
	joined []byte   // the same as one aggregate
	shown  time.Duration
	began  bool
	count  uint16 // of pictures, for VP8 and VP9
	units  [][]byte
}

const (
	// SingleMost is the longest unit that is sent whole in packetization-mode 0: with what
	// is around it, it has 2048 bytes at most, which is what Chromium takes.
	SingleMost = 1900
	// soundMost is the longest packet of sound that a datagram takes.
	soundMost = 60000
)

// Cut reports whether the payload is a fragment of a unit or frame.
func (p *Payload) Cut() bool { return p.n > 0 }

// Knows reports whether a codec can be sent to browsers. A Packer knows AAC (RFC 3640)
// and MP3 (RFC 2250) too, which are for RTSP.
func Knows(c media.Codec) bool {
	switch c {
	case media.H264, media.H265, media.VP8, media.VP9, media.AV1, media.Opus, media.PCMA, media.PCMU:
		return true
	}
	return false
}

// Append appends the payloads of a frame, none if it is one that is left out. The last
// has Marker set, for video and AAC.
func (p *Packer) Append(dst []Payload, f *media.Frame) []Payload {
	if f.Track != p.track {
		p.begin(f.Track)
	}
	if len(f.Payload) == 0 {
		return dst
	}
	if f.Track.Kind == media.Video {
		pts := f.PTS()
		if p.began && !f.Key && pts <= p.shown && !p.KeepB {
			return dst
		}
		if f.Key || !p.began {
			p.shown = pts
		}
		p.shown, p.began = max(p.shown, pts), true
	}
	from := len(dst)
	switch f.Track.Codec {
	case media.H264:
		dst = p.h26x(dst, f, headH264)
	case media.H265:
		dst = p.h26x(dst, f, headH265)
	case media.VP8:
		dst = p.vp8(dst, f)
	case media.VP9:
		dst = p.vp9(dst, f)
	case media.AV1:
		dst = p.av1(dst, f)
	case media.AAC:
		dst = p.aac(dst, f)
	case media.MP3:
		return p.mp3(dst, f)
	case media.Opus, media.PCMA, media.PCMU:
		if len(f.Payload) <= soundMost {
			return append(dst, Payload{Body: f.Payload})
		}
	}
	if len(dst) > from {
		dst[len(dst)-1].Marker = true
	}
	return dst
}

func (p *Packer) max() int {
	if p.Max == 0 {
		return MaxPayload
	}
	return p.Max
}

// begin takes a track's configuration.
func (p *Packer) begin(t *media.Track) {
	p.track, p.length, p.sets, p.joined = t, 4, nil, nil
	switch t.Codec {
	case media.H264:
		if c, err := h264.ParseConfig(t.Config); err == nil {
			p.length = c.LengthSize
			p.sets = append(append(p.sets, c.SPS...), c.PPS...)
		}
		p.joined = p.aggregate(p.sets, headH264)
	case media.H265:
		if c, err := h265.ParseConfig(t.Config); err == nil {
			p.length = c.LengthSize
			for _, typ := range []byte{h265.TypeVPS, h265.TypeSPS, h265.TypePPS} {
				p.sets = append(p.sets, c.Units(typ)...)
			}
		}
		p.joined = p.aggregate(p.sets, headH265)
	}
}

const (
	headH264 = 1 // bytes of a unit's header
	headH265 = 2

	typeSTAPA = 24 // H.264 (RFC 6184 5.7.1)
	typeFUA   = 28 // (5.8)
	typeAP    = 48 // H.265 (RFC 7798 4.4.2)
	typeFU    = 49 // (4.4.3)
)

// h26x cuts an access unit. Parameter sets go first, before a key frame, and in one
// packet if they fit.
func (p *Packer) h26x(dst []Payload, f *media.Frame, head int) []Payload {
	p.units = p.units[:0]
	own := false
	for b, n := f.Payload, 0; len(b) > 0 && n < nal.MaxUnits; n++ {
		u, rest, err := nal.Next(b, p.length)
		if err != nil {
			break
		}
		b = rest
		if len(u) < head {
			continue
		}
		keep, set := p.wants(u, head)
		own = own || set
		if keep {
			p.units = append(p.units, u)
		}
	}
	if len(p.units) == 0 {
		return dst
	}
	if f.Key && !own {
		if p.joined != nil && !p.Single {
			dst = append(dst, Payload{Body: p.joined})
		} else {
			for _, u := range p.sets {
				dst = p.unit(dst, u, head)
			}
		}
	}
	for i := 0; i < len(p.units); {
		n := 1
		if p.Merge && !p.Single {
			n = p.fits(p.units[i:], head)
		}
		if n > 1 {
			dst = append(dst, Payload{Body: p.aggregate(p.units[i:i+n], head)})
		} else {
			dst = p.unit(dst, p.units[i], head)
		}
		i += n
	}
	clear(p.units)
	return dst
}

// wants reports whether a unit is sent, and whether it is a parameter set.
func (p *Packer) wants(u []byte, head int) (keep, set bool) {
	if head == headH264 {
		switch h264.Type(u) {
		case h264.TypeAUD, 12, 0: // filler
			return false, false
		case h264.TypeSEI:
			return !p.DropSEI, false
		case h264.TypeSPS:
			return true, true
		}
		return true, false
	}
	switch h265.Type(u) {
	case h265.TypeAUD, 38: // filler
		return false, false
	case h265.TypePrefixSEI, h265.TypePrefixSEI + 1:
		return !p.DropSEI, false
	case h265.TypeSPS:
		return true, true
	}
	return true, false
}

// fits returns how many of units fit one aggregate.
func (p *Packer) fits(units [][]byte, head int) (n int) {
	size := head
	for _, u := range units {
		if size += 2 + len(u); size > p.max() {
			break
		}
		n++
	}
	return max(n, 1)
}

// aggregate makes one payload of several units, nil if they do not fit.
func (p *Packer) aggregate(units [][]byte, head int) []byte {
	if len(units) < 2 || p.fits(units, head) < len(units) {
		return nil
	}
	var b []byte
	if head == headH264 {
		nri := byte(0)
		for _, u := range units {
			nri = max(nri, u[0]&0x60)
		}
		b = append(b, nri|typeSTAPA)
	} else {
		layer, tid := units[0][0]&1, units[0][1]
		for _, u := range units {
			tid = min(tid, u[1])
		}
		b = append(b, typeAP<<1|layer, tid)
	}
	for _, u := range units {
		b = append(append(b, byte(len(u)>>8), byte(len(u))), u...)
	}
	return b
}

// unit appends one unit, in fragments of equal length if it is long.
func (p *Packer) unit(dst []Payload, u []byte, head int) []Payload {
	if len(u) <= p.max() || p.Single && len(u) <= SingleMost {
		return append(dst, Payload{Body: u})
	}
	f := Payload{n: uint8(head) + 1}
	if head == headH264 {
		f.head = [8]byte{u[0]&0xe0 | typeFUA, u[0] & 0x1f}
	} else {
		f.head = [8]byte{u[0]&0x81 | typeFU<<1, u[1], u[0] >> 1 & 0x3f}
	}
	flags := &f.head[head]
	*flags |= 0x80 // start
	for b := u[head:]; len(b) > 0; {
		n := min(len(b), p.max()-head-1)
		f.Body = b[:n]
		if b = b[n:]; len(b) == 0 {
			*flags |= 0x40 // end
		}
		dst = append(dst, f)
		*flags &^= 0x80
	}
	return dst
}
