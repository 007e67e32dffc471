package config

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"vhost.hls.hls_fragment", []string{"vhost.hls.hls_fragment (seconds)", "default       10", "environment   SRS_VHOST_HLS_HLS_FRAGMENT", "takes effect  on reload, for what begins"}},
		{"hls_fragment", []string{"vhost.hls.hls_fragment (seconds)"}},
		{"SRS_LOG_LEVEL", []string{"srs_log_level (trace or warn)", "SRS_SRS_LOG_LEVEL or SRS_LOG_LEVEL"}},
		{"rtmp_to_rtsp", []string{"vhost.rtsp.rtmp_to_rtsp (on or off)", "not implemented yet: ignored", "since         SRS 7.0.47"}},
		{"srt_server.passphrase", []string{"does not start with it turned on"}},
		{"tcmalloc_release_rate", []string{"no effect"}},
		{"enabled", []string{"stands in several blocks", "vhost.hls.enabled", "http_api.enabled"}},
		{"heartbeat", []string{"heartbeat (block)", "interval", "device_id"}},
		{"hls_acodec", []string{"until         SRS 7.0.52"}},
		{"security", []string{"vhost.security (block)", "allow"}},
		{"vhost.security.deny", []string{"environment   none"}},
	} {
		got, err := Explain(testSpecs, tt.name)
		if err != nil {
			t.Errorf("Explain(%q): %v", tt.name, err)
		}
		for _, w := range tt.want {
			if !strings.Contains(got, w) {
				t.Errorf("Explain(%q) has no %q:\n%s", tt.name, w, got)
			}
		}
	}
	if _, err := Explain(testSpecs, "hls_fragmnet"); err == nil || !strings.Contains(err.Error(), "did you mean hls_fragment?") {
		t.Errorf("error is %v", err)
	}
}

func TestRestrictingGaps(t *testing.T) {
	// With no blocks at all everything restricting is refused.
	if gaps := RestrictingGaps([]Spec{tRoot}); len(gaps) != 0 {
		t.Errorf("gaps without blocks: %q", gaps)
	}
	if gaps := RestrictingGaps(testSpecs); len(gaps) != 0 {
		t.Errorf("gaps: %q", gaps)
	}
	// A block that declares a restricting directive and lets it be ignored is
	// found.
	type bad struct {
		Enabled bool `conf:"enabled" default:"off"`
		Keys    bool `conf:"hls_keys" default:"off" pending:"ignored"`
	}
	gaps := RestrictingGaps([]Spec{tRoot, NewVhost[bad]("hls")})
	if len(gaps) != 1 || gaps[0] != "vhost.hls.hls_keys is neither implemented nor refused" {
		t.Errorf("gaps: %q", gaps)
	}
}
