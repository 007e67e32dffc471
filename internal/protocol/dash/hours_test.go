package dash

import (
	"net/url"
	"testing"

	"weir/internal/protocol/protocoltest"
)

// Over hours of everything that publishers do, every manifest is one by the rules.
func TestHours(t *testing.T) {
	hours := 3
	if testing.Short() || protocoltest.Raced { // slow machines have a shorter day
		hours = 1
	}
	for _, low := range []string{"", "dash_low_latency on; "} {
		if low != "" {
			hours = 1
		}
		conf := "dash { enabled on; " + low + "dash_path DIR; dash_files off; dash_fragment 4; dash_update_period 2; }"
		protocoltest.InSink(t, Protocol, t.TempDir(), conf, func(t *testing.T, h *protocoltest.Sink) {
			r := &protocoltest.DASHRules{Sink: h, Path: "/live/s.mpd"}
			protocoltest.Day(t, h, hours, r.Look)
		})
	}
}

// A publisher's name may be anything: its manifest is one all the same, and its
// segments are found.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b", "ü中", "a%20b", "a?b", "a#b", "a.b.c", "x:y", `a"b<c>&'`, "$Number$"} {
		protocoltest.InSink(t, Protocol, t.TempDir(), "dash { enabled on; dash_path DIR; dash_fragment 2; dash_update_period 2; }", func(t *testing.T, h *protocoltest.Sink) {
			b := &protocoltest.Broadcast{Stream: name, Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
			h.Publish(b, 9)
			r := &protocoltest.DASHRules{Sink: h, Path: "/live/" + url.PathEscape(name) + ".mpd"}
			if err := r.Look(); err != nil {
				t.Errorf("%q: %v", name, err)
			}
			h.Leave(b)
		})
	}
}
