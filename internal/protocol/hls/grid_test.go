package hls

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// made is what a server listed and served, by the name of a segment.
type made map[string]string

// look fetches what a playlist lists.
func (m made) look(t *testing.T, h *protocoltest.Sink) {
	t.Helper()
	text := h.Get("/live/s.m3u8").Body.String()
	date, init := "", ""
	var at time.Time
	var seq int
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case name == "#EXT-X-MEDIA-SEQUENCE":
			fmt.Sscan(value, &seq)
		case name == "#EXT-X-PROGRAM-DATE-TIME":
			var err error
			if at, err = time.Parse(time.RFC3339Nano, value); err != nil {
				t.Error(err)
			}
		case name == "#EXT-X-MAP":
			init = regexp.MustCompile(`URI="([^"]+)"`).FindStringSubmatch(value)[1]
			if w := h.Get("/live/" + init); w.Code != 200 {
				t.Errorf("%s: %d", init, w.Code)
			}
		case name == "#EXTINF":
			date = at.Format(time.RFC3339Nano)
			var d float64
			fmt.Sscanf(value, "%f,", &d)
			at = at.Add(time.Duration(d*1000+0.5) * time.Millisecond)
		case name == "#EXT-X-GAP":
			date = ""
		case line != "" && line[0] != '#':
			if date != "" {
				w := h.Get("/live/" + line)
				if w.Code != 200 || w.Body.Len() == 0 {
					t.Errorf("%s: %d", line, w.Code)
				}
				m[line] = fmt.Sprintf("%d at %s, %s, %s, %x", seq, date, init, w.Header().Get("ETag"), w.Body.Bytes())
			}
			seq++
		}
	}
}

// TestDeterministic has two servers that one encoder feeds, one of which joins later and is
// started anew: of each segment that both list they have the same.
func TestDeterministic(t *testing.T) {
	for _, conf := range []string{"", "hls_use_fmp4 on; ", "hls_use_fmp4 on; hls_low_latency on; hls_part 0.3; "} {
		vhost := "hls { enabled on; hls_ctx off; hls_deterministic on; hls_window 12; hls_path DIR; hls_fragment 2; " + conf + "}"
		run := func(all made, wait time.Duration, spans ...[2]float64) {
			dir := t.TempDir() // a server that starts anew has its files
			for _, s := range spans {
				protocoltest.InSink(t, Protocol, dir, vhost, func(t *testing.T, h *protocoltest.Sink) {
					time.Sleep(wait + time.Duration(s[0]*1e9)*time.Nanosecond)
					b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack(), From: s[0], Bend: func(d time.Duration) time.Duration { return d + 1234567*time.Millisecond }}
					for at := s[0]; at < s[1]; at += 4 {
						h.Publish(b, 4)
						if at > s[0]+8 {
							all.look(t, h)
						}
					}
					h.Leave(b)
				})
			}
		}
		a, b := made{}, made{}
		run(a, 0, [2]float64{0, 100})
		run(b, 70*time.Millisecond, [2]float64{30.52, 61}, [2]float64{67.2, 100})
		both := 0
		for name, one := range a {
			other, ok := b[name]
			if !ok {
				continue
			}
			if both++; one != other {
				t.Errorf("%s%s differs:\n%.150s\n%.150s", conf, name, one, other)
			}
		}
		if len(a) < 44 || both < 24 {
			t.Errorf("%s%d segments of %d and %d are of both", conf, both, len(a), len(b))
		}
	}
}
