package webrtc

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	pion "github.com/pion/webrtc/v4"

	"weir/internal/config/blocks"
	own "weir/internal/media"
)

// Sound that is lost for good is told as lost, and a pause, padding or a jump
// of the numbers is not.
func TestIngestTellsLostSound(t *testing.T) {
	ingesting(t, func(t *testing.T, s *sender) {
		s.play(5)
		s.seq[soundTrack] += 2
		s.stamp[soundTrack] += 2 * 960
		s.play(5)
		s.stamp[soundTrack] += 20 * 960 // a pause
		s.play(5)
		s.seq[soundTrack]++
		s.in.packet(s.rtp(soundTrack, false, nil), time.Now()) // padding behind a loss
		s.play(5)
		s.seq[soundTrack] += 40000
		s.play(5)
		s.ssrc[soundTrack] = 77
		s.play(5)
		s.settle()
		var lost []uint8
		for _, f := range s.got.of(own.Audio) {
			if f.Lost > 0 {
				lost = append(lost, f.Payload[1], f.Lost)
			}
		}
		if want := []uint8{5, 2, 15, 1}; !slices.Equal(lost, want) {
			t.Errorf("frames and what was lost before each: %v, want %v", lost, want)
		}
	})
}

// The numbers of a lane have a hole where sound was lost, in which there is nothing to be
// sent again.
func TestLostSoundIsAHole(t *testing.T) {
	s := bare()
	st, release := s.env.Hub.Hold(key)
	defer release()
	ln := newLane(s, laneKey{stream: st}, blocks.RTC.Default())
	ln.open.Store(true)
	track := &own.Track{Kind: own.Audio, Codec: own.Opus}
	var seqs []uint16
	for i, lost := range []uint8{0, 0, 2, 0} {
		ln.add(&own.Frame{Track: track, Layout: &own.Layout{Tracks: []*own.Track{track}}, DTS: time.Duration(i) * 20 * time.Millisecond, Arrived: time.Now(), Lost: lost, Payload: []byte{0xfc, byte(i)}})
		p, ok := ln.packet(ln.newest() - 1)
		if !ok {
			t.Fatal("there is no packet")
		}
		seqs = append(seqs, p.seq)
		if got, ok := ln.lost(soundTrack, p.seq); !ok || got.seq != p.seq {
			t.Errorf("packet %d is not found", i)
		}
	}
	for i, want := range []uint16{0, 1, 4, 5} {
		if got := seqs[i] - seqs[0]; got != want {
			t.Errorf("packet %d has number %d, want %d", i, got, want)
		}
	}
	for n := uint16(2); n <= 3; n++ {
		if _, ok := ln.lost(soundTrack, seqs[0]+n); ok {
			t.Errorf("there is something in the hole, at %d", n)
		}
	}
}

// What a publisher's sound lost on its way is lost to players too, by number and by time,
// so that they conceal it and use the copy in the packet behind (FEC of Opus); a pause of
// the publisher's is a pause.
func TestLostSoundReachesPlayers(t *testing.T) {
	for _, rtc := range []string{"rtc_to_rtmp on;", ""} {
		h := build(t, "", rtc, "")
		pc := client(t, nil)
		track, err := pion.NewTrackLocalStaticRTP(pion.RTPCodecCapability{MimeType: pion.MimeTypeOpus}, "a", "s")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pc.AddTrack(track); err != nil {
			t.Fatal(err)
		}
		h.connect(pc, "/rtc/v1/whip/?app=live&stream=s")
		until(t, "it is connected", func() bool { return pc.ConnectionState() == pion.PeerConnectionStateConnected })
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			beat := time.NewTicker(5 * time.Millisecond)
			defer beat.Stop()
			stamp := uint32(0)
			for seq := uint16(60000); ; seq++ {
				stamp += 960
				if seq%20 == 15 {
					stamp += 10 * 960
				}
				if seq%20 != 10 {
					track.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: stamp}, Payload: []byte{0xfc, byte(seq >> 8), byte(seq)}})
				}
				select {
				case <-beat.C:
				case <-quit:
					return
				}
			}
		}()
		until(t, "the stream is there", func() bool { return h.hub.Stream(key) != nil && h.hub.Stream(key).Publication() != nil })
		player := client(t, nil)
		if _, err := player.AddTransceiverFromKind(pion.RTPCodecTypeAudio, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
		came := make(chan *rtp.Packet, 1000)
		player.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				came <- p
			}
		})
		h.connect(player, "/rtc/v1/whep/?app=live&stream=s")
		number := func(p *rtp.Packet) uint16 { return uint16(p.Payload[1])<<8 | uint16(p.Payload[2]) }
		holes, pauses := 0, 0
		for last := <-came; holes < 3 || pauses < 3; {
			p := <-came
			sent, got := number(p)-number(last), p.SequenceNumber-last.SequenceNumber
			passed := (p.Timestamp - last.Timestamp + 480) / 960
			pause := uint32(0)
			if number(p)%20 == 15 {
				pause, pauses = 10, pauses+1
			}
			if sent != got || passed != uint32(sent)+pause {
				t.Fatalf("%q: packet %d after %d has a number %d and a time %d frames further", rtc, number(p), number(last), got, passed)
			}
			if got == 2 {
				holes++
			}
			last = p
		}
		close(quit)
		<-done
	}
}
