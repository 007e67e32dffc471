package webrtc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	pionrtcp "github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
	pion "github.com/pion/webrtc/v4"

	own "weir/internal/media"
	"weir/internal/wire/rtcp"
	"weir/internal/wire/rtp"
)

// only returns the one peer that is there.
func (h *house) only() *peer {
	h.t.Helper()
	all := h.s.all()
	if len(all) != 1 {
		h.t.Fatalf("%d peers", len(all))
	}
	return all[0]
}

// What was sent before is not taken again, nor what was changed on the way: packets and
// reports of a publisher, and reports of a player.
func TestForgedAndReplayed(t *testing.T) {
	h := build(t, "", "rtc_to_rtmp on;", "")
	g := h.gallery(false)
	var mu sync.Mutex
	var heard [][]byte
	way := newRelay(t, h.at(0), func(b []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, bytes.Clone(b))
		return false
	})
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, way.through)
	st.work(t, 0, 30)
	until(t, "the frames are there", func() bool { return len(g.of(own.Video)) == 30 })
	p := h.only()
	st.pc.WriteRTCP([]pionrtcp.Packet{&pionrtcp.ReceiverReport{SSRC: 1}})
	until(t, "a report was heard", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, b := range heard {
			if rtp.IsRTCP(b) && len(b) > 8 {
				return true
			}
		}
		return false
	})
	// What is under way: sound is made into AAC by somebody who may be late.
	sounds, since := -1, time.Now()
	until(t, "no more sound comes", func() bool {
		if n := len(g.of(own.Audio)); n != sounds {
			sounds, since = n, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
	invalid := p.invalid.Load()
	way.mu.Lock()
	var c *net.UDPConn
	for _, c = range way.back {
		if c.LocalAddr().(*net.UDPAddr).Port == int(p.path.addr.Port()) {
			break
		}
	}
	way.mu.Unlock()
	mu.Lock()
	said := append([][]byte(nil), heard...)
	mu.Unlock()
	// An SRTP window of 512 packets and an SRTCP window of 64 hold all of them; older ones
	// are refused as well.
	n := int64(0)
	for i, b := range said {
		c.Write(b)
		forged := bytes.Clone(b)
		forged[len(forged)-1-i%8] ^= 1
		binary.BigEndian.PutUint16(forged[2:], binary.BigEndian.Uint16(forged[2:])+1000)
		c.Write(forged)
		n += 2
		if i%8 == 7 {
			time.Sleep(time.Millisecond)
		}
	}
	until(t, "all of it is refused", func() bool { return p.invalid.Load()-invalid >= n*9/10 })
	if v, a := len(g.of(own.Video)), len(g.of(own.Audio)); v != 30 || a != sounds {
		t.Errorf("%d frames and %d of sound after what was replayed, %d before", v, a, sounds)
	}
	st.work(t, 30, 10)
	until(t, "what is right is taken still", func() bool { return len(g.of(own.Video)) == 40 })
}

// A peer whose address is proved sends garbage instead of a handshake, and fragments of
// messages without end: it costs little, and the rest goes on.
func TestGarbageOfDTLS(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on; stun_timeout 3;", "")
	h.feed("rtmp")
	b := h.bareJoin("/rtc/v1/whep/?app=live&stream=s", "recvonly", 0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := rand.New(rand.NewPCG(5, 6))
	most := uint64(0)
	for i := range 6000 {
		body := make([]byte, 12+1100)
		for j := range body[12:] {
			body[12+j] = byte(r.Uint32())
		}
		body[0] = 1                                                       // ClientHello
		body[1], body[2], body[3] = 0xff, 0xff, 0xff                      // of 16 MB
		binary.BigEndian.PutUint16(body[4:], uint16(i%700))               // message
		body[6], body[7], body[8] = byte(i>>8), byte(i), byte(r.Uint32()) // offset
		body[9], body[10], body[11] = 0, byte(1100>>8), byte(1100&0xff)   // length
		record := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, byte(i >> 8), byte(i), byte(len(body) >> 8), byte(len(body))}
		record = append(record, body...)
		if i%3 == 0 { // garbage of all types
			record[0] = byte(20 + r.IntN(6))
			for j := range record[3:] {
				record[3+j] = byte(r.Uint32())
			}
		}
		b.pc.Write(record)
		if i%500 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			most = max(most, after.HeapAlloc)
		}
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("it costs %d bytes", grown)
	}
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	for range 10 {
		<-w.frames
	}
	until(t, "the one of the garbage is gone", func() bool { n, _ := h.desk.Len(); return n == 1 })
}

// A player that vanishes is gone within stun_timeout, with all that was made for it.
func TestViewerVanishes(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on; stun_timeout 1;", "")
	h.feed("rtmp")
	b := h.bareJoin("/rtc/v1/whep/?app=live&stream=s&dtls=false", "recvonly", 0)
	b.until("media come", isRTP)
	st := h.hub.Stream(key)
	if n := st.Viewers(); n != 1 {
		t.Errorf("%d viewers", n)
	}
	b.pc.Close()
	until(t, "it is gone", func() bool {
		n, _ := h.desk.Len()
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		return n == 0 && len(h.s.peers) == 0 && len(h.s.ids) == 0 && len(h.s.lanes) == 0 && st.Viewers() == 0
	})
	k := h.s.socks[0]
	k.mu.RLock()
	defer k.mu.RUnlock()
	if len(k.peers) != 0 {
		t.Errorf("%d addresses are remembered", len(k.peers))
	}
}

// However often a player asks for packets, it is sent a bounded number again.
func TestStormOfNACKs(t *testing.T) {
	l, ln := crowd(t, 1, srtp.ProtectionProfileAeadAes128Gcm)
	v := l.lanes[ln].viewers[0]
	next := framer(t, 60000)
	for range 10 {
		ln.add(next())
		for l.turn() {
		}
	}
	_, before := v.peer.session.Bytes()
	lost := make([]uint16, askedMost)
	for i := range lost {
		lost[i] = v.tracks[pictureTrack].next - 1 - uint16(i)
	}
	for range 1000 {
		l.resend(v, 7, lost)
	}
	_, sent := v.peer.session.Bytes()
	if n := sent - before; n == 0 || n > againMost*1300 {
		t.Errorf("a storm is answered with %d bytes in a second", n)
	}
	// What nobody answers in time waits in bounds.
	for range 3 * inboxMost {
		l.offer(func() {})
	}
	if len(l.inbox) > inboxMost {
		t.Errorf("%d requests wait", len(l.inbox))
	}
}

// However often a player wishes for a key frame, the publisher is asked at most each half
// second.
func TestStormOfPLIs(t *testing.T) {
	h := build(t, "", "", "")
	st := h.publish("/rtc/v1/whip/?app=live&stream=s", pion.MimeTypeH264, nil)
	st.work(t, 0, 5)
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	until(t, "it plays", func() bool { st.work(t, 0, 5); return len(w.frames) > 0 })
	ssrc := uint32(w.pc.GetReceivers()[1].Track().SSRC())
	began, before := time.Now(), st.told("PictureLossIndication")
	for i := range 100 {
		for range 20 {
			w.pc.WriteRTCP([]pionrtcp.Packet{&pionrtcp.PictureLossIndication{MediaSSRC: ssrc}, &pionrtcp.FullIntraRequest{MediaSSRC: ssrc, FIR: []pionrtcp.FIREntry{{SSRC: ssrc}}}})
		}
		st.work(t, i, 1)
	}
	until(t, "the publisher is asked", func() bool { return st.told("PictureLossIndication") > before })
	most := int(time.Since(began)/keyEvery) + 2
	if n := st.told("PictureLossIndication") - before; n > most {
		t.Errorf("asked %d times in %v", n, time.Since(began))
	}
}

// Compounds that lie about themselves do nothing.
func TestGarbageOfReports(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	b := h.bareJoin("/rtc/v1/whep/?app=live&stream=s&dtls=false", "recvonly", 0)
	b.until("media come", isRTP)
	r := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		all := rtcp.AppendNACK(rtcp.AppendSR(nil, 1, rtcp.Sender{}), 1, 2, []uint16{1, 2, 3})
		for range 1 + r.IntN(4) {
			all[r.IntN(len(all))] = byte(r.Uint32())
		}
		all[0] |= 0x80
		all[1] = 192 + all[1]&31
		b.pc.Write(all[:2+r.IntN(len(all)-1)])
	}
	b.check()
	b.until("media go on", isRTP)
}
