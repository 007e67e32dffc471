package webrtc

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/wire/rtp"
)

// A lane is a stream as packets: what all its viewers share. It is a tap of the stream;
// packets are made in the publisher's goroutine, once, and point into the frames. The
// last of them are kept, for viewers that come and for packets that get lost.
type lane struct {
	// Immutable.
	server *server
	key    laneKey
	began  time.Time
	clock  [2]uint32 // where the time stamps of sound and picture begin
	make   func() *rtp.Packer

	voice   voice                    // makes Opus where the stream's sound is none that browsers know
	open    atomic.Bool              // viewers may have what is published now
	told    []atomic.Bool            // of each loop: it knows that something is new
	watched []atomic.Int32           // viewers of each loop
	wished  [trackCount]atomic.Int64 // when a key frame was asked for, in Unix ns
	layered atomic.Bool              // the picture comes in layers
	near    atomic.Bool              // the publisher is a peer too, and in sync by its own reports

	mu sync.Mutex
	// All below is guarded by mu.
	viewers  int
	made     []rtp.Payload // scratch
	ring     []packet
	head     uint64 // position of the next packet
	tail     uint64 // of the oldest that is kept
	tracks   [trackCount]laneTrack
	anchor   time.Time // when the stream's time was 0
	anchored bool
	warned   bool // of units that are cut for players of packetization-mode 0
}

// laneTrack is sound, or the picture, or a layer of it.
type laneTrack struct {
	packer     *rtp.Packer // nil before there was a frame
	track      *media.Track
	index      []uint64 // where a sequence number is
	seq        uint16
	group      uint64 // position of the newest key frame, if it is kept
	grouped    bool
	frame      uint32        // counted, of picture
	groupFrame uint32        // that of group
	shown      uint32        // time stamp of the newest
	begun      bool          // there was a key frame
	last       int64         // when a frame came, in Unix ns
	ahead      time.Duration // how long before it is due a picture of the group has come, at most
	meter
}

// laneKey tells lanes of one stream apart.
type laneKey struct {
	stream *hub.Stream
	single bool // packetization-mode 0
}

// The tracks of a lane.
const (
	soundTrack   = iota
	pictureTrack // or its first layer, which others follow
	trackCount   = pictureTrack + hub.LayersMost
)

// packet is one packet of a lane, but for what viewers have of their own.
type packet struct {
	rtp.Payload
	at    int64 // when its frame came, in Unix ns
	time  uint32
	frame uint32 // number of the frame of its track
	seq   uint16
	track uint8
	codec media.Codec
	key   bool          // the first of a key frame
	first bool          // the first of a frame
	heard bool          // its stream has sound, which its player may keep for longer
	ahead time.Duration // of a key frame: how long before they are due its group's pictures come
}

const (
	ringLeast = 1024
	// ringMost bounds what is kept of a stream, in packets.
	ringMost = 16384
	// keepFor is how long packets are kept at least, while there is room.
	keepFor = 2 * time.Second
	// aheadMost bounds what a publisher may say of how long before they are due pictures come.
	aheadMost = time.Second
)

var rates = map[media.Codec]int64{media.PCMA: 8000, media.PCMU: 8000, media.Opus: 48000}

func rateOf(c media.Codec) int64 {
	if r := rates[c]; r != 0 {
		return r
	}
	return 90000
}

func newLane(s *server, key laneKey, conf *blocks.RTCConfig) *lane {
	l := &lane{server: s, key: key, began: time.Now(), clock: [2]uint32{rand.Uint32(), rand.Uint32()},
		told: make([]atomic.Bool, len(s.loops)), watched: make([]atomic.Int32, len(s.loops))}
	l.make = func() *rtp.Packer {
		return &rtp.Packer{Single: key.single, Merge: s.conf.MergeNALUs, KeepB: conf.KeepBFrame, DropSEI: !conf.KeepSEI}
	}
	for i := range l.tracks {
		l.tracks[i].seq = uint16(rand.Uint32())
	}
	l.resize(ringLeast)
	return l
}

// Frame implements hub.Tap.
func (l *lane) Frame(f *media.Frame, _ bool) {
	switch {
	case !l.open.Load():
	case f.Track.Kind == media.Audio && foreign(f.Track):
		l.voice.take(l, f)
	default:
		l.add(f)
	}
}

// add makes the packets of a frame and wakes those who send them.
func (l *lane) add(f *media.Frame) {
	track, ok := l.trackOf(f)
	if !ok {
		return
	}
	if f.Track.ID == hub.InsideID {
		l.voice.has.Store(true)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.tracks[track]
	if track != soundTrack {
		t.last = f.Arrived.UnixNano()
	}
	if track != soundTrack && !t.begun && !f.Key {
		return
	}
	if t.packer == nil {
		t.packer, t.index = l.make(), make([]uint64, len(l.ring))
	}
	if !l.anchored {
		l.anchor, l.anchored = f.Arrived.Add(-f.DTS), true
	}
	t.track = f.Track
	l.made = t.packer.Append(l.made[:0], f)
	if len(l.made) == 0 {
		return
	}
	if l.key.single && !l.warned && f.Track.Codec == media.H264 && slices.ContainsFunc(l.made, func(p rtp.Payload) bool { return p.Cut() }) {
		l.warned = true
		l.server.env.Log.Warn("a player takes H.264 of packetization-mode 0 only, and the pictures have units too long for that; they are cut all the same, which browsers take. Have the encoder make slices of 1200 bytes for players that do not", "stream", l.key.stream.Key)
	}
	if track == soundTrack {
		// A hole in the numbers tells players of a loss, which is no pause: they conceal
		// it, and Opus has the lost sound once more in the packet behind (RFC 6716 2.1.7).
		t.seq += uint16(f.Lost)
	}
	stamp := l.clock[kindOf(track)] + uint32(media.Ticks(f.PTS(), rateOf(f.Track.Codec)))
	at := f.Arrived.UnixNano()
	var ahead time.Duration
	if track != soundTrack {
		t.frame++
		t.shown = stamp
		t.ahead = min(max(t.ahead, f.PTS()-f.DTS), aheadMost)
		if f.Key {
			ahead, t.ahead = t.ahead, 0
			t.begun = true
			t.group, t.grouped, t.groupFrame = l.head, true, t.frame
		}
	}
	for i := range l.made {
		t.meter.add(at, l.made[i].Size()+onWire)
		l.push(packet{Payload: l.made[i], at: at, time: stamp, frame: t.frame, seq: t.seq, track: uint8(track), codec: f.Track.Codec,
			key: f.Key && i == 0 && track != soundTrack, first: i == 0, heard: !l.near.Load() && f.Layout.Main(media.Audio) != nil, ahead: ahead})
		t.seq++
	}
	clear(l.made)
	for i, lp := range l.server.loops {
		if l.watched[i].Load() > 0 && !l.told[i].Swap(true) {
			lp.tell(l)
		}
	}
}

// trackOf returns the track of the lane that a frame belongs to, if it does.
func (l *lane) trackOf(f *media.Frame) (track int, ok bool) {
	id := f.Track.ID
	switch {
	case !rtp.Knows(f.Track.Codec):
		return 0, false
	case f.Track.Kind == media.Audio:
		return soundTrack, id == 0 || id == hub.InsideID || f.Layout.Main(media.Audio) == f.Track
	case f.Track.Kind != media.Video:
		return 0, false
	case id >= hub.LayerID && id < hub.LayerID+hub.LayersMost:
		if !l.layered.Load() {
			l.layered.Store(true) // the publisher is at another process, or comes just now
		}
		return pictureTrack + int(id-hub.LayerID), true
	}
	return pictureTrack, !l.layered.Load() && (id == 0 || f.Layout.Main(media.Video) == f.Track)
}

// kindOf is the track of which another is a layer, or itself.
func kindOf(track int) int { return min(track, pictureTrack) }

// push puts a packet into the ring, which grows while what is kept is too little.
func (l *lane) push(p packet) {
	if n := uint64(len(l.ring)); l.head-l.tail == n {
		old := l.at(l.tail)
		if n < ringMost && (p.at-old.at < int64(keepFor) || l.needed(l.tail, p.at)) {
			l.resize(int(2 * n))
		} else {
			if t := &l.tracks[old.track]; t.grouped && t.group == l.tail {
				t.grouped = false
			}
			*old = packet{}
			l.tail++
		}
	}
	*l.at(l.head) = p
	x := l.tracks[p.track].index
	x[int(p.seq)&(len(x)-1)] = l.head
	l.head++
}

// needed reports whether a newcomer needs what is at a position, for a picture that
// comes.
func (l *lane) needed(pos uint64, now int64) bool {
	for i := pictureTrack; i < trackCount; i++ {
		if t := &l.tracks[i]; t.grouped && t.group <= pos && now-t.last < int64(keepFor) {
			return true
		}
	}
	return false
}

func (l *lane) at(pos uint64) *packet { return &l.ring[pos&uint64(len(l.ring)-1)] }

func (l *lane) resize(n int) {
	old := l.ring
	l.ring = make([]packet, n)
	for i := range l.tracks {
		if t := &l.tracks[i]; t.packer != nil {
			t.index = make([]uint64, n)
		}
	}
	for pos := l.tail; pos < l.head; pos++ {
		p := old[pos&uint64(len(old)-1)]
		*l.at(pos) = p
		l.tracks[p.track].index[int(p.seq)&(n-1)] = pos
	}
}

// End implements hub.Tap.
func (l *lane) End(error) {
	l.voice.stop()
	l.voice.has.Store(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.tracks {
		l.tracks[i].begun, l.tracks[i].grouped = false, false
	}
}

// copy appends the packets from a position up to another to dst, and returns where it
// really begins: what is not kept any more is left out.
func (l *lane) copy(dst []packet, from, to uint64) ([]packet, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = max(from, l.tail)
	for pos := from; pos < min(to, l.head); pos++ {
		dst = append(dst, *l.at(pos))
	}
	return dst, from
}

// lost returns the packet of a track with a sequence number, if it is kept.
func (l *lane) lost(track int, seq uint16) (p packet, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.tracks[track].index
	if len(x) == 0 {
		return p, false
	}
	pos := x[int(seq)&(len(x)-1)]
	if pos < l.tail || pos >= l.head {
		return p, false
	}
	p = *l.at(pos)
	return p, int(p.track) == track && p.seq == seq
}

// packet returns the packet at a position, if it is kept.
func (l *lane) packet(pos uint64) (p packet, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pos < l.tail || pos >= l.head {
		return p, false
	}
	return *l.at(pos), true
}

// place is where a track of the lane is.
type place struct {
	head, group uint64
	grouped     bool
	frame       uint32 // the newest of video,
	shown       uint32 // and its time stamp
	groupFrame  uint32 // that of the newest key frame
}

func (l *lane) place(track int) place {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &l.tracks[track]
	return place{l.head, t.group, t.grouped, t.frame, t.shown, t.groupFrame}
}

// newest returns the position of the packet to come.
func (l *lane) newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// stamp returns the time stamp of a track for a moment, for sender reports: both tracks
// have one line.
func (l *lane) stamp(track int, rate int64, now time.Time) (uint32, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock[track] + uint32(media.Ticks(now.Sub(l.anchor), rate)), l.anchored
}

// wishEvery is the least time between two requests for a key frame of one publisher,
// however many viewers want one.
const wishEvery = 500 * time.Millisecond

// wish asks the publisher for a key frame of a track. It reports false if there is none
// that can be asked.
func (l *lane) wish(now time.Time, track int) bool {
	pub := l.key.stream.Publication()
	if pub == nil || pub.By != protocol {
		return false
	}
	wished := &l.wished[track]
	last := wished.Load()
	if now.UnixNano()-last < int64(wishEvery) || !wished.CompareAndSwap(last, now.UnixNano()) {
		return true
	}
	// The session may stand for one of another process.
	if s := l.server.env.Desk.Publisher(l.key.stream.Key); s != nil && s.Wish != nil {
		s.Wish(track - pictureTrack)
	}
	return true
}
