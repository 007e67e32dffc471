package webrtc

import (
	"time"

	"weir/internal/media"
	"weir/internal/wire/rtcp"
)

// What publishers are told of what they send: reports, what is missing, that a key frame is
// wanted, and how packets arrived.

// heard takes what a publisher reports. p.mu is held.
func (in *ingest) heard(r *rtcp.Packet, now time.Time) {
	sr, ok := r.Sender()
	if !ok {
		return
	}
	for _, s := range in.sources {
		if s != nil && s.known && s.ssrc == r.SSRC && s.began && s.believes(sr, now) {
			s.sender, s.senderAt = sr, now
			in.align()
		}
	}
}

// tick does what time asks for: packets that were given up, requests, reports.
func (in *ingest) tick(now time.Time) {
	p := in.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || !in.open {
		return
	}
	for _, s := range in.sources {
		if s != nil {
			s.drain(now)
		}
	}
	for _, s := range in.sources[pictureTrack:] {
		if s != nil {
			s.askMissing(now)
		}
	}
	if p.conf.TWCC && now.Sub(in.fed) >= feedEvery {
		in.fed = now
		in.feed()
	}
	if now.Sub(in.reported) >= reportEvery {
		in.reported = now
		in.report(now)
	}
	if s := in.shown(now); s != nil && !in.pub.Private && now.Sub(s.asked) >= in.keyInterval() {
		s.askKey(now)
	}
}

// askMissing asks for packets of picture that are missing, each once in a while.
func (s *source) askMissing(now time.Time) {
	in := s.in
	if !in.peer.conf.NACK || !in.open || !s.known || s.line.is.Kind() != media.Video {
		return
	}
	var room [missingMost]uint16
	if lost := s.jitter.Missing(now, room[:0]); len(lost) > 0 {
		in.say(rtcp.AppendNACK(in.scratch[:0], in.ssrc, s.ssrc, lost))
	}
}

// keyInterval is how often a key frame is asked for where others watch too.
func (in *ingest) keyInterval() time.Duration {
	d := in.peer.conf.PLIForRTMP
	if d < 500*time.Millisecond || d > 30*time.Second {
		return 6 * time.Second // as SRS has it
	}
	return d
}

// askKey asks the publisher for a key frame, unless it was just asked.
func (s *source) askKey(now time.Time) {
	in := s.in
	if s.line.is.Kind() != media.Video || !s.known || !in.open || now.Sub(s.asked) < keyEvery {
		return
	}
	s.asked = now
	if s.line.codec.Has("nack pli") {
		in.say(rtcp.AppendPLI(in.scratch[:0], in.ssrc, s.ssrc))
	} else {
		in.wishes++
		in.say(rtcp.AppendFIR(in.scratch[:0], in.ssrc, s.ssrc, in.wishes))
	}
}

// report sends a receiver report.
func (in *ingest) report(now time.Time) {
	var all []rtcp.Report
	for _, s := range in.sources {
		if s == nil || !s.known {
			continue
		}
		r := rtcp.Report{SSRC: s.ssrc, Lost: uint32(s.jitter.Missed), Highest: uint32(s.jitter.Highest()), Jitter: uint32(s.shake)}
		if lost, came := s.jitter.Missed-s.lost, s.jitter.Received-s.came; lost > 0 {
			r.Fraction = uint8(min(255, 256*lost/(lost+came)))
		}
		s.lost, s.came = s.jitter.Missed, s.jitter.Received
		if s.sender.NTP != 0 {
			r.LastSR, r.Delay = uint32(s.sender.NTP>>16), uint32(now.Sub(s.senderAt).Nanoseconds()*65536/1e9)
		}
		all = append(all, r)
	}
	in.say(rtcp.AppendRR(in.scratch[:0], in.ssrc, all...))
}

// feed tells how packets have arrived.
func (in *ingest) feed() {
	s := in.sources[pictureTrack]
	if s == nil {
		s = in.sources[soundTrack]
	}
	for len(in.arrived.all) > 0 {
		b, n := rtcp.AppendTWCC(in.scratch[:0], in.ssrc, s.ssrc, in.arrived.first, in.arrived.count, in.arrived.all)
		if n == 0 {
			return
		}
		in.arrived.drop(n)
		in.say(b)
	}
}

// say encrypts and sends a report. p.mu is held.
func (in *ingest) say(b []byte) {
	in.scratch = b
	out := b
	if in.keys != nil {
		var err error
		if out, err = in.keys.EncryptRTCP(in.out[:0], b, nil); err != nil {
			return
		}
		in.out = out
	}
	at := in.peer.path
	in.peer.session.Count(0, len(out))
	at.write(out)
}

// arrivals are when packets came that have a counter of the whole transport.
type arrivals struct {
	all   []rtcp.Arrival
	first uint16 // counter of the first
	count uint8
	zero  time.Time
	begun bool
}

// arrivalsMost is how many are kept.
const arrivalsMost = 4096

func (a *arrivals) add(counter uint16, now time.Time) {
	if !a.begun {
		a.begun, a.zero, a.first = true, now, counter
	}
	if len(a.all) == 0 && int16(counter-a.first) > 0 && counter-a.first > arrivalsMost {
		a.first = counter
	}
	n := int(int16(counter - a.first))
	switch {
	case n < 0: // it has been told as lost
		return
	case n >= arrivalsMost:
		a.all, a.first, n = a.all[:0], counter, 0
	}
	for len(a.all) <= n {
		a.all = append(a.all, rtcp.Arrival{Lost: true})
	}
	a.all[n] = rtcp.Arrival{Time: now.Sub(a.zero).Microseconds() / 250}
}

// drop forgets those that were told of.
func (a *arrivals) drop(n int) {
	a.all = append(a.all[:0], a.all[n:]...)
	a.first += uint16(n)
	a.count++
}
