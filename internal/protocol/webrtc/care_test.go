package webrtc

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
)

// farEnd is a browser at the end of a way that loses packets: it asks for what is missing
// at once, and again each 100 ms, tells each 100 ms of the fate of what has a counter, and
// shows pictures in order when they are whole and it is time.
type farEnd struct {
	t      *testing.T
	l      *loop
	v      *viewer
	k      *socket
	random *rand.Rand
	lose   float64

	began   time.Time
	passed  int // ms since
	way     []onItsWay
	newest  uint16
	begun   bool
	missing map[uint16]time.Time // when it was asked for last
	parts   map[uint32]uint16    // packets by the time stamp of their picture
	keep    time.Duration
	jump    time.Duration // by how much more pictures were to be kept at once
	shown   time.Time

	counters bool // pictures have them
	fates    []rtcp.Fate
	told     uint16 // what comes after the fates

	next   int    // the picture to be shown
	sounds uint16 // the newest
	hears  bool
	absent []uint16
	late   time.Duration // how late sound came at most, and
	least  time.Duration // at least in any half-second,
	recent time.Duration // and in this one

	freezes, halts, pictures, packets, unheard int
}

type onItsWay struct {
	due   time.Time
	b     []byte // to the browser,
	ask   []uint16
	fates []rtcp.Fate
}

const farWay = 20 * time.Millisecond

// lossy makes a lane of a peer's stream with one viewer, which is far.
func lossy(t *testing.T) (*farEnd, *lane) {
	s := bare()
	l := newLoop(s, 0)
	s.loops = []*loop{l}
	st, _ := s.env.Hub.Hold(hub.Key{Stream: "s"})
	ln := newLane(s, laneKey{stream: st}, blocks.RTC.Default())
	ln.open.Store(true)
	ln.near.Store(true)
	sess, err := s.env.Desk.Connect(t.Context(), session.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	k := &socket{server: s, stream: &stream{room: make(chan struct{}, 1)}}
	v := &viewer{peer: &peer{server: s, session: sess, log: s.env.Log, conf: blocks.RTC.Default(), plan: &plan{video: &line{twcc: 4}}}, lane: ln, loop: l, cname: "c", path: path{sock: k}}
	v.tracks[pictureTrack] = out{on: true, payload: payload{is: media.H264, typ: 96}, ssrc: 7, rate: 90000, delay: 5}
	v.tracks[soundTrack] = out{on: true, payload: payload{is: media.Opus, typ: 111}, ssrc: 8, rate: 48000}
	l.list(v)
	return &farEnd{t: t, l: l, v: v, k: k, random: rand.New(rand.NewPCG(1, 5)), began: time.Now(),
		missing: map[uint16]time.Time{}, parts: map[uint32]uint16{}}, ln
}

// turn has the loop send, and puts on its way what is not lost.
func (e *farEnd) turn() {
	e.l.turn()
	for q := e.k.stream.queue; len(q) > 0; {
		n := int(binary.BigEndian.Uint16(q))
		b := q[2 : 2+n]
		q = q[2+n:]
		if !isRTCP(b) {
			e.packets++
		}
		if e.random.Float64() >= e.lose {
			e.way = append(e.way, onItsWay{due: time.Now().Add(farWay), b: append([]byte(nil), b...)})
		}
	}
	e.k.stream.queue = e.k.stream.queue[:0]
}

// tick is one millisecond of the browser.
func (e *farEnd) tick() {
	now := time.Now()
	for len(e.way) > 0 && !e.way[0].due.After(now) {
		p := e.way[0]
		e.way = e.way[1:]
		if p.ask != nil {
			e.l.post(func() { e.l.resend(e.v, 7, p.ask) })
			e.turn()
		} else if p.fates != nil {
			e.l.post(func() { e.l.miss(e.v, p.fates) })
			e.turn()
		} else if !isRTCP(p.b) {
			e.take(p.b, now)
		}
	}
	var again []uint16
	for seq, at := range e.missing {
		if now.Sub(at) >= 100*time.Millisecond {
			again = append(again, seq)
		}
	}
	slices.Sort(again)
	e.ask(again, now)
	e.show(now)
	if e.passed%100 == 0 {
		e.tell(now)
	}
	if e.passed%500 == 0 {
		e.late, e.least, e.recent = max(e.late, e.recent), min(e.least, e.recent), 0
	}
}

// tell tells of the fate of what came since, and before.
func (e *farEnd) tell(now time.Time) {
	var all []rtcp.Fate
	for ; e.counters && int16(e.newest-e.told) >= 0; e.told++ {
		_, lost := e.missing[e.told]
		all = append(all, rtcp.Fate{Counter: e.told, Came: !lost})
	}
	if len(all) > 0 && e.random.Float64() >= e.lose {
		e.way = append(e.way, onItsWay{due: now.Add(farWay), fates: all})
	}
}

func (e *farEnd) ask(lost []uint16, now time.Time) {
	for _, seq := range lost {
		e.missing[seq] = now
	}
	if len(lost) > 0 && e.random.Float64() >= e.lose {
		e.way = append(e.way, onItsWay{due: now.Add(farWay), ask: lost})
	}
}

func (e *farEnd) take(b []byte, now time.Time) {
	var p rtp.Packet
	if err := p.Unmarshal(b); err != nil {
		e.t.Fatal(err)
	}
	seq, stamp := p.SequenceNumber, p.Timestamp
	if p.SSRC == 8 {
		e.listen(seq, stamp, now)
		return
	}
	if x := p.GetExtension(5); x != nil { // how long pictures are to be kept
		keep := time.Duration(uint(x[0])<<4|uint(x[1])>>4) * 10 * time.Millisecond
		e.jump, e.keep = max(e.jump, keep-e.keep), keep
	}
	if x := p.GetExtension(4); x != nil {
		if binary.BigEndian.Uint16(x) != seq {
			e.t.Fatalf("packet %d has counter %x", seq, x)
		}
		if !e.counters {
			e.counters, e.told = true, seq
		}
	}
	if !e.begun {
		e.begun, e.newest = true, seq-1
	}
	if _, was := e.missing[seq]; was {
		delete(e.missing, seq)
	} else if int16(seq-e.newest) <= 0 {
		return // twice
	}
	var lost []uint16
	for ; int16(seq-e.newest) > 1; e.newest++ {
		lost = append(lost, e.newest+1)
	}
	if int16(seq-e.newest) > 0 {
		e.newest = seq
	}
	e.ask(lost, now)
	e.parts[stamp]++
}

// show shows the pictures that are whole.
func (e *farEnd) show(now time.Time) {
	stamp := e.v.lane.clock[pictureTrack] + uint32(e.next)*3600
	if e.parts[stamp] < partsOf(e.next) {
		return
	}
	keep := max(e.keep, 50*time.Millisecond)
	if now.Sub(e.began) < time.Duration(e.next)*40*time.Millisecond+farWay+keep {
		return
	}
	if !e.shown.IsZero() && now.Sub(e.shown) > 60*time.Millisecond {
		e.halts++
	}
	if !e.shown.IsZero() && now.Sub(e.shown) > 190*time.Millisecond { // as Chromium counts them
		e.freezes++
	}
	e.shown = now
	delete(e.parts, stamp)
	e.next++
	e.pictures++
}

// listen takes sound; what is missing may come with the next yet.
func (e *farEnd) listen(seq uint16, stamp uint32, now time.Time) {
	passed := time.Duration(stamp-e.v.lane.clock[soundTrack]) * time.Second / 48000
	late := now.Sub(e.began) - passed - farWay
	switch ahead := int16(seq - e.sounds); {
	case !e.hears:
		e.hears, e.sounds = true, seq
	case ahead > 0:
		e.unheard += int(ahead) - 1
		e.recent = max(e.recent, late)
		e.sounds = seq
		for i := range ahead - 1 {
			e.absent = append(e.absent, seq-uint16(i)-1)
		}
	default:
		if i := slices.Index(e.absent, seq); i >= 0 {
			e.absent = slices.Delete(e.absent, i, i+1)
			e.recent = max(e.recent, late)
			e.unheard--
		}
	}
}

// partsOf is how many packets a picture has: 2 Mbit/s in all.
func partsOf(n int) uint16 {
	if n%50 == 0 {
		return 30
	}
	return 9
}

func isRTCP(b []byte) bool { return b[1] >= 192 && b[1] <= 223 }

// run has a stream be played for a while.
func (e *farEnd) run(ln *lane, seconds int) {
	picture, sound := &media.Track{Kind: media.Video, Codec: media.H264}, &media.Track{Kind: media.Audio, Codec: media.Opus}
	layout := &media.Layout{Tracks: []*media.Track{picture, sound}}
	for range seconds * 1000 {
		ms := e.passed
		e.passed++
		at := time.Duration(ms) * time.Millisecond
		if n := ms / 40; ms%40 == 0 {
			ln.add(&media.Frame{Track: picture, Layout: layout, DTS: at, Arrived: time.Now(), Key: n%50 == 0, Payload: unit(0x65, (wire.MaxPayload-2)*int(partsOf(n)), n)})
		}
		if ms%20 == 0 {
			ln.add(&media.Frame{Track: sound, Layout: layout, DTS: at, Arrived: time.Now(), Payload: make([]byte, 160)})
		}
		if len(e.l.grown) > 0 || len(e.l.late) > 0 && ms%5 == 0 || len(e.l.repeats) > 0 || len(e.l.holders) > 0 {
			e.turn()
		}
		e.tick()
		time.Sleep(time.Millisecond)
	}
}

// On a way of 40 ms that loses 5 % both ways, what a peer publishes does not freeze in a
// minute, where it would six times, and nearly all sound comes; at 20 % it freezes, but all
// pictures come. Sound is then kept as long as pictures are, since some of it comes late in
// each half-second, and none too late. While nothing is lost nothing is sent twice or late,
// and no player is told to keep pictures.
func TestCareForLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ln := lossy(t)
		for _, c := range []struct {
			name                    string
			seconds                 int
			lose                    float64
			kept                    time.Duration
			cared                   bool
			packets                 int // at most, for each that is sent when nothing is lost
			freezes, halts, unheard int // at most
		}{
			{"without loss", 10, 0, 0, false, 100, 0, 0, 0},
			{"at first", 3, 0.05, 180 * time.Millisecond, true, 130, 0, 5, 5},
			{"with loss", 60, 0.05, 180 * time.Millisecond, true, 130, 0, 1, 15},
			{"with much loss", 60, 0.2, 180 * time.Millisecond, true, 160, 25, 60, 150},
			{"while it calms", 45, 0, 180 * time.Millisecond, false, 115, 0, 0, 0},
			{"while it fades", 120, 0, 90 * time.Millisecond, false, 100, 0, 0, 0},
			{"later", 60, 0, 0, false, 100, 0, 0, 0},
			{"without loss again", 10, 0, 0, false, 100, 0, 0, 0},
		} {
			e.lose = c.lose
			e.freezes, e.halts, e.pictures, e.packets, e.unheard = 0, 0, 0, 0, 0
			e.late, e.least, e.jump = 0, time.Hour, 0
			made := ln.newest()
			e.run(ln, c.seconds)
			if made = ln.newest() - made; e.packets*100 > int(made)*c.packets {
				t.Errorf("%s: %d packets are sent of %d", c.name, e.packets, made)
			}
			if e.pictures < c.seconds*25-10 || e.freezes > c.freezes || e.halts > c.halts || e.unheard > c.unheard {
				t.Errorf("%s: of %d s there are %d pictures, %d freezes, %d halts, and %d sounds are missing", c.name, c.seconds, e.pictures, e.freezes, e.halts, e.unheard)
			}
			if e.keep != c.kept || e.jump > 2*keepStep || e.v.care.on != c.cared {
				t.Errorf("%s: pictures are to be kept for %v, and %v more at once; cared for is %v", c.name, e.keep, e.jump, e.v.care.on)
			}
			held := (180*time.Millisecond - holdLess) * 3 / 4
			if late := e.late > 5*time.Millisecond; late && !c.cared && c.lose == 0 && c.kept == 0 || e.late > held+repeatAfter+10*time.Millisecond || c.lose > 0 && c.seconds == 60 && e.least < held-20*time.Millisecond {
				t.Errorf("%s: sound comes %v late in some half-seconds, %v in others", c.name, e.least, e.late)
			}
			t.Logf("%s: %d pictures, %d freezes, %d halts, %d sounds missing, %d packets of %d, sound %v to %v late", c.name, e.pictures, e.freezes, e.halts, e.unheard, e.packets, made, e.least, e.late)
		}
	})
}
