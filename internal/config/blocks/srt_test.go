package blocks

import (
	"testing"
	"time"
)

func TestSRTDirectives(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ latency, recv, peer, wantRecv, wantPeer time.Duration }{
		{120 * ms, 120 * ms, 0, 120 * ms, 0},
		{300 * ms, 120 * ms, 0, 300 * ms, 300 * ms},
		{300 * ms, 50 * ms, 80 * ms, 50 * ms, 80 * ms},
		{120 * ms, 500 * ms, 40 * ms, 500 * ms, 40 * ms},
	} {
		conf := SRTServer.Default()
		conf.Latency, conf.RecvLatency, conf.PeerLatency = c.latency, c.recv, c.peer
		if recv, peer := conf.Latencies(); recv != c.wantRecv || peer != c.wantPeer {
			t.Errorf("%+v: %v, %v", c, recv, peer)
		}
	}
	for _, bad := range []SRTServerConfig{{Passphrase: "short"}, {PBKeyLen: 17}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
