package webrtc

import (
	"encoding/binary"
	"time"

	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
)

const (
	// reportEvery is how often a viewer gets sender reports.
	reportEvery = time.Second
	// againMost is how many packets a viewer is sent again in a second, and askedMost
	// how many one request of it may name.
	againMost = 1000
	askedMost = 256
	// fatesMost is how many packets one feedback may tell of.
	fatesMost = 512
)

// report sends the sender reports of a viewer's tracks, by which it plays sound and
// picture together.
func (l *loop) report(v *viewer) {
	v.reports = l.now
	b := l.scratch[:0]
	for i := range v.tracks {
		t := &v.tracks[i]
		stamp, ok := v.lane.stamp(i, t.rate, l.now)
		if !t.live || !ok {
			continue
		}
		b = rtcp.AppendSR(b, t.ssrc, rtcp.Sender{NTP: rtcp.NTP(l.now), Timestamp: stamp + t.shift, Packets: t.packets, Octets: t.octets})
		b = rtcp.AppendSDES(b, t.ssrc, v.cname)
	}
	l.scratch = b
	if len(b) == 0 {
		return
	}
	o := l.box(v.path.sock)
	out := b
	if v.keys != nil {
		var err error
		if out, err = v.keys.EncryptRTCP(o.room(len(b) + overhead)[:0], b, nil); err != nil {
			v.peer.end(err)
			return
		}
	}
	o.post(copy(o.room(len(out))[:len(out)], out), &v.path)
	v.sent += len(out)
}

// resend sends packets again that a viewer has not got.
func (l *loop) resend(v *viewer, ssrc uint32, lost []uint16) {
	if v.path.sock == nil {
		return
	}
	for i := range v.tracks {
		t := &v.tracks[i]
		if !t.on || !t.live || t.ssrc != ssrc {
			continue
		}
		v.care.asked += len(lost)
		v.care.look(l.now, v.tracks[soundTrack].packets+v.tracks[pictureTrack].packets)
		for _, seq := range lost {
			l.mend(v, i, seq)
		}
	}
	l.account(v)
}

// seal encrypts one packet for a viewer and puts it into the outbox.
func (l *loop) seal(v *viewer, t *out, p *packet, seq uint16, stamp uint32, number uint16) bool {
	o := l.box(v.path.sock)
	head := wire.HeaderSize
	counter := v.counter(t, p, seq)
	keep, slow := v.keep(t, p, seq)
	if counter != 0 {
		head = counterSize
	}
	size := head + p.Size()
	if slow {
		size += wire.DelayMost
	}
	b := o.room(size + overhead)[:size]
	if counter != 0 {
		wire.PutCounter(b, p.Marker, t.typ, seq, stamp, t.ssrc, counter, seq)
	} else {
		wire.PutHeader(b, p.Marker, t.typ, seq, stamp, t.ssrc)
	}
	if slow {
		head = wire.PutDelay(b, head, t.delay, keep)
		b = b[:head+p.Size()]
	}
	v.fill(b[head:], t, p, number)
	return l.ship(v, o, b)
}

// ship encrypts a packet of RTP, which stands in the room of o, and sends it.
func (l *loop) ship(v *viewer, o *outbox, b []byte) bool {
	out, ok := l.encrypt(v, b)
	if !ok {
		return false
	}
	o.post(len(out), &v.path)
	v.sent += len(out)
	return true
}

// repair sends a packet again in the stream that is for that (RFC 4588 4).
func (l *loop) repair(v *viewer, t *out, p *packet, seq uint16, stamp uint32, number uint16) {
	o := l.box(v.path.sock)
	size := wire.HeaderSize + 2 + p.Size()
	b := o.room(size + overhead)[:size]
	wire.PutHeader(b, p.Marker, t.rtx, t.rtxSeq, stamp, t.rtxSSRC)
	t.rtxSeq++
	binary.BigEndian.PutUint16(b[wire.HeaderSize:], seq)
	v.fill(b[wire.HeaderSize+2:], t, p, number)
	l.ship(v, o, b)
}

// fill writes the payload of a packet, with the viewer's own number of the picture.
func (v *viewer) fill(b []byte, t *out, p *packet, number uint16) {
	n := copy(b, p.Head())
	if t.numbers != 0 || v.choice != nil {
		wire.PutNumber(b, p.codec, number)
	}
	copy(b[n:], p.Body)
}

// reports takes a compound of RTCP that was decrypted. p.mu is held.
func (p *peer) reports(b []byte, now time.Time) {
	for len(b) > 0 {
		r, rest, err := rtcp.Next(b)
		if err != nil {
			return
		}
		b = rest
		if p.viewer != nil {
			p.viewer.reported(&r, now)
		} else {
			p.ingest.heard(&r, now)
		}
	}
}

// reported takes what a viewer says of what it gets.
func (v *viewer) reported(r *rtcp.Packet, now time.Time) {
	switch r.Type {
	case rtcp.TypeSR, rtcp.TypeRR:
		v.lossTold(r)
	case rtcp.TypeRTPFB:
		if r.Format == rtcp.FormatTWCC {
			fates := r.Fates(make([]rtcp.Fate, 0, fatesMost))
			v.loop.offer(func() {
				v.loop.hear(v, fates)
				v.loop.miss(v, fates)
			})
		}
		if r.Format != rtcp.FormatNACK || !v.peer.conf.NACK {
			return
		}
		ssrc, lost := r.Media(), r.Lost(make([]uint16, 0, askedMost))
		v.loop.offer(func() { v.loop.resend(v, ssrc, lost) })
	case rtcp.TypePayload:
		if t := &v.tracks[pictureTrack]; t.on && r.Asks(t.ssrc) {
			if !v.lane.wish(now, pictureTrack+int(max(0, v.peer.layer.Load()))) {
				v.loop.offer(func() { v.rejoin(now) })
				v.loop.tell(v.lane)
			}
		}
	}
}
