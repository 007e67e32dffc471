package hds

import (
	"testing"

	"weir/internal/protocol/protocoltest"
)

// As HLS, HDS reads every stream and gives it out in pieces: the suite plays
// beside it, and holds it to leaving streams alone and nothing behind.
func TestConformance(t *testing.T) {
	protocoltest.Run(t, protocoltest.Door{
		Protocol: Protocol, Web: true, Vhost: "hds { enabled on; hds_fragment 1; hds_path " + t.TempDir() + "; }", Senders: []string{"goroutine"},
	})
}
