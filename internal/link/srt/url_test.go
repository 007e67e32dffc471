package srt

import (
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		url  string
		want Target
	}{
		{"srt://host:10080", Target{Addr: "host:10080"}},
		{"srt://[::1]:9000/?mode=caller", Target{Addr: "[::1]:9000"}},
		{"srt://h:1?passphrase=secretpass1&pbkeylen=32&streamid=#!::r=live/a,m=publish", Target{Addr: "h:1", Passphrase: "secretpass1", StreamID: "#!::r=live/a,m=publish"}},
		{"srt://h:1?streamid=%23!::r=live/a%26x=y", Target{Addr: "h:1", StreamID: "#!::r=live/a&x=y"}},
		{"srt://h:1?transtype=live&tlpktdrop=1&whatever=5", Target{Addr: "h:1"}},
	} {
		got, err := ParseURL(c.url)
		if err != nil || got.Addr != c.want.Addr || got.StreamID != c.want.StreamID || got.Passphrase != c.want.Passphrase {
			t.Errorf("%s: %+v, %v", c.url, got, err)
		}
	}
	got, err := ParseURL("srt://h:1?latency=200&peerlatency=400000&connect_timeout=1500&maxbw=-1&pkt_size=1128&mss=1400")
	if p := got.Params; err != nil || p.RecvLatency != 200*ms || p.PeerLatency != 400*ms || got.Wait != 1500*ms || p.MaxBW != 0 || got.Payload != 1128 || p.MSS != 1400 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"rtmp://h/a", "srt://h", "srt://:9000", "srt://h:0", "srt://h:70000", "srt://h:1?passphrase=short", "srt://h:1?pbkeylen=8", "srt://h:1?pbkeylen=17", "srt://h:1?latency=-1",
		"srt://h:1?latency=x", "srt://h:1?mode=listener", "srt://h:1?transtype=file", "srt://h:1?mss=100", "srt://h:1?streamid=" + strings.Repeat("x", 513),
	} {
		if got, err := ParseURL(bad); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("srt://[::1]:9000/?mode=caller&latency=200&streamid=#!::r=live/a%20b,m=publish")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParseURL(s); err == nil && (got.Addr == "" || len(got.StreamID) > 512 || got.Params.RecvLatency < 0) {
			t.Fatalf("%q: %+v", s, got)
		}
	})
}
