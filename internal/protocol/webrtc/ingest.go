package webrtc

import (
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"weir/internal/format/elementary"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/av1"
	"weir/internal/media/opus"
	"weir/internal/media/vp9"
	"weir/internal/sound"
	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
)

// An ingest makes frames of what a publisher sends. It belongs to its peer, and is used
// with the peer's mutex held, but for what says otherwise.
type ingest struct {
	// Immutable.
	peer *peer
	pub  *hub.Publication
	ssrc uint32 // ours, in what we report

	header rtp.Header    // pion's, of the packet that is decrypted
	open   bool          // it may be answered
	keys   *srtp.Context // of what we send; nil if that is clear
	// sources are those of sound and picture, nil if it was not agreed on; layers of
	// simulcast follow their first one.
	sources []*source
	simulcast
	zero    time.Time // when the first packet came: the publication's time begins
	zeroed  bool
	arrived arrivals
	frames  []*media.Frame
	scratch []byte
	out     []byte

	reported time.Time
	fed      time.Time // when it was told how packets arrive
	wishes   uint8
}

// source is one track of a publisher.
type source struct {
	in       *ingest
	line     *line
	jitter   wire.Jitter
	unpack   wire.Unpacker
	video    elementary.Video
	spatial  vp9.Spatial
	track    *media.Track
	mouth    *sound.Line // makes AAC of sound for others, nil if they get what comes
	clock    media.Unwrapper
	wait     time.Duration // how long a missing packet is waited for
	ssrc     uint32
	known    bool          // ssrc is
	former   uint32        // the SSRC before, whose late packets are not news,
	changed  time.Time     // and when that was; zero if there was none
	layer    *layer        // nil if there is one only
	asked    time.Time     // when a key frame was asked for
	first    time.Duration // of the source's own clock, at its first packet
	base     time.Duration // of the publication's time there
	began    bool
	stamp    uint32 // of the frame under way
	gap      bool   // something before what comes next is missing
	popped   uint16 // sequence number of what was taken last
	absent   uint8  // packets that are missing before the next frame of sound
	broken   bool   // something of the frame under way is missing
	needKey  bool
	newest   time.Duration // of the source's own clock,
	newestAt time.Time     // and when that came
	told     time.Duration // of the publication's time, of the newest frame of sound
	moved    bool          // back in time: sound from before told is left out
	sender   rtcp.Sender   // its last report
	senderAt time.Time
	transit  int64 // for its jitter (RFC 3550 A.8), in ticks
	shake    int64
	lost     uint64 // when it was last reported
	came     uint64
}

const (
	// pictureWait and soundWait are how long a missing packet is waited for: of
	// picture it is asked for again meanwhile.
	pictureWait = 400 * time.Millisecond
	soundWait   = 80 * time.Millisecond
	soundSlots  = 128
	// lateMost is how long packets of an SSRC may be late after another has begun.
	lateMost = 2 * time.Second
	// trustMost is how far what a report says may be from what is seen, and how far sound
	// is moved back by it.
	trustMost = 3 * time.Second
	// keyEvery is the least time between two requests for a key frame.
	keyEvery = 500 * time.Millisecond
	// pulse is how often publishers are looked at while there are any.
	pulse = 20 * time.Millisecond
	// feedEvery is how often a publisher is told how its packets arrive.
	feedEvery = 100 * time.Millisecond
	// absentMost is how many packets of sound are told as lost at most; where more are
	// missing something else has begun.
	absentMost = 50
	// missingMost is how many packets one request names.
	missingMost = 128
)

func newIngest(p *peer, pub *hub.Publication) *ingest {
	in := &ingest{peer: p, pub: pub, ssrc: number()>>1 | 1, sources: make([]*source, 2)}
	for i, l := range []*line{soundTrack: p.plan.audio, pictureTrack: p.plan.video} {
		if l == nil || l.codec == nil {
			continue
		}
		in.sources[i] = in.source(l)
		for n := range l.layers {
			if n > 0 {
				in.sources = append(in.sources, in.source(l))
			}
			s := in.sources[len(in.sources)-1]
			s.layer = &layer{rid: l.layers[n], id: uint8(hub.LayerID + n)}
			if l.origins != nil {
				in.origin(l.media, l.origins[n], s)
			}
		}
	}
	return in
}

// source makes the source of a medium, or of a layer of it.
func (in *ingest) source(l *line) *source {
	s := &source{in: in, line: l, wait: pictureWait, needKey: l.is.Kind() == media.Video}
	if !s.needKey {
		s.wait, s.jitter.Slots = soundWait, soundSlots
	} else if !in.peer.conf.NACK {
		s.wait = soundWait
	}
	s.unpack.Codec, s.video.Codec = l.is, l.is
	s.clock = media.Unwrapper{Bits: 32, Rate: rateOf(l.is)}
	return s
}

// packet takes a packet of RTP that was decrypted.
func (in *ingest) packet(b []byte, now time.Time) {
	h, payload, err := wire.Parse(b)
	if err != nil || int(h.PayloadType) == in.peer.conf.DropForPT && h.PayloadType != 0 {
		return
	}
	if !in.zeroed {
		in.zero, in.zeroed = now, true
	}
	for _, s := range in.sources[:2] {
		if s == nil {
			continue
		}
		if x := h.Find(s.line.twcc); len(x) == 2 {
			in.arrived.add(uint16(x[0])<<8|uint16(x[1]), now)
		}
		if s.layer != nil && (h.PayloadType == s.line.codec.Type || h.PayloadType == s.line.rtx) {
			if s = in.layerOf(&h); s == nil {
				return // nobody has said yet whose it is
			}
		}
		switch h.PayloadType {
		case s.line.codec.Type:
			s.take(h.SSRC, h.Sequence, h.Timestamp, h.Marker, payload, now)
			return
		case s.line.rtx:
			if s.line.rtx != 0 && len(payload) >= 2 && s.known {
				// RFC 4588 4: the sequence number stands before the payload.
				s.take(s.ssrc, uint16(payload[0])<<8|uint16(payload[1]), h.Timestamp, h.Marker, payload[2:], now)
			}
			return
		}
	}
}

// take takes a packet of the source.
func (s *source) take(ssrc uint32, seq uint16, stamp uint32, marker bool, payload []byte, now time.Time) {
	if !s.known || s.ssrc != ssrc {
		if s.known && ssrc == s.former && now.Sub(s.changed) < lateMost {
			return
		}
		s.anew(ssrc, now)
	}
	ahead := int16(seq - s.jitter.Highest())
	if len(payload) == 0 && !marker {
		// Padding alone, which probes the path; its number counts.
		s.jitter.Push(now, seq, stamp, false, nil)
	} else if s.jitter.Push(now, seq, stamp, marker, payload) {
		s.shaken(stamp, now)
	}
	if ahead > 1 {
		s.askMissing(now) // at once: each millisecond counts
	}
	s.drain(now)
}

// anew begins with another SSRC: a publisher may begin its picture anew, with another
// source.
func (s *source) anew(ssrc uint32, now time.Time) {
	if s.known {
		s.former, s.changed = s.ssrc, now
		s.jitter = wire.Jitter{Slots: s.jitter.Slots, Received: s.jitter.Received, Missed: s.jitter.Missed}
		s.unpack.Reset()
		s.moved = false
		s.absent = 0
		s.began, s.gap, s.broken, s.needKey = false, false, false, s.line.is.Kind() == media.Video
		s.sender = rtcp.Sender{}
		s.clock = media.Unwrapper{Bits: 32, Rate: s.clock.Rate}
	}
	s.ssrc, s.known = ssrc, true
}

// shaken measures how unevenly packets come (RFC 3550 6.4.1).
func (s *source) shaken(stamp uint32, now time.Time) {
	transit := now.Sub(s.in.zero).Nanoseconds()*s.clock.Rate/1e9 - int64(stamp)
	d := int64(int32(transit - s.transit))
	s.transit = transit
	if d < 0 {
		d = -d
	}
	if d < s.clock.Rate {
		s.shake += (d - s.shake) / 16
	}
}

// drain takes what is in order from the jitter buffer.
func (s *source) drain(now time.Time) {
	for {
		r, ok := s.jitter.Pop(now, s.wait)
		if !ok {
			return
		}
		if r.Lost && !s.unpack.Empty() {
			s.broken = true // the one under way lacks something
		}
		s.gap = s.gap || r.Lost
		if n := int(r.Seq - s.popped - 1); r.Lost && n+int(s.absent) <= absentMost {
			s.absent += uint8(n)
		}
		s.popped = r.Seq
		if len(r.Payload) == 0 {
			continue
		}
		lost := s.gap
		s.gap = false
		if s.line.is.Kind() == media.Audio {
			s.sound(&r, now)
			continue
		}
		if !s.unpack.Empty() && r.Timestamp != s.stamp {
			s.finish(now) // of one whose marker was left out
		}
		if lost {
			s.broken = true // this one may lack its beginning, and has no picture to refer to
			s.fault(now)
		}
		s.stamp = r.Timestamp
		s.unpack.Add(r.Payload)
		if r.Marker {
			s.finish(now)
		}
	}
}

// fault notes that pictures cannot be decoded from here on.
func (s *source) fault(now time.Time) {
	s.needKey = true
	s.askKey(now)
}

// sound publishes a packet of sound.
func (s *source) sound(r *wire.Received, now time.Time) {
	if s.track == nil {
		s.track = s.describeSound()
		s.speak()
	}
	at, absent := s.time(r.Timestamp, now), s.absent
	s.absent = 0
	if s.moved && at <= s.told && at > s.told-trustMost {
		return // time does not go back
	}
	s.told, s.moved = at, false
	f := &media.Frame{Track: s.track, Source: at, Lost: absent, Payload: append([]byte(nil), r.Payload...)}
	if s.mouth == nil {
		s.publish(f)
		return
	}
	if s.track.ID == hub.InsideID {
		s.in.pub.WriteInside(f) // which dates it
	} else {
		f.DTS = f.Source
	}
	s.mouth.Write(f)
}

// speak has others get AAC of the publisher's sound, if they are to see the stream and
// are not to have it as it is. Players of WebRTC get a publisher's Opus; of G.711, which
// they would have to be told of before, they get what is made of the AAC.
func (s *source) speak() {
	in, env := s.in, s.in.peer.server.env
	if in.pub.Private || in.peer.conf.RTCToRTMPAudio != "aac" {
		return
	}
	key := in.pub.Stream().Key
	mouth, err := sound.Open(s.track, sound.Target{Codec: media.AAC, Bitrate: in.peer.conf.AACBitrate}, in.pub.Write, func(err error) {
		env.Log.Warn("the sound cannot be decoded, others than WebRTC have the picture alone", "stream", key, "err", err)
	})
	if err != nil {
		env.Log.Warn("no AAC can be made here, all players get what came", "stream", key, "err", err)
		return
	}
	s.mouth = mouth
	if s.track.Codec == media.Opus {
		inside := *s.track
		inside.ID = hub.InsideID
		s.track = &inside
	}
	in.pub.Announce(mouth.Track())
}

func (s *source) describeSound() *media.Track {
	t := &media.Track{Kind: media.Audio, Codec: s.line.is, SampleRate: 8000, Channels: 1}
	if s.line.is == media.Opus {
		t.SampleRate, t.Channels = opus.Rate, 2
		t.Config = opus.Head{Channels: 2, PreSkip: 312, InputRate: opus.Rate}.Append(nil)
	}
	return t
}

// finish publishes the frame of picture that is put together.
func (s *source) finish(now time.Time) {
	units, key, ok := s.unpack.Take()
	broken := s.broken
	s.broken = false
	defer s.unpack.Reset()
	switch {
	case !ok || broken:
		s.fault(now)
		return
	case s.needKey && !key:
		s.askKey(now)
		return
	}
	at := s.time(s.stamp, now)
	switch s.line.is {
	case media.H264, media.H265:
		s.in.frames = s.video.AppendUnits(s.in.frames[:0], units, at, 0)
		for _, f := range s.in.frames {
			s.needKey = s.needKey && !f.Key
			s.publish(f)
		}
		clear(s.in.frames)
		if s.video.Track() == nil {
			s.askKey(now) // its parameter sets are not there yet
		}
	case media.AV1:
		b, sequence := wire.AppendTemporalUnit(nil, units)
		s.picture(b, key && sequence != nil, at, func() *media.Track { return describeAV1(sequence) }, sequence)
	case media.VP9:
		b, w, h, err := s.spatial.Append(nil, units)
		if err != nil {
			b, w, h, _ = s.spatial.Append(nil, units[:1])
		}
		if !key && s.track != nil && w > s.track.Width {
			s.askKey(now) // a layer more: players learn at a key frame how large the picture is
		}
		s.picture(b, key, at, func() *media.Track { return describeVP(s.line.is, w, h) }, nil)
	default:
		b := append([]byte(nil), units[0]...)
		s.picture(b, key, at, func() *media.Track {
			w, h, _ := vp9.SizeVP8(b)
			return describeVP(s.line.is, w, h)
		}, nil)
	}
}

// picture publishes a frame of a codec whose key frames tell what it is; describe makes
// the track of one, and config, if there is one, is what it is made of.
func (s *source) picture(b []byte, key bool, at time.Duration, describe func() *media.Track, config []byte) {
	if key {
		if t := describe(); t != nil && (s.track == nil || !s.track.Same(t) || s.track.Width != t.Width || s.track.Height != t.Height) {
			s.track = t
		}
		s.needKey = false
	}
	if s.track == nil || s.needKey || len(b) == 0 {
		return
	}
	s.publish(&media.Frame{Track: s.track, Source: at, Key: key, Payload: b})
}

func describeAV1(sequence []byte) *media.Track {
	c, err := av1.NewConfig(sequence)
	if err != nil {
		return nil
	}
	t := &media.Track{Kind: media.Video, Codec: media.AV1, Config: c.Append(nil), Profile: av1.ProfileName(c.Profile), Level: av1.LevelName(c.Level)}
	if h, err := c.SequenceHeader(); err == nil {
		t.Width, t.Height = h.Width, h.Height
	}
	return t
}

func describeVP(codec media.Codec, w, h int) *media.Track {
	if w == 0 {
		return nil
	}
	c := vp9.Config{BitDepth: 8, Chroma: 1, Primaries: 2, Transfer: 2, Matrix: 2}
	return &media.Track{Kind: media.Video, Codec: codec, Config: c.Append(nil), Profile: "0", Width: w, Height: h}
}

func (s *source) publish(f *media.Frame) {
	if s.layer != nil {
		s.in.publishLayer(s, f)
		return
	}
	s.in.pub.Write(f)
}

// time is that of a time stamp on the publication's line. Until the publisher has told
// how its tracks belong together, each begins when its first packet came.
func (s *source) time(stamp uint32, now time.Time) time.Duration {
	at := s.clock.Unwrap(uint64(stamp))
	if !s.began {
		s.began, s.first, s.base = true, at, now.Sub(s.in.zero)
		s.in.align()
	}
	s.newest, s.newestAt = at, now
	return at - s.first + s.base
}

// align moves sound, and other layers, to where they belong beside the first picture, by
// their sender reports.
func (in *ingest) align() {
	lead := in.lead
	if lead == nil {
		lead = in.sources[pictureTrack]
	}
	if lead == nil || !lead.began || lead.sender.NTP == 0 {
		return
	}
	for _, s := range in.sources {
		if s == nil || s == lead || !s.began || s.sender.NTP == 0 {
			continue
		}
		// What either's clock shows at the moment of the other's report.
		picture, passed := lead.moment()-lead.first+lead.base, rtcp.Duration(lead.sender.NTP, s.sender.NTP)
		if off := passed - s.senderAt.Sub(lead.senderAt); off < -trustMost || off > trustMost {
			continue // they do not have one clock
		}
		base := picture + passed - (s.moment() - s.first)
		s.moved = s.moved || base < s.base
		s.base = base
	}
}

// moment is the source's clock at its last report.
func (s *source) moment() time.Duration {
	c := s.clock
	return c.Unwrap(uint64(s.sender.Timestamp))
}

// believes reports whether a report can be true: its time stamp is about that of the
// newest packet.
func (s *source) believes(r rtcp.Sender, now time.Time) bool {
	c := s.clock
	off := c.Unwrap(uint64(r.Timestamp)) - s.newest - now.Sub(s.newestAt)
	return off > -trustMost && off < trustMost
}

// close ends the publication's last frame.
func (in *ingest) close() {
	in.peer.mu.Lock()
	defer in.peer.mu.Unlock()
	now := time.Now()
	for _, s := range in.sources {
		if s != nil {
			s.wait = 0
			s.drain(now)
			if s.mouth != nil {
				s.mouth.Close()
			}
		}
	}
}

// publisher returns the peer that publishes a stream, or nil.
func (s *server) publisher(st *hub.Stream) *peer {
	for _, p := range s.all() {
		if p.ingest != nil && p.ingest.pub.Stream() == st {
			return p
		}
	}
	return nil
}

// beat has publishers be looked at often, now that there is one.
func (s *server) beat() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

// pulse looks after the time of publishers while there are any.
func (s *server) pulse(stop chan struct{}) {
	for {
		select {
		case <-s.bell:
		case <-stop:
			return
		}
		t := time.NewTicker(pulse)
		for any := true; any; {
			select {
			case <-t.C:
			case <-stop:
				t.Stop()
				return
			}
			any = false
			now := time.Now()
			for _, p := range s.all() {
				if p.ingest != nil {
					any = true
					p.ingest.tick(now)
				}
			}
		}
		t.Stop()
	}
}
