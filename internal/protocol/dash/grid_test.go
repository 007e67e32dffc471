package dash

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mpd"
	"weir/internal/protocol/protocoltest"
)

// look fetches what a manifest lists, by name.
func look(t *testing.T, h *protocoltest.Sink, all map[string]string) (periods string) {
	t.Helper()
	m, err := mpd.Parse(h.Get("/live/s.mpd").Body.Bytes())
	if err != nil {
		t.Error(err)
		return ""
	}
	for _, p := range m.Periods {
		periods += fmt.Sprintf("%s at %v, ", p.ID, p.Start)
		for _, s := range p.Sets {
			init := strings.ReplaceAll(s.Init, "$RepresentationID$", s.ID)
			if w := h.Get("/live/s/" + init); w.Code != 200 {
				t.Errorf("%s: %d", init, w.Code)
			}
			if m.Low != nil { // the last is in the making
				s.Timeline = s.Timeline[:len(s.Timeline)-1]
			}
			for _, e := range s.Timeline {
				name := strings.NewReplacer("$RepresentationID$", s.ID, "$Time$", fmt.Sprint(e.Time)).Replace(s.Media)
				w := h.Get("/live/s/" + name)
				if w.Code != 200 {
					t.Errorf("%s: %d", name, w.Code)
				}
				all[name] = fmt.Sprintf("%d from %d, %s, %s: %x", e.Duration, s.Offset, init, w.Header().Get("ETag"), w.Body.Bytes())
			}
		}
	}
	return periods
}

// Two servers that one encoder feeds, one of which joins later and is started anew, have the
// same of each segment that both list.
func TestDeterministic(t *testing.T) {
	for _, conf := range []string{"", "dash_low_latency on; "} {
		vhost := "dash { enabled on; dash_deterministic on; dash_path DIR; dash_fragment 2; " + conf + "}"
		run := func(all map[string]string, wait time.Duration, spans ...[2]float64) (periods []string) {
			dir := t.TempDir() // a server that starts anew has its files
			for _, s := range spans {
				protocoltest.InSink(t, Protocol, dir, vhost, func(t *testing.T, h *protocoltest.Sink) {
					time.Sleep(wait + time.Duration(s[0]*1e9)*time.Nanosecond)
					b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack(), From: s[0]}
					b.Bend = func(d time.Duration) time.Duration { return d + 1234567*time.Millisecond }
					for at := s[0]; at < s[1]; at += 4 {
						if h.Publish(b, 4); at > s[0]+8 {
							periods = append(periods, look(t, h, all))
						}
					}
					h.Leave(b)
				})
			}
			return periods
		}
		a, b := map[string]string{}, map[string]string{}
		one := run(a, 0, [2]float64{0, 100})
		other := run(b, 70*time.Millisecond, [2]float64{30.52, 61}, [2]float64{67.2, 100})
		both := 0
		for name, one := range a {
			if other, ok := b[name]; ok {
				if both++; one != other {
					t.Errorf("%s%s differs:\n%.150s\n%.150s", conf, name, one, other)
				}
			}
		}
		if len(a) < 80 || both < 48 {
			t.Errorf("%s%d segments of %d and %d are of both", conf, both, len(a), len(b))
		}
		if one[0] != other[0] || one[0] != other[len(other)-1] || strings.Count(one[0], " at ") != 1 {
			t.Errorf("periods %q, %q", one, other)
		}
	}
}
