package blocks

import (
	"testing"
	"time"

	"weir/internal/config"
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

// A listener has of the server what it does not say, and streams have secrets of their own.
func TestSRTListenersAndSecrets(t *testing.T) {
	conf := SRTServer.Default()
	conf.Passphrase = "secretpass1"
	for _, c := range []struct {
		l            SRTListenerConfig
		mode, secret string
	}{
		{SRTListenerConfig{Mode: "both"}, "request", "secretpass1"},
		{SRTListenerConfig{Mode: "publish", Passphrase: "secretpass2", DefaultStreamID: "live/x"}, "publish", "secretpass2"},
		{SRTListenerConfig{Mode: "publish", DefaultMode: "request", Passphrase: "none"}, "request", ""},
	} {
		if at := conf.At(&c.l); c.l.DefaultStreamID != "" && at.DefaultStreamID != c.l.DefaultStreamID || at.DefaultMode != c.mode || at.Passphrase != c.secret || at.DefaultApp != "live" {
			t.Errorf("%+v: %+v", c.l, at)
		}
	}
	v := SRTConfig{Passphrases: []config.Rule{{Args: []string{"live/open*", "none"}}, {Args: []string{"live/*", "secretpass3"}}, {Args: []string{"secretpass4"}}}}
	for name, want := range map[string]string{"open1": "", "s": "secretpass3"} {
		if got, ok := v.Secret("live", name); !ok || got != want {
			t.Errorf("live/%s: %q, %v", name, got, ok)
		}
	}
	if got, _ := v.Secret("other", "s"); got != "secretpass4" {
		t.Errorf("other/s: %q", got)
	}
	if err := v.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]string{{}, {"short"}, {"live/*", "short"}, {"[", "secretpass3"}, {"a", "b", "c"}} {
		if (&SRTConfig{Passphrases: []config.Rule{{Args: bad}}}).Validate() == nil {
			t.Errorf("passphrase %q is taken", bad)
		}
	}
}
