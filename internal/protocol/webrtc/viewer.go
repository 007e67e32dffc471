package webrtc

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pion/srtp/v3"

	"weir/internal/hub"
	"weir/internal/media"
)

// A viewer is one who plays: a record of a loop. All but what is immutable belongs to
// the loop.
type viewer struct {
	// Immutable.
	peer  *peer
	lane  *lane
	loop  *loop
	cname string

	index   int // in the loop's list
	listed  bool
	path    path
	keys    *srtp.Context // nil if media are clear
	tracks  [2]out
	layer   int     // of the picture, from 0; noLayer while there is none
	choice  *choice // nil before the picture has come in layers
	pos     uint64  // of the next packet
	joined  bool    // pos is known
	join    uint64  // where the stream was when it came: sound begins there
	upto    uint32  // frames before this one are shown as fast as it goes:
	from    uint32  // the first of them,
	base    uint32  // its time stamp,
	step    uint32  // and how far they are apart
	rejoins time.Time
	sent    int // bytes in this turn
	reports time.Time
	again   budget // of packets that are sent again
	care    care
}

// out is a track as one viewer has it.
type out struct {
	on      bool
	live    bool // sending has begun
	foreign bool // it has been said that the stream's codec is none of its own
	payload
	others  []payload // that may be sent instead
	ssrc    uint32
	rate    int64
	offset  uint16 // its sequence numbers less the lane's
	next    uint16 // the sequence number after the newest
	floor   uint16 // the first that has this offset
	rtxSSRC uint32
	rtxSeq  uint16
	delay   uint8 // number of the extension that tells how long pictures are kept, or 0
	packets uint32
	octets  uint32
	shift   uint32 // of time stamps, and numbers that of pictures, against the lane's
	numbers uint16
	stamp   uint32 // of the newest packet,
	number  uint16 // and of its picture
}

// A payload is a codec as a player is sent it.
type payload struct {
	is  media.Codec
	typ uint8 // its payload type,
	rtx uint8 // and that of what is sent again, 0 if that is the same
}

// noLayer is the layer of a viewer that waits for a key frame of another.
const noLayer = -1

// seat makes the viewer of a peer that was let in.
func (s *server) seat(p *peer, st *hub.Stream) *viewer {
	key := laneKey{stream: st}
	if v := p.plan.video; v != nil && v.codec != nil && v.is == media.H264 && v.codec.Param("packetization-mode") != "1" {
		key.single = true
	}
	v := &viewer{peer: p, cname: p.answer.Media[0].CName}
	for i, l := range []*line{soundTrack: p.plan.audio, pictureTrack: p.plan.video} {
		if l == nil || l.codec == nil {
			continue
		}
		v.tracks[i] = out{on: true, payload: payload{l.is, l.codec.Type, l.rtx}, ssrc: p.answer.Media[l.index].Sources[0], rate: rateOf(l.is)}
		for _, f := range l.others {
			v.tracks[i].others = append(v.tracks[i].others, payload{f.is, f.codec.Type, f.rtx})
		}
		if a := p.plan.audio; a != nil && a.codec != nil {
			v.tracks[i].delay = l.delay // of a viewer that has both
		}
		if l.rtx != 0 {
			v.tracks[i].rtxSSRC, v.tracks[i].rtxSeq = p.answer.Media[l.index].Sources[1], uint16(number()>>17)
		}
	}
	v.lane = s.lane(key, p)
	v.loop = s.loops[rand.IntN(len(s.loops))]
	return v
}

// lane returns the lane of a key, made if need be, with one viewer more.
func (s *server) lane(key laneKey, p *peer) *lane {
	s.mu.Lock()
	l := s.lanes[key]
	fresh := l == nil
	if fresh {
		l = newLane(s, key, p.conf)
		s.lanes[key] = l
	}
	l.mu.Lock()
	l.viewers++
	l.mu.Unlock()
	s.mu.Unlock()
	if fresh {
		// Whoever publishes from now on is told of to published.
		l.open.Store(s.mayPlay(key.stream.Publication()))
		l.near.Store(byPeer(key.stream.Publication()))
		if p := s.publisher(key.stream); p != nil && len(p.ingest.sources) > pictureTrack+1 {
			l.layered.Store(true)
		}
		key.stream.AttachInside(l, hub.Insider{Protocol: protocol, Hurry: true})
	}
	return l
}

// leave takes a viewer out of its loop and lane.
func (s *server) leave(v *viewer) {
	v.loop.remove(v)
	l := v.lane
	s.mu.Lock()
	l.mu.Lock()
	l.viewers--
	last := l.viewers == 0
	l.mu.Unlock()
	if last {
		delete(s.lanes, l.key)
	}
	s.mu.Unlock()
	if last {
		l.key.stream.Detach(l)
		l.voice.stop()
	}
}

// secure has the viewer be sent to, now that it has keys.
func (v *viewer) secure(keys *srtp.Context, at path) {
	v.loop.post(func() {
		v.keys, v.path = keys, at
		v.loop.list(v)
	})
}

// move has the viewer be sent to elsewhere.
func (v *viewer) move(at path) {
	v.loop.post(func() {
		if k := v.path.sock; k != nil && k.stream != nil {
			delete(v.loop.boxes, k)
		}
		v.path = at
	})
}

// enter finds the place where the viewer begins: the newest key frame, if the group is
// kept. What came before the viewer did is shown as fast as it goes, so that the viewer
// is not behind the others ever after: those frames are a millisecond apart, up to the
// newest.
func (v *viewer) enter() {
	p := v.lane.place(pictureTrack + max(v.layer, 0))
	v.joined, v.pos, v.join = true, p.head, p.head
	if v.near(&p) {
		v.pos, v.upto, v.from, v.step = p.group, p.frame, p.groupFrame, 90
		v.base = p.shown - (v.upto-v.from)*v.step
	}
}

// near reports whether the group under way is one to be sent to a newcomer. Where there
// is too much of it, the viewer waits for the next key frame.
func (v *viewer) near(p *place) bool {
	return p.grouped && p.group < p.head && v.tracks[pictureTrack].on && p.head-p.group <= joinMost
}

// joinMost is how many packets of the group under way are sent at most.
const joinMost = 4096

// rejoinEvery is the least time between two times that a viewer is sent the group under
// way again.
const rejoinEvery = time.Second

// rejoin sends the group under way again, to a viewer that cannot go on without a key
// frame, of a publisher that cannot be asked for one. To the viewer these are new
// packets, whose frames follow the newest within a tick each.
func (v *viewer) rejoin(now time.Time) {
	t := &v.tracks[pictureTrack]
	p := v.lane.place(pictureTrack)
	first, ok := v.lane.packet(p.group)
	if !v.joined || !t.live || v.choice != nil || !v.near(&p) || !ok || now.Sub(v.rejoins) < rejoinEvery || v.pos <= p.group {
		return
	}
	v.rejoins = now
	t.offset += t.next - (first.seq + t.offset)
	t.floor = t.next
	if n, ok := first.Number(first.codec); ok {
		t.numbers = t.number + 1 - n
	}
	v.join = max(v.join, v.pos)
	v.pos, v.upto, v.from, v.step = p.group, p.frame+1, p.groupFrame, 1
	v.base = p.shown + 1
}

// stampOf is the time stamp of a packet for this viewer, but for the track's shift.
func (v *viewer) stampOf(p *packet) uint32 {
	if p.track != soundTrack && p.frame-v.from < v.upto-v.from {
		return v.base + (p.frame-v.from)*v.step
	}
	return p.time
}

// change goes over to the codec of a key frame, if it is one of those that were agreed on; if
// it is none, that is said once.
func (v *viewer) change(t *out, p *packet) bool {
	if i := slices.IndexFunc(t.others, func(o payload) bool { return o.is == p.codec }); i >= 0 {
		if p.key {
			t.payload, t.others[i] = t.others[i], t.payload
		}
		return p.key
	}
	if t.foreign {
		return false
	}
	t.foreign = true
	v.peer.log.Warn("a player and the stream have different codecs: it is sent nothing of that until it comes again", "player", t.is, "stream", p.codec)
	return false
}

// numberOf is the number of a packet's picture for this viewer, 0 if the codec has none.
func (v *viewer) numberOf(t *out, p *packet) uint16 {
	n, ok := p.Number(p.codec)
	if !ok {
		return 0
	}
	return (n + t.numbers) & 0x7fff
}

// begin decides whether a packet is the viewer's, and gives its track a start.
func (v *viewer) begin(p *packet, pos uint64) bool {
	t := &v.tracks[kindOf(int(p.track))]
	if !t.on || p.track == soundTrack && pos < v.join {
		return false
	}
	if p.codec != t.is && !v.change(t, p) {
		return false
	}
	if p.track != soundTrack && int(p.track) != pictureTrack+v.layer && !v.goesOver(p) {
		return false
	}
	if t.live {
		return true
	}
	if p.track != soundTrack && !p.key {
		return false
	}
	t.live = true
	v.reports = time.Time{} // its player learns at once how it belongs beside the other
	if t.packets == 0 {
		// A start in the lower half keeps the first loss apart from a roll-over
		// (RFC 3711 3.3.1).
		t.offset = uint16(rand.IntN(1<<15)) - p.seq
		t.floor = p.seq + t.offset
	}
	return true
}

// budget bounds what happens in a second.
type budget struct {
	since time.Time
	used  int
}

// take reports whether one more is within the bound.
func (b *budget) take(now time.Time, most int) bool {
	if now.Sub(b.since) >= time.Second {
		b.since, b.used = now, 0
	}
	b.used++
	return b.used <= most
}
