package webrtc

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"
)

// nat is what stands between a client and a server, to which the client has an address of
// the nat's.
type nat struct {
	t       *testing.T
	front   *net.UDPConn
	to      *net.UDPAddr
	carried atomic.Int64 // datagrams from the server by the newest way

	mu     sync.Mutex
	back   *net.UDPConn
	client *net.UDPAddr
}

func newNAT(t *testing.T, to *net.UDPAddr) *nat {
	n := &nat{t: t, front: udp(t, "udp4"), to: to}
	n.forget()
	go func() {
		b := make([]byte, 2048)
		for {
			size, from, err := n.front.ReadFromUDP(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			n.back.Write(b[:size])
			n.mu.Unlock()
		}
	}()
	return n
}

// forget gives the client another address.
func (n *nat) forget() {
	back, err := net.DialUDP("udp4", nil, n.to)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { back.Close() })
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.back != nil {
		n.back.Close()
	}
	n.back = back
	n.carried.Store(0)
	go func() {
		b := make([]byte, 2048)
		for {
			size, err := back.Read(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.front.WriteToUDP(b[:size], n.client)
			n.carried.Add(1)
			n.mu.Unlock()
		}
	}()
}

// A viewer whose NAT gives it another address knows nothing of that, and nominates nothing
// again: it is sent to there all the same, under its old keys.
func TestViewerMovesUnawares(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	n := newNAT(t, h.at(0))
	w := &watcher{pc: client(t, func(s *pion.SettingEngine) {
		s.SetICETimeouts(5*time.Second, 25*time.Second, 200*time.Millisecond)
	}), frames: make(chan []byte, 1000)}
	if _, err := w.pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	var packets atomic.Int64
	w.pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			packets.Add(1)
		}
	})
	a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", offer(t, w.pc))
	there := " 127.0.0.1 " + itoa(n.front.LocalAddr().(*net.UDPAddr).Port) + " typ host"
	sdp := regexpReplace(a.body, ` [0-9.]+ [0-9]+ typ host`, there)
	if err := w.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: sdp}); err != nil {
		t.Fatalf("%v of\n%s", err, sdp)
	}
	until(t, "media come", func() bool { return packets.Load() > 30 })
	n.forget()
	before, p := packets.Load(), h.s.all()[0]
	p.mu.Lock()
	p.used = p.used.Add(-moveAfter) // so long later
	p.mu.Unlock()
	until(t, "media come to the new address", func() bool { return n.carried.Load() > 50 && packets.Load() > before+30 })
	if all := h.s.all(); len(all) != 1 || !strings.Contains(a.body, "a=ice-ufrag:"+all[0].ufrag) {
		t.Errorf("there are %d peers", len(all))
	}
}
