package process

import "testing"

func TestPermit(t *testing.T) {
	allow := []string{"rtmp://origin.example.com", "https://*.cdn.example.com:8443", "srt://*", "rtmp://[::1]:1935", "file://*", "concat://*", "nonsense"}
	for url, want := range map[string]bool{
		"rtmp://origin.example.com/live/s":                  true,
		"RTMP://Origin.Example.Com:19350/live/s?token=1":    true,
		"rtmps://origin.example.com/live/s":                 false,
		"rtmp://origin.example.com.evil.com/live/s":         false,
		"rtmp://evil.com/origin.example.com":                false,
		"rtmp://origin.example.com@evil.com/live/s":         false,
		"rtmp://evil.com#@origin.example.com/live/s":        false,
		"rtmp://evil.com\\@origin.example.com/live/s":       false,
		"rtmp://origin.example.com:1935@evil.com/live/s":    false,
		"https://a.cdn.example.com:8443/s.flv":              true,
		"https://a.b.cdn.example.com:8443/s.flv":            true,
		"https://cdn.example.com:8443/s.flv":                false,
		"https://acdn.example.com:8443/s.flv":               false,
		"https://a.cdn.example.com/s.flv":                   false,
		"https://evil.com/?x=.cdn.example.com:8443":         false,
		"srt://10.0.0.1:10080?streamid=#!::r=live/s,m=play": true,
		"rtmp://[::1]:1935/live/s":                          true,
		"rtmp://[::2]:1935/live/s":                          false,
		"rtmp://[::1]evil.com:1935/live/s":                  false,
		"file:///etc/passwd":                                false,
		"file://x/etc/passwd":                               false,
		"/etc/passwd":                                       false,
		"concat:a|b":                                        false,
		"concat://x|y":                                      false,
		"/dev/video0":                                       false,
		"rtsp://x/s":                                        false,
		"":                                                  false,
		"rtmp://":                                           false,
		"rtmp://origin.example.com\n/live/s":                false,
	} {
		if err := permit(allow, url); (err == nil) != want {
			t.Errorf("%q: %v, want permitted: %v", url, err, want)
		}
	}
	if permit(nil, "rtmp://origin.example.com/live/s") == nil {
		t.Error("without any pattern something is permitted")
	}
}

// Names from the API mean nothing else in an address or a path.
func TestPlain(t *testing.T) {
	for name, want := range map[string]bool{"live": true, "a/b": true, "ünï-猫": true, "": false, "..": false, "a/../b": false, "/a": false, "a/": false,
		"a?b": false, "a&b=c": false, "a\x00": false, "a\\b": false, "a%2fb": false} {
		if got := plain(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
