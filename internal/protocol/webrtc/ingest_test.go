package webrtc

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config/blocks"
	own "weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/rtcp"
	wire "weir/internal/wire/rtp"
	"weir/internal/wire/sdp"
)

// sender sends an ingest packets of H.264 and Opus, at 25 frames a second, each of three
// packets, of which the last has the marker. It has a clock of its own for either.
type sender struct {
	t      *testing.T
	in     *ingest
	got    *gallery
	ssrc   [2]uint32 // of sound and picture
	seq    [2]uint16
	stamp  [2]uint32
	number int
	// change may lose the packets of a frame, or have them come in another order.
	change func(packets [][]byte) [][]byte
}

// ingesting runs a test with a publisher at a clock that does not wait.
func ingesting(t *testing.T, f func(t *testing.T, s *sender)) {
	synctest.Test(t, func(t *testing.T) {
		srv := bare()
		sess, err := srv.env.Desk.Connect(t.Context(), session.Visitor{})
		if err != nil {
			t.Fatal(err)
		}
		conf := *blocks.RTC.Default()
		conf.RTCToRTMPAudio = "opus"
		p := &peer{server: srv, session: sess, log: srv.env.Log, conf: &conf, path: path{sock: &socket{server: srv, stream: &stream{room: make(chan struct{}, 1)}}}}
		got := &gallery{}
		st, release := srv.env.Hub.Hold(key)
		defer release()
		st.Attach(got)
		p.ingest = bareIngest(t, p)
		p.ingest.open = true
		f(t, &sender{t: t, in: p.ingest, got: got, ssrc: [2]uint32{11, 22}, seq: [2]uint16{65530, 65000}, stamp: [2]uint32{1<<32 - 48000, 1<<32 - 90000}})
		p.ingest.pub.Close(nil)
		sess.Close(nil)
	})
}

// rtp makes a packet of a track.
func (s *sender) rtp(track int, marker bool, payload []byte) []byte {
	b := make([]byte, wire.HeaderSize, wire.HeaderSize+len(payload))
	wire.PutHeader(b, marker, s.in.sources[track].line.codec.Type, s.seq[track], s.stamp[track], s.ssrc[track])
	s.seq[track]++
	return append(b, payload...)
}

// play sends n frames in their time; the first of them is a key frame, and so is each that
// is asked for.
func (s *sender) play(n int) {
	for i := range n {
		s.frame(i == 0 || s.asked())
	}
}

// frame sends a frame, and two packets of sound.
func (s *sender) frame(key bool) {
	for range 2 {
		s.in.packet(s.rtp(soundTrack, false, []byte{0xfc, byte(s.number)}), time.Now())
		s.stamp[soundTrack] += 960
	}
	typ := byte(1)
	var packets [][]byte
	if key {
		typ = 5
		sets := append([]byte{24, 0, byte(len(testSPS))}, testSPS...)
		packets = append(packets, s.rtp(pictureTrack, false, append(append(sets, 0, byte(len(testPPS))), testPPS...)))
	}
	for i, part := range []byte{0x80, 0, 0x40} { // start, middle and end of a unit in fragments
		packets = append(packets, s.rtp(pictureTrack, i == 2, append([]byte{0x7c, part | typ}, bytes.Repeat([]byte{byte(s.number)}, 500)...)))
	}
	if s.change != nil {
		packets = s.change(packets)
	}
	for _, b := range packets {
		s.in.packet(b, time.Now())
	}
	s.stamp[pictureTrack] += 3600
	s.number++
	for range 2 {
		time.Sleep(20 * time.Millisecond)
		s.in.tick(time.Now())
	}
}

// asked reports whether a key frame was asked for just now.
func (s *sender) asked() bool {
	return time.Since(s.in.sources[pictureTrack].asked) < 45*time.Millisecond
}

// settle has what is waited for be given up.
func (s *sender) settle() {
	for range 30 {
		time.Sleep(20 * time.Millisecond)
		s.in.tick(time.Now())
	}
	s.stamp[soundTrack] += 600 * 48
	s.stamp[pictureTrack] += 600 * 90
}

// numbers are those of the frames that came, each of which must be whole and have what it
// refers to.
func (s *sender) numbers() (all []int) {
	s.t.Helper()
	var last time.Duration
	for i, f := range s.got.of(own.Video) {
		n := int(f.Payload[len(f.Payload)-1])
		if len(f.Payload) != 4+1+1500 || !bytes.Equal(f.Payload[5:], bytes.Repeat([]byte{byte(n)}, 1500)) {
			s.t.Errorf("frame %d is broken: %d bytes", n, len(f.Payload))
		}
		if !f.Key && n != all[i-1]+1 {
			s.t.Errorf("frame %d refers to one that is not there", n)
		}
		if d := f.DTS - last; i > 0 && (d <= 0 || d > 3*time.Second) {
			s.t.Errorf("frame %d is %v after the one before", n, d)
		}
		last = f.DTS
		all = append(all, n)
	}
	return all
}

// Order, doubles and losses: what can be put right is, nothing is broken, and the picture
// goes on at a key frame that was asked for.
func TestIngestLossAndOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name   string
		change func(p [][]byte) [][]byte
		want   int
	}{
		{"another order, and twice", func(p [][]byte) [][]byte {
			if len(p) > 3 { // the first of all is where it begins
				return p
			}
			return [][]byte{p[2], p[0], p[1], p[0], p[1]}
		}, 201},
		{"a twentieth is lost for good", func(p [][]byte) (left [][]byte) {
			for _, b := range p {
				if r.IntN(20) > 0 {
					left = append(left, b)
				}
			}
			return left
		}, 50},
	} {
		ingesting(t, func(t *testing.T, s *sender) {
			s.play(1)
			s.change = c.change
			for range 200 {
				s.frame(s.asked())
			}
			s.settle()
			if got := s.numbers(); len(got) < c.want {
				t.Errorf("%s: %d frames of 201 came: %v", c.name, len(got), got)
			}
		})
	}
}

// Packets that only probe the way do not hide that the frame before them is lost.
func TestIngestPaddingBehindALoss(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		s.play(3)
		s.change = func([][]byte) [][]byte { return [][]byte{s.rtp(pictureTrack, false, nil)} }
		s.frame(false)
		s.change = nil
		for range 20 {
			s.frame(false)
		}
		s.frame(true)
		s.settle()
		if got := s.numbers(); len(got) != 4 {
			t.Errorf("frames %v came", got)
		}
	})
}

// Another SSRC is another source: it begins with a key frame, its sequence numbers and
// times are its own, and late packets of the one before do not bring that back.
func TestIngestAnotherSource(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		s.play(10)
		var late []byte
		s.change = func(p [][]byte) [][]byte { late = p[2]; return p[:2] }
		s.play(1)
		s.change = nil
		s.ssrc[pictureTrack], s.seq[pictureTrack], s.stamp[pictureTrack] = 33, 9, 1000
		s.play(3)
		s.in.packet(late, time.Now())
		s.play(10)
		s.settle()
		if got := s.numbers(); len(got) != 23 {
			t.Errorf("%d frames came: %v", len(got), got)
		}
	})
}

// Sequence numbers and times that jump, to the front or back, cost a few frames at most.
func TestIngestJumps(t *testing.T) {
	for _, jump := range []struct {
		seq   uint16
		stamp uint32
	}{{30000, 0}, {40000, 0}, {0, 1 << 30}, {0, 3 << 30}, {20000, 1 << 31}} {
		ingesting(t, func(t *testing.T, s *sender) {
			s.play(20)
			for _, track := range []int{soundTrack, pictureTrack} {
				s.seq[track] += jump.seq
				s.stamp[track] += jump.stamp
			}
			s.play(30)
			s.play(30)
			s.settle()
			got := s.numbers()
			if len(got) < 70 || got[len(got)-1] != 79 {
				t.Errorf("after a jump of %d and %d: frames %v came", jump.seq, jump.stamp, got)
			}
			if d := s.apart(); d < -100*time.Millisecond || d > 100*time.Millisecond {
				t.Errorf("after a jump of %d and %d sound is %v behind picture", jump.seq, jump.stamp, d)
			}
		})
	}
}

// apart is how far the newest sound is behind the picture that was sent with it.
func (s *sender) apart() time.Duration {
	picture, sound := s.got.of(own.Video), s.got.of(own.Audio)
	p := picture[len(picture)-1]
	n := p.Payload[len(p.Payload)-1]
	for _, f := range sound {
		if f.Payload[len(f.Payload)-1] == n && f.DTS > p.DTS-5*time.Second {
			return f.DTS - p.DTS
		}
	}
	return time.Hour
}

// Sound that comes later than its picture is moved to it by sender reports; reports of
// nonsense do not stop the stream.
func TestIngestReports(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		report := func(ntp time.Time, track int, stamp uint32) {
			b := rtcp.AppendSR(nil, s.ssrc[track], rtcp.Sender{NTP: rtcp.NTP(ntp), Timestamp: stamp})
			r, _, err := rtcp.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			s.in.heard(&r, time.Now())
		}
		s.play(5)
		// Of what is sent at the same moment, the sound was taken 300 ms after the picture.
		report(time.Now(), pictureTrack, s.stamp[pictureTrack])
		s.play(10)
		report(time.Now(), soundTrack, s.stamp[soundTrack]-uint32(300*48))
		s.play(20)
		s.settle()
		if d := s.apart(); d < 290*time.Millisecond || d > 310*time.Millisecond {
			t.Errorf("sound is %v behind the picture, want 0.3 s", d)
		}
		report(time.Now(), soundTrack, 0x01020304)
		report(time.Unix(0, 0), soundTrack, s.stamp[soundTrack])
		s.play(20)
		s.settle()
		if d := s.apart(); d < 290*time.Millisecond || d > 310*time.Millisecond {
			t.Errorf("after nonsense sound is %v behind the picture, want 0.3 s", d)
		}
		s.play(5)
		report(time.Now(), soundTrack, s.stamp[soundTrack])
		s.play(1)
		report(time.Now(), pictureTrack, s.stamp[pictureTrack])
		s.play(30)
		s.settle()
		if got := s.numbers(); len(got) != 91 {
			t.Errorf("%d frames came", len(got))
		}
		if d := s.apart(); d < -60*time.Millisecond || d > 60*time.Millisecond {
			t.Errorf("sound is %v behind the picture, want none", d)
		}
	})
}

// Layers that an offer tells apart by their SSRCs, as browsers did before rid, are layers
// too; the answer has no rid.
func TestIngestLayersBySSRC(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		offer, err := sdp.Parse(chromium(t, "sendonly") + simOffer)
		if err != nil {
			t.Fatal(err)
		}
		p := s.in.peer
		if p.plan, err = agree(offer, true, 0, nil, p.conf); err != nil {
			t.Fatal(err)
		}
		in := newIngest(p, s.in.pub)
		p.ingest, s.in = in, in
		in.open = true
		layers := in.sources[pictureTrack:]
		if len(layers) != 3 {
			t.Fatalf("%d layers", len(layers))
		}
		for n, l := range layers {
			for _, ssrc := range []uint32{101 + uint32(n), 201 + uint32(n)} {
				if got := in.layerOf(&wire.Header{SSRC: ssrc, PayloadType: l.line.codec.Type}); got != l {
					t.Errorf("%d is not of layer %d", ssrc, n)
				}
			}
		}
		if got := in.layerOf(&wire.Header{SSRC: 999, PayloadType: layers[0].line.codec.Type}); got != nil {
			t.Error("a stranger is of a layer")
		}
	})
	a := build(t, "", "", "").do("POST", "/rtc/v1/whip/?app=live&stream=s", "application/sdp", chromium(t, "sendonly")+simOffer)
	if a.StatusCode != 201 || strings.Contains(a.body, "a=rid") || strings.Contains(a.body, "a=simulcast") {
		t.Errorf("it is answered %s: %s", a.Status, a.body)
	}
}

// simOffer is what an offer that ends with its picture says of layers by SSRCs.
const simOffer = "a=ssrc-group:SIM 101 102 103\r\na=ssrc-group:FID 101 201\r\na=ssrc-group:FID 102 202\r\na=ssrc-group:FID 103 203\r\n"

// The spatial layers of VP9 are one picture, as large as the highest of them, and where
// that becomes larger its publisher is asked for a key frame. The bytes are Chromium's, in mode
// L3T3_KEY: a key picture of two layers, then one of three.
func TestIngestScalable(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		src := s.in.sources[pictureTrack]
		src.line.is, src.unpack.Codec = own.VP9, own.VP9
		packet := func(text string, marker bool) {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, make([]byte, 800)...)
			s.in.packet(s.rtp(pictureTrack, marker, b), time.Now())
		}
		packet("be8cef105000f0008701e0010e03c0021c"+"83498342000ef008781df810d840e0907063000005005f", false)
		packet("b88cef13"+"8702020003be021b03bf021bb0b1c120e0c5200012807ea3", false)
		packet("b48cef13"+"77", true)
		s.stamp[pictureTrack] += 6000
		time.Sleep(time.Second)
		first := src.asked
		packet("fd8cf05002"+"8700000001de010f03bf021bb001c120e0c9e000058073bb", false)
		packet("fd8cf05202"+"8700200003be021b03bf021bb201c120e0ca800003407657", false)
		packet("fd8cf05402"+"87004000077e0436b331c120e0cc400007007d237a69", true)
		got := s.got.of(own.Video)
		if len(got) != 2 || !got[0].Key || got[1].Key {
			t.Fatalf("%d pictures came", len(got))
		}
		if w, h := got[0].Track.Width, got[0].Track.Height; w != 480 || h != 270 {
			t.Errorf("the picture is %dx%d", w, h)
		}
		for i, f := range got {
			if mark := f.Payload[len(f.Payload)-1]; int(mark) != 0xd8|(i+1) {
				t.Errorf("picture %d ends with %#x, which is not of %d layers", i, mark, i+2)
			}
		}
		if n := len(got[0].Payload); n < 3*800 {
			t.Errorf("the first picture has %d bytes", n)
		}
		if src.asked == first {
			t.Error("no key frame was asked for when the picture became larger")
		}
	})
}
