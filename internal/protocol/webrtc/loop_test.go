package webrtc

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link/datagram"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	wire "weir/internal/wire/rtp"
)

// udp opens a socket of the loopback interface.
func udp(t testing.TB, network string) *net.UDPConn {
	ip := net.IPv4(127, 0, 0, 1)
	if network == "udp6" {
		ip = net.IPv6loopback
	}
	pc, err := net.ListenUDP(network, &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	pc.SetReadBuffer(4 << 20)
	t.Cleanup(func() { pc.Close() })
	return pc
}

func addrOf(pc *net.UDPConn) netip.AddrPort { return pc.LocalAddr().(*net.UDPAddr).AddrPort() }

// bare is a server without anything, to own sockets and loops.
func bare() *server {
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{} })
	desk := session.New(h, session.Rules{Vhost: func(n string) (string, bool) { return n, true }})
	return &server{env: service.Env{Log: slog.New(slog.DiscardHandler), Hub: h, Desk: desk}, conf: blocks.RTCServer.Default(), peers: map[string]*peer{}, ids: map[string]*peer{}, lanes: map[laneKey]*lane{}, bell: make(chan struct{}, 1)}
}

// testSocket is a socket of UDP at the loopback interface.
func testSocket(t testing.TB, s *server) *socket {
	all, err := datagram.Listen(t.Context(), "udp4", "127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { all[0].Close() })
	return newSocket(s, all[0])
}

// crowd is a lane with viewers that are sent to for real, and read by nobody.
func crowd(t testing.TB, viewers int, profile srtp.ProtectionProfile) (*loop, *lane) {
	s := bare()
	k := testSocket(t, s)
	l := newLoop(s, 0)
	s.loops = []*loop{l}
	st, _ := s.env.Hub.Hold(hub.Key{Stream: "s"})
	ln := newLane(s, laneKey{stream: st}, blocks.RTC.Default())
	ln.open.Store(true)
	sink := udp(t, "udp4")
	for range viewers {
		sess, err := s.env.Desk.Connect(t.Context(), session.Visitor{})
		if err != nil {
			t.Fatal(err)
		}
		n, _ := profile.KeyLen()
		m, _ := profile.SaltLen()
		keys, err := srtp.CreateContext(make([]byte, n), make([]byte, m), profile)
		if err != nil {
			t.Fatal(err)
		}
		v := &viewer{peer: &peer{server: s, session: sess, log: s.env.Log}, lane: ln, loop: l, cname: "c", keys: keys, path: path{sock: k, addr: addrOf(sink)}}
		v.tracks[pictureTrack] = out{on: true, payload: payload{is: media.H264, typ: 96}, ssrc: 7, rate: 90000}
		l.list(v)
	}
	return l, ln
}

// frames makes frames of a size, of which the first is a key frame.
func framer(t testing.TB, size int) func() *media.Frame {
	track := &media.Track{Kind: media.Video, Codec: media.H264}
	n := 0
	return func() *media.Frame {
		f := &media.Frame{Track: track, DTS: time.Duration(n) * 40 * time.Millisecond, Arrived: time.Now(), Key: n == 0, Payload: unit(0x41, size, n)}
		n++
		return f
	}
}

// A great picture goes out in bursts, with a pause between two.
func TestGreatPictureIsPaced(t *testing.T) {
	l, ln := crowd(t, 2, srtp.ProtectionProfileAeadAes128Gcm)
	ln.add(framer(t, 240*1100)())
	total := ln.newest()
	if total < 3*burst {
		t.Fatalf("a picture of %d packets", total)
	}
	_, last := l.lanes[ln].viewers[0].peer.session.Bytes()
	for sent := uint64(0); sent < total; {
		behind := l.turn()
		_, bytes := l.lanes[ln].viewers[0].peer.session.Bytes()
		for _, v := range l.lanes[ln].viewers {
			if n := v.pos - sent; n == 0 || n > burst {
				t.Fatalf("%d packets in one turn", n)
			}
		}
		if n := bytes - last; n > burst*1300 {
			t.Errorf("%d bytes in one turn", n)
		}
		sent, last = l.lanes[ln].viewers[0].pos, bytes
		if behind != (sent < total) {
			t.Errorf("after %d of %d packets it says behind %v", sent, total, behind)
		}
	}
}

// What is lost is sent again however long a viewer has been there: sequence numbers wrap.
func TestResendAfterLong(t *testing.T) {
	l, ln := crowd(t, 1, srtp.ProtectionProfileAeadAes128Gcm)
	v, next := l.lanes[ln].viewers[0], framer(t, 100)
	track := &v.tracks[pictureTrack]
	for sent := range 70000 {
		ln.add(next())
		l.turn()
		if sent%5000 != 4999 {
			continue
		}
		v.again = budget{}
		for _, back := range []uint16{1, 900} {
			before := v.again.used
			l.resend(v, track.ssrc, []uint16{track.next - back})
			if v.again.used == before {
				t.Errorf("after %d packets the %dth last is not sent again", sent+1, back)
			}
		}
	}
}

// Sending costs no allocation, however many viewers there are.
func TestSendingDoesNotAllocate(t *testing.T) {
	l, ln := crowd(t, 20, srtp.ProtectionProfileAeadAes128Gcm)
	next := framer(t, 9000)
	for range 200 {
		ln.add(next())
		l.turn()
	}
	frames := make([]*media.Frame, 0, 120)
	for range cap(frames) {
		frames = append(frames, next())
	}
	n := testing.AllocsPerRun(100, func() {
		ln.add(frames[0])
		frames = frames[1:]
		l.turn()
	})
	if n > 2 { // reports, now and then
		t.Errorf("%v allocations for a frame to 20 viewers", n)
	}
}

func BenchmarkSend(b *testing.B) {
	for _, profile := range []srtp.ProtectionProfile{srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAes128CmHmacSha1_80} {
		for _, viewers := range []int{1, 20, 200} {
			b.Run(fmt.Sprintf("%v/viewers=%d", profile, viewers), func(b *testing.B) {
				l, ln := crowd(b, viewers, profile)
				next := framer(b, 8*(wire.MaxPayload-2))
				packets := 0
				b.ReportAllocs()
				for b.Loop() {
					ln.add(next())
					l.turn()
					packets += 8 * viewers
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
			})
		}
	}
}

// Players are told to keep pictures longer beside sound, but not those of a peer, who
// tells itself how both belong together, and whom somebody may be talking to.
func TestWhoseDelayIsTold(t *testing.T) {
	s := bare()
	st, _ := s.env.Hub.Hold(hub.Key{Stream: "s"})
	picture, sound := &media.Track{Kind: media.Video, Codec: media.H264}, &media.Track{Kind: media.Audio, Codec: media.Opus}
	for _, c := range []struct {
		name   string
		by     string
		tracks []*media.Track
		want   bool
	}{
		{"picture alone", "rtmp", []*media.Track{picture}, false},
		{"with sound", "rtmp", []*media.Track{picture, sound}, true},
		{"of a peer", protocol, []*media.Track{picture, sound}, false},
	} {
		ln := newLane(s, laneKey{stream: st}, blocks.RTC.Default())
		ln.open.Store(true)
		ln.near.Store(byPeer(&hub.Publication{By: c.by}))
		ln.add(&media.Frame{Track: picture, Layout: &media.Layout{Tracks: c.tracks}, Arrived: time.Now(), Key: true, Payload: unit(0x65, 100, 0)})
		p, ok := ln.packet(ln.tail)
		if !ok || p.heard != c.want {
			t.Errorf("%s: told %v (%v)", c.name, p.heard, ok)
		}
	}
}

// Pictures that B-frames refer to come before they are due, and are kept for so much longer:
// otherwise they would be shown before their sound.
func TestPicturesAheadOfSound(t *testing.T) {
	s := bare()
	st, _ := s.env.Hub.Hold(hub.Key{Stream: "s"})
	picture := &media.Track{Kind: media.Video, Codec: media.H264}
	layout := &media.Layout{Tracks: []*media.Track{picture, {Kind: media.Audio, Codec: media.Opus}}}
	ln := newLane(s, laneKey{stream: st}, blocks.RTC.Default())
	ln.open.Store(true)
	frame := func(dts, cto int, header byte) {
		ms := time.Millisecond
		ln.add(&media.Frame{Track: picture, Layout: layout, Arrived: time.Now(), DTS: time.Duration(dts) * ms, CTO: time.Duration(cto) * ms, Key: header == 0x65, Payload: unit(header, 100, 0)})
	}
	for i, c := range []struct{ cto, want int }{{80, 80}, {80, 160}, {-40, 160}, {0, 160}, {2000, 1000}} {
		frame(1000*i, c.cto, 0x65)
		if p, ok := ln.packet(ln.head - 1); !ok || !p.key || p.ahead != time.Duration(c.want)*time.Millisecond {
			t.Errorf("key frame %d: %v ahead, not %d ms (%v)", i, p.ahead, c.want, ok)
		}
		frame(1000*i+40, 160, 0x41)
		frame(1000*i+80, 0, 0x41) // a B-frame
		frame(1000*i+120, 120, 0x41)
	}
}

// A viewer that is late in leaving, when its loop has ended, is not kept by it.
func TestLeavingALoopThatEnded(t *testing.T) {
	l, stop := newLoop(bare(), 0), make(chan struct{})
	close(stop)
	l.run(stop)
	l.remove(&viewer{})
}
