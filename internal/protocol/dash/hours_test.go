package dash

import (
	"testing"

	"weir/internal/protocol/protocoltest"
)

// Over hours of everything that publishers do, every manifest is one by the rules.
func TestHours(t *testing.T) {
	hours := 3
	if testing.Short() { // slow machines have a shorter day
		hours = 1
	}
	conf := "dash { enabled on; dash_path DIR; dash_files off; dash_fragment 4; dash_update_period 2; }"
	protocoltest.InSink(t, Protocol, t.TempDir(), conf, func(t *testing.T, h *protocoltest.Sink) {
		r := &protocoltest.DASHRules{Sink: h, Path: "/live/s.mpd"}
		protocoltest.Day(t, h, hours, r.Look)
	})
}
