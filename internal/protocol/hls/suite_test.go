package hls

import (
	"testing"

	"weir/internal/protocol/protocoltest"
)

// HLS reads every stream and gives it out in pieces, which the suite's players
// cannot be; so the suite plays through the desk beside it. What it holds HLS to is
// that streams go on as ever, and end, with nothing left behind.
func TestConformance(t *testing.T) {
	protocoltest.Run(t, protocoltest.Door{
		Protocol: Protocol, Web: true, Vhost: "hls { enabled on; hls_fragment 1; hls_path " + t.TempDir() + "; }", Senders: []string{"goroutine"},
	})
}
