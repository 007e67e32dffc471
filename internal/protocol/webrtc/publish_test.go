package webrtc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"weir/internal/hub"
	own "weir/internal/media"
)

// studio is a client that publishes.
type studio struct {
	pc             *pion.PeerConnection
	picture, sound *pion.TrackLocalStaticSample
	answer         answer

	mu    sync.Mutex
	heard map[string]int // what the server reports, by type; guarded by mu
}

// told returns how often the server has told something.
func (st *studio) told(what string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.heard[what]
}

// publish publishes with a client of another make. change may rewrite the answer.
func (h *house) publish(path, codec string, change func(string) string) *studio {
	h.t.Helper()
	st := &studio{pc: client(h.t, nil), heard: map[string]int{}}
	for _, kind := range []string{codec, pion.MimeTypeOpus} {
		track, err := pion.NewTrackLocalStaticSample(pion.RTPCodecCapability{MimeType: kind}, kind, "s")
		if err != nil {
			h.t.Fatal(err)
		}
		sender, err := st.pc.AddTrack(track)
		if err != nil {
			h.t.Fatal(err)
		}
		if kind == codec {
			st.picture = track
		} else {
			st.sound = track
		}
		go func() {
			for {
				packets, _, err := sender.ReadRTCP()
				if err != nil {
					return
				}
				st.mu.Lock()
				for _, p := range packets {
					st.heard[strings.TrimPrefix(fmt.Sprintf("%T", p), "*rtcp.")]++
				}
				st.mu.Unlock()
			}
		}()
	}
	text := offer(h.t, st.pc)
	st.answer = h.do("POST", path, "application/sdp", text)
	if st.answer.StatusCode != 201 {
		h.t.Fatalf("%s is answered %s: %s", path, st.answer.Status, st.answer.body)
	}
	sdp := st.answer.body
	if change != nil {
		sdp = change(sdp)
	}
	if err := st.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: sdp}); err != nil {
		h.t.Fatal(err)
	}
	until(h.t, "it is connected", func() bool { return st.pc.ConnectionState() == pion.PeerConnectionStateConnected })
	return st
}

// annexB is a frame with start codes, whose last byte is its number.
func annexB(n int, key bool) []byte {
	var b []byte
	code := []byte{0, 0, 0, 1}
	size, head := 3000, byte(0x41)
	if key {
		b = bytes.Join([][]byte{b, code, testSPS, code, testPPS}, nil)
		size, head = 20000, 0x65
	}
	u := bytes.Repeat([]byte{byte(n) | 1}, size)
	u[0], u[size-1] = head, byte(n)
	return append(append(b, code...), u...)
}

// work publishes n frames at five times their pace, each tenth a key frame, and sound.
func (st *studio) work(t *testing.T, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		if err := st.picture.WriteSample(media.Sample{Data: annexB(i, i%10 == 0), Duration: 40 * time.Millisecond}); err != nil {
			t.Error(err)
		}
		for range 2 {
			st.sound.WriteSample(media.Sample{Data: []byte{0xfc, byte(i)}, Duration: 20 * time.Millisecond})
		}
		time.Sleep(8 * time.Millisecond)
	}
}

// gallery keeps what a stream has.
type gallery struct {
	mu     sync.Mutex
	frames []*own.Frame
	ends   int
}

func (g *gallery) Frame(f *own.Frame, _ bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frames = append(g.frames, f)
}

func (g *gallery) End(error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends++
}

// of returns the frames of a kind.
func (g *gallery) of(k own.Kind) (all []*own.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.frames {
		if f.Track.Kind == k {
			all = append(all, f)
		}
	}
	return all
}

func (h *house) gallery(inside bool) *gallery {
	g := &gallery{}
	st, release := h.hub.Hold(key)
	h.t.Cleanup(release)
	if inside {
		st.AttachInside(g, hub.Insider{Protocol: protocol})
	} else {
		st.Attach(g)
	}
	return g
}

func TestPublish(t *testing.T) {
	h := build(t, "", "rtc_to_rtmp on; rtc_to_rtmp_audio opus;", "")
	g := h.gallery(false)
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	st.work(t, 0, 50)
	until(t, "the frames are there", func() bool { return len(g.of(own.Video)) == 50 && len(g.of(own.Audio)) > 90 })
	for i, f := range g.of(own.Video) {
		want := annexB(i, false)
		want[0], want[1], want[2], want[3] = 0, 0, 3000>>8, 3000&255
		if i%10 == 0 {
			want = annexB(i, true)[8+len(testSPS)+len(testPPS):]
			want[0], want[1], want[2], want[3] = 0, 0, 20000>>8, 20000&255
		}
		if f.Key != (i%10 == 0) || !bytes.Equal(f.Payload, want) || f.Track.Width != 320 {
			t.Fatalf("frame %d: key %v, %d bytes, want %d", i, f.Key, len(f.Payload), len(want))
		}
		if i > 0 {
			if d := f.DTS - g.of(own.Video)[i-1].DTS; d < 39*time.Millisecond || d > 41*time.Millisecond {
				t.Errorf("frame %d is %v after the one before", i, d)
			}
		}
	}
	if f := g.of(own.Audio)[0]; f.Track.Codec != own.Opus || f.Track.SampleRate != 48000 || f.Payload[0] != 0xfc {
		t.Errorf("sound is %+v", f.Track)
	}
	// A second one is told that the stream is busy.
	if a := h.do("POST", "/rtc/v1/whip/?app=live&stream=s", "application/sdp", chromium(t, "sendonly")); a.StatusCode != 409 {
		t.Errorf("a second publisher: %s %s", a.Status, a.body)
	}
	// A viewer has it, and its wish for a key frame reaches the publisher.
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	var more sync.WaitGroup
	more.Go(func() { st.work(t, 50, 30) })
	<-w.frames
	more.Wait()
	st.pc.Close()
	until(t, "it ends", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.ends == 1 })
}

// Others get AAC of a publisher's Opus, players of WebRTC the Opus itself.
func TestOthersGetAAC(t *testing.T) {
	h := build(t, "", "rtc_to_rtmp on; aac_bitrate 96000;", "")
	inside, outside := h.gallery(true), h.gallery(false)
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	st.work(t, 0, 50)
	until(t, "AAC comes", func() bool { return len(outside.of(own.Audio)) > 60 })
	var last time.Duration
	for i, f := range outside.of(own.Audio) {
		if f.Track.Codec != own.AAC || f.Track.ID != 0 || f.Track.SampleRate != 48000 || f.Layout.Main(own.Audio) != f.Track {
			t.Fatalf("others get %+v", f.Track)
		}
		if d := f.DTS - last; i > 10 && (d < 20*time.Millisecond || d > 23*time.Millisecond) {
			t.Errorf("packet %d comes %v after the one before", i, d)
		}
		last = f.DTS
	}
	opus := 0
	for _, f := range inside.of(own.Audio) {
		if f.Track.Codec == own.Opus {
			opus++
		}
	}
	if opus < 60 {
		t.Errorf("insiders get %d packets of Opus", opus)
	}
	for range 20 {
		if p := <-w.sounds; len(p) != 2 || p[0] != 0xfc {
			t.Fatalf("a player of WebRTC gets % x, which the publisher did not send", p)
		}
	}
}

// Without rtc_to_rtmp only WebRTC sees what WebRTC publishes.
func TestRTCToRTMP(t *testing.T) {
	h := build(t, "", "", "")
	inside, outside := h.gallery(true), h.gallery(false)
	told := 0
	h.hub.OnPublish(func(*hub.Publication) { told++ })
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	st.work(t, 0, 20)
	until(t, "insiders see it", func() bool { return len(inside.of(own.Video)) == 20 })
	if n := len(outside.of(own.Video)); n != 0 || told != 0 {
		t.Errorf("others see %d frames, and %d are told", n, told)
	}
}

// The other codecs of pictures come through as they are.
func TestPublishVP8(t *testing.T) {
	h := build(t, "", "rtc_to_rtmp on;", "")
	g := h.gallery(false)
	st := h.publish("/rtc/v1/whip/?app=live&stream=s&codec=vp8", pion.MimeTypeVP8, nil)
	r := rand.New(rand.NewPCG(1, 2))
	var sent [][]byte
	for i := range 20 {
		f := make([]byte, 100+r.IntN(5000))
		for j := range f {
			f[j] = byte(r.Uint32())
		}
		f[0] |= 1
		if i%5 == 0 {
			copy(f, []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00})
		}
		sent = append(sent, f)
		st.picture.WriteSample(media.Sample{Data: f, Duration: 40 * time.Millisecond})
		time.Sleep(5 * time.Millisecond)
	}
	until(t, "the frames are there", func() bool { return len(g.of(own.Video)) == 20 })
	for i, f := range g.of(own.Video) {
		if !bytes.Equal(f.Payload, sent[i]) || f.Key != (i%5 == 0) || f.Track.Width != 320 || f.Track.Height != 180 {
			t.Errorf("frame %d: %d bytes, want %d, key %v, %+v", i, len(f.Payload), len(sent[i]), f.Key, f.Track)
		}
	}
}

// A publisher is told how its packets arrive, and asked for key frames where others
// watch.
func TestPublisherIsTold(t *testing.T) {
	h := build(t, "", "rtc_to_rtmp on; pli_for_rtmp 0.5; drop_for_pt 111;", "")
	g := h.gallery(false)
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	i := 0
	until(t, "the publisher is told all", func() bool {
		st.work(t, i, 10)
		i += 10
		return st.told("TransportLayerCC") > 3 && st.told("ReceiverReport") > 1 && st.told("PictureLossIndication") > 2
	})
	if n := len(g.of(own.Audio)); n != 0 || len(g.of(own.Video)) == 0 {
		t.Errorf("%d packets of sound came, of the type that is dropped", n)
	}
}

// relay is a way to the server that loses datagrams, both ways. Handshakes pass.
type relay struct {
	pc   *net.UDPConn
	to   *net.UDPAddr
	mu   sync.Mutex
	back map[string]*net.UDPConn
	drop func(b []byte) bool
	// handshakes has DTLS be lost, not media.
	handshakes bool
	// narrow is how many bits a second come from the server, 0 if all do.
	narrow atomic.Int64
}

func newRelay(t testing.TB, to *net.UDPAddr, drop func(b []byte) bool) *relay {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{pc: pc, to: to, back: map[string]*net.UDPConn{}, drop: drop}
	t.Cleanup(func() {
		pc.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.back {
			c.Close()
		}
	})
	go r.run()
	return r
}

func (r *relay) run() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.pc.ReadFromUDP(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		c := r.back[from.String()]
		if c == nil {
			c, err = net.DialUDP("udp4", nil, r.to)
			if err != nil {
				r.mu.Unlock()
				continue
			}
			r.back[from.String()] = c
			go func() {
				b := make([]byte, 2048)
				free := time.Now()
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if rate := r.narrow.Load(); rate > 0 {
						free = free.Add(time.Duration(n) * 8 * time.Second / time.Duration(rate))
						time.Sleep(time.Until(free))
					}
					if now := time.Now(); free.Before(now) {
						free = now
					}
					if !r.loses(b[:n]) {
						r.pc.WriteToUDP(b[:n], from)
					}
				}
			}()
		}
		r.mu.Unlock()
		if !r.loses(buf[:n]) {
			c.Write(buf[:n])
		}
	}
}

func (r *relay) loses(b []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handshakes {
		return b[0] >= 20 && b[0] < 64 && r.drop(b)
	}
	return b[0] >= 128 && r.drop(b)
}

// narrows has fewer bits a second come from the server; what waits for long is lost.
func (r *relay) narrows(rate int64) {
	r.narrow.Store(rate)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.back {
		c.SetReadBuffer(32 << 10)
	}
}

// through rewrites an answer so that its peer comes through the relay.
func (r *relay) through(sdp string) string {
	return strings.ReplaceAll(sdp, " "+strconv.Itoa(r.to.Port)+" typ", " "+strconv.Itoa(r.pc.LocalAddr().(*net.UDPAddr).Port)+" typ")
}

func (h *house) relay(percent int) *relay {
	r := rand.New(rand.NewPCG(7, 8))
	return newRelay(h.t, h.at(0), func([]byte) bool { return r.IntN(100) < percent })
}

// What is lost on the way in is asked for again, and where that does not help, the
// picture goes on at a key frame: no frame is ever broken.
func TestPublishThroughLoss(t *testing.T) {
	for _, percent := range []int{5, 20} {
		t.Run(strconv.Itoa(percent), func(t *testing.T) {
			t.Parallel()
			h := build(t, "", "rtc_to_rtmp on;", "")
			g := h.gallery(false)
			st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, h.relay(percent).through)
			st.work(t, 0, 200)
			until(t, "the publisher is told of loss", func() bool { return st.told("TransportLayerNack") > 0 })
			// A machine that is late asks again late: what counts is that none is broken.
			until(t, "many of 200 frames came through", func() bool { return len(g.of(own.Video)) >= map[int]int{5: 100, 20: 40}[percent] })
			got := g.of(own.Video)
			whole := map[int]bool{3004: true, 20004: true}
			for i, f := range got {
				if !whole[len(f.Payload)] {
					t.Errorf("frame %d has %d bytes", i, len(f.Payload))
				}
				if n := int(f.Payload[len(f.Payload)-1]); i > 0 && !f.Key && n != int(got[i-1].Payload[len(got[i-1].Payload)-1])+1 {
					t.Errorf("frame %d refers to one that is not there: %d follows %d", i, n, got[i-1].Payload[len(got[i-1].Payload)-1])
				}
			}
		})
	}
}
