package hls

import (
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// Over hours of everything that publishers do, every playlist is one by the rules.
func TestHours(t *testing.T) {
	for name, more := range map[string]string{"ts": "", "fmp4": "hls_use_fmp4 on;", "keys": "hls_keys on; hls_fragments_per_key 3;", "floor": "hls_ts_floor on;", "deterministic": "hls_deterministic on;", "low": "hls_low_latency on;", "low fmp4": "hls_low_latency on; hls_use_fmp4 on;"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hours := 1
			if name == "fmp4" && !testing.Short() && !protocoltest.Raced { // its segments tell most
				hours = 3
			}
			fragment := "4"
			if name == "deterministic" { // of which the first is not seen whole
				fragment = "2"
			}
			conf := "hls { enabled on; hls_path DIR; hls_ctx off; hls_fragment " + fragment + "; hls_window 20; hls_files off; " + more + " }"
			protocoltest.InSink(t, Protocol, t.TempDir(), conf, func(t *testing.T, h *protocoltest.Sink) {
				r := &protocoltest.HLSRules{Sink: h, Path: "/live/s.m3u8", Window: 20 * time.Second, Low: strings.HasPrefix(name, "low")}
				protocoltest.Day(t, h, hours, r.Look)
			})
		})
	}
}
