package webrtc

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	pion "github.com/pion/webrtc/v4"

	"weir/internal/hub"
	own "weir/internal/media"
	"weir/internal/wire/sdp"
)

// simulcaster is a client that publishes three layers of VP8, of 100, 400 and 1600
// kbit/s. Each begins with a key frame, and has one when it is asked for.
type simulcaster struct {
	pc     *pion.PeerConnection
	answer answer
	stop   chan struct{}

	mu    sync.Mutex
	off   map[int]bool // layers that are not sent; guarded by mu
	asked [3]int       // how often a key frame was asked for; guarded by mu
}

var (
	rids       = [3]string{"low", "mid", "high"}
	layerRates = [3]int{100_000, 400_000, 1_600_000}
)

// vp8Frame is a frame of a layer, which says its layer and number behind the header.
func vp8Frame(layer, number int, key bool) []byte {
	size := layerRates[layer] / 25 / 8
	if key {
		size *= 3
	}
	b := make([]byte, size)
	b[0] = 1
	if key {
		copy(b, []byte{0, 0, 0, 0x9d, 0x01, 0x2a})
		binary.LittleEndian.PutUint16(b[6:], uint16(160<<layer))
		binary.LittleEndian.PutUint16(b[8:], uint16(90<<layer))
	}
	b[10] = byte(layer)
	binary.BigEndian.PutUint16(b[11:], uint16(number))
	return b
}

func (h *house) simulcast(path string) *simulcaster {
	t := h.t
	t.Helper()
	c := &simulcaster{pc: client(t, nil), stop: make(chan struct{}), off: map[int]bool{}}
	var tracks [3]*pion.TrackLocalStaticRTP
	var sender *pion.RTPSender
	for i, rid := range rids {
		track, err := pion.NewTrackLocalStaticRTP(pion.RTPCodecCapability{MimeType: pion.MimeTypeVP8}, "video", "s", pion.WithRTPStreamID(rid))
		if err != nil {
			t.Fatal(err)
		}
		tracks[i] = track
		if i == 0 {
			sender, err = c.pc.AddTrack(track)
		} else {
			err = sender.AddEncoding(track)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.answer = h.connect(c.pc, path)
	until(t, "it is connected", func() bool { return c.pc.ConnectionState() == pion.PeerConnectionStateConnected })
	ext := map[string]uint8{}
	for _, e := range sender.GetParameters().HeaderExtensions {
		ext[e.URI] = uint8(e.ID)
	}
	var wish [3]chan struct{}
	for i, rid := range rids {
		wish[i] = make(chan struct{}, 1)
		go func() {
			for {
				packets, _, err := sender.ReadSimulcastRTCP(rid)
				if err != nil {
					return
				}
				for _, p := range packets {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						c.mu.Lock()
						c.asked[i]++
						c.mu.Unlock()
						select {
						case wish[i] <- struct{}{}:
						default:
						}
					}
				}
			}
		}()
	}
	var done sync.WaitGroup
	t.Cleanup(func() { close(c.stop); done.Wait() })
	for i := range rids {
		done.Go(func() {
			packetizer := rtp.NewPacketizerWithOptions(1200, &codecs.VP8Payloader{EnablePictureID: true}, rtp.NewRandomSequencer(), 90000, rtp.WithTimestamp(uint32(i)*1e9))
			beat := time.NewTicker(40 * time.Millisecond)
			defer beat.Stop()
			for n, key := 0, true; ; n++ {
				select {
				case <-wish[i]:
					key = true
				default:
				}
				c.mu.Lock()
				off := c.off[i]
				c.mu.Unlock()
				for _, p := range packetizer.Packetize(vp8Frame(i, n, key && !off), 3600) {
					p.SetExtension(ext[sdp.ExtMID], []byte("0"))
					p.SetExtension(ext[sdp.ExtRID], []byte(rids[i]))
					if !off {
						tracks[i].WriteRTP(p)
					}
				}
				key = key && off
				select {
				case <-beat.C:
				case <-c.stop:
					return
				}
			}
		})
	}
	return c
}

func (c *simulcaster) turn(layer int, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off[layer] = off
}

// spectator is a client that plays what comes in layers, and checks that it is one stream.
type spectator struct {
	pc *pion.PeerConnection

	mu      sync.Mutex
	packets map[uint16]*rtp.Packet // guarded by mu
	layer   int                    // of the newest frame, not of one that came late; guarded by mu
	newest  uint16                 // where that begins; guarded by mu
	frames  int                    // guarded by mu
}

func (h *house) spectate(path string, through func(string) string) *spectator {
	t := h.t
	t.Helper()
	s := &spectator{pc: client(t, nil), packets: map[uint16]*rtp.Packet{}, layer: -1}
	if _, err := s.pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	s.pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			s.take(p)
		}
	})
	a := h.do("POST", path, "application/sdp", offer(t, s.pc))
	if a.StatusCode != 201 {
		t.Fatalf("%s: %s", a.Status, a.body)
	}
	if err := s.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: through(a.body)}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *spectator) take(p *rtp.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packets[p.SequenceNumber] = p
	var d codecs.VP8Packet
	if b, err := d.Unmarshal(p.Payload); err == nil && d.S == 1 && len(b) > 12 {
		if s.frames == 0 || int16(p.SequenceNumber-s.newest) > 0 {
			s.layer, s.newest = int(b[10]), p.SequenceNumber
		}
		s.frames++
	}
}

func (s *spectator) sees() (layer, frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layer, s.frames
}

// check goes through all that came: sequence numbers tell the order, in which time and
// the number of the picture go on and a layer begins with a key frame.
func (s *spectator) check(t *testing.T) (switches int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	type seen struct {
		seq, number uint16
		stamp       uint32
		layer       int
	}
	var last *seen
	padding := 0
	// Fewer than 2^15 packets, which began in the lower half: the order is that of the numbers.
	for _, seq := range slices.Sorted(maps.Keys(s.packets)) {
		p := s.packets[seq]
		if len(p.Payload) == 0 {
			padding++
			continue
		}
		var d codecs.VP8Packet
		b, err := d.Unmarshal(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		now := seen{seq, d.PictureID, p.Timestamp, -1}
		if last != nil && int32(now.stamp-last.stamp) < 0 {
			t.Errorf("packet %d goes back from %d to %d", seq, last.stamp, now.stamp)
		}
		if d.S == 1 {
			now.layer = int(b[10])
			if last != nil && last.layer != now.layer {
				switches++
				if b[0]&1 != 0 && s.whole(last.seq, seq) {
					t.Errorf("layer %d begins without a key frame, at packet %d", now.layer, seq)
				}
			}
			if last != nil && s.whole(last.seq, seq) && now.number != (last.number+1)&0x7fff {
				t.Errorf("picture %d follows %d at packet %d of layer %d", now.number, last.number, seq, now.layer)
			}
			last = &now
		}
	}
	t.Logf("%d packets, %d of padding, %d switches", len(s.packets), padding, switches)
	return switches
}

// whole reports whether all packets between two have come.
func (s *spectator) whole(from, to uint16) bool {
	for ; from != to; from++ {
		if s.packets[from] == nil {
			return false
		}
	}
	return true
}

// eventually is until with more patience: what a way carries is found out, again if the
// machine stands still meanwhile.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in 90 s", what)
		}
	}
}

// A viewer gets the layer that its way carries, goes down and up again with it, and does
// not notice but by the size; all others get the best layer.
func TestSimulcast(t *testing.T) {
	t.Parallel()
	h := build(t, "", "rtc_to_rtmp on;", "")
	g := h.gallery(false)
	pub := h.simulcast("/rtc/v1/whip/?app=live&stream=s&codec=vp8")
	for _, want := range []string{"a=rid:low recv\r\n", "a=rid:high recv\r\n", "a=simulcast:recv low;mid;high\r\n", " " + sdp.ExtRID + "\r\n", " " + sdp.ExtRepair + "\r\n"} {
		if !strings.Contains(pub.answer.body, want) {
			t.Errorf("the answer lacks %q:\n%s", want, pub.answer.body)
		}
	}
	best := func(width int) bool {
		f := g.of(own.Video)
		return len(f) > 0 && f[len(f)-1].Track.Width == width && f[len(f)-1].Track.ID == 0
	}
	until(t, "others have the best layer", func() bool { return best(640) })
	relay := h.relay(0)
	s := h.spectate("/rtc/v1/whep/?app=live&stream=s", relay.through)
	sees := func(layers ...int) func() bool {
		return func() bool {
			layer, _ := s.sees()
			return slices.Contains(layers, layer)
		}
	}
	eventually(t, "the viewer has the best layer", sees(2))
	relay.narrows(700_000)
	eventually(t, "the viewer has a lower layer", sees(0, 1))
	relay.narrows(0)
	eventually(t, "the viewer has the best layer again", sees(2))
	// The publisher stops its best layer: all go on with the next, until it is back.
	pub.turn(2, true)
	eventually(t, "the viewer has the next layer", sees(1))
	until(t, "others have the next layer", func() bool { return best(320) })
	pub.turn(2, false)
	eventually(t, "the viewer has the best layer that is back", sees(2))
	until(t, "others have the best layer that is back", func() bool { return best(640) })
	if n := s.check(t); n < 4 {
		t.Errorf("%d switches", n)
	}
	var last time.Duration
	for i, f := range g.of(own.Video) {
		if f.DTS < last || f.Track.ID >= hub.LayerID {
			t.Fatalf("frame %d of track %d is at %v, after %v", i, f.Track.ID, f.DTS, last)
		}
		last = f.DTS
	}
}

// Who comes before the first frame is told the codec that the publisher was.
func TestViewerBeforeTheFirstFrame(t *testing.T) {
	h := build(t, "", "", "")
	pc := client(t, nil)
	if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo); err != nil {
		t.Fatal(err)
	}
	if a := h.do("POST", "/rtc/v1/whip/?app=live&stream=s&codec=vp8", "application/sdp", offer(t, pc)); a.StatusCode != 201 {
		t.Fatalf("%s: %s", a.Status, a.body)
	}
	if a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly")); !strings.Contains(a.body, " VP8/90000") {
		t.Errorf("it is answered %s", a.body)
	}
}

// A viewer that says nothing of what it gets has the best layer.
func TestSimulcastWithoutEstimate(t *testing.T) {
	t.Parallel()
	h := build(t, "", "twcc off;", "")
	h.simulcast("/rtc/v1/whip/?app=live&stream=s&codec=vp8")
	s := h.spectate("/rtc/v1/whep/?app=live&stream=s", func(s string) string { return s })
	eventually(t, "the viewer has the best layer", func() bool {
		layer, frames := s.sees()
		return layer == 2 && frames > 10
	})
	s.check(t)
}

// Of layers of one size the one with more bits is better, once that is plain.
func TestBetterLayer(t *testing.T) {
	now := time.Now()
	make := func(width, bits int) *layer {
		l := &layer{own: &own.Track{Width: width, Height: 180}}
		for ms := 0; ms <= 1000; ms += 100 {
			l.meter.add(now.Add(time.Duration(ms-1000)*time.Millisecond).UnixNano(), bits/80)
		}
		return l
	}
	for _, c := range []struct {
		name string
		l    *layer
		want bool
	}{
		{"larger", make(640, 50_000), true},
		{"smaller", make(160, 5_000_000), false},
		{"as large, with more bits", make(320, 900_000), true},
		{"as large, with some bits more", make(320, 600_000), false},
		{"as large, with fewer bits", make(320, 100_000), false},
	} {
		if got := c.l.better(make(320, 500_000), now); got != c.want {
			t.Errorf("%s: better is %v", c.name, got)
		}
	}
}
