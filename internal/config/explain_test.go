package config

import (
	"slices"
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
		{"rtmp_to_rtsp", []string{"vhost.rtsp.rtmp_to_rtsp (on or off)", "since         SRS 7.0.47"}},
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

func TestUnread(t *testing.T) {
	got := Unread(testSpecs)
	for path, want := range map[string]bool{
		"vhost.refer.enabled": true, "srt_server": true, // of no block of the test's
		"vhost.hls.hls_fragment": false, "vhost.hls": false, "vhost": false,
		"rtmp.listen": false, "threads.interval": false, "vhost.hls.hls_mount": false, // moot
	} {
		if slices.Contains(got, path) != want {
			t.Errorf("%s is in the list: %v", path, !want)
		}
	}
}
