package webrtc

import (
	"slices"
	"testing"
	"time"

	own "weir/internal/media"
	wire "weir/internal/wire/rtp"
)

// What a picture costs in time on its way from a publisher to a player, both of WebRTC: a
// frame is passed on when its last packet has come, and packets come spread, as browsers
// send them. The delay that matters is that of the last packet, since nothing is shown
// before; the first one's says what passing on packet by packet would win.
func BenchmarkDelay(b *testing.B) {
	for _, spread := range []time.Duration{0, time.Millisecond} {
		b.Run(spread.String(), func(b *testing.B) {
			h := build(b, "", "", "")
			send := h.bareJoin("/rtc/v1/whip/?app=live&stream=s&dtls=false", "sendonly", 0)
			pub := h.s.all()[0]
			picture, _ := testTracks(b)
			watch := h.bareJoin("/rtc/v1/whep/?app=live&stream=s&dtls=false", "recvonly", 0)
			typ, packer := pub.plan.video.codec.Type, &wire.Packer{}
			seq, n := uint16(0), 0
			frame := func() (first, last time.Time) {
				f := &own.Frame{Track: picture, DTS: time.Duration(n) * 40 * time.Millisecond, Key: n%50 == 0, Payload: unit(0x41, 9500, n)}
				if f.Key {
					f.Payload = unit(0x65, 9500, n)
				}
				n++
				for _, p := range packer.Append(nil, f) {
					if last = time.Now(); first.IsZero() {
						first = last
					}
					packet := make([]byte, wire.HeaderSize)
					wire.PutHeader(packet, p.Marker, typ, seq, uint32(n)*3600, 77)
					seq++
					send.pc.Write(p.AppendTo(packet))
					if !p.Marker {
						time.Sleep(spread)
					}
				}
				return first, last
			}
			var firsts, lasts []time.Duration
			for b.Loop() {
				first, last := frame()
				came, gone := time.Time{}, false
				watch.until("the frame comes", func(p []byte) bool {
					if !isRTP(p) {
						return false
					}
					if came.IsZero() {
						came = time.Now()
					}
					gone = p[1]&0x80 != 0
					return gone
				})
				firsts, lasts = append(firsts, came.Sub(first)), append(lasts, time.Since(last))
				time.Sleep(2 * time.Millisecond)
			}
			for name, all := range map[string][]time.Duration{"first": firsts, "last": lasts} {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), name+"-p50-us")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), name+"-p99-us")
			}
		})
	}
}
