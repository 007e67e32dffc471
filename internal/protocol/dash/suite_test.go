package dash

import (
	"testing"

	"weir/internal/protocol/protocoltest"
)

// As HLS, DASH reads every stream and gives it out in pieces: the suite plays
// beside it, and holds it to leaving streams alone and nothing behind.
func TestConformance(t *testing.T) {
	protocoltest.Run(t, protocoltest.Door{
		Protocol: Protocol, Web: true, Vhost: "dash { enabled on; dash_fragment 1; dash_path " + t.TempDir() + "; }", Senders: []string{"goroutine"},
	})
}
