package rtmp

import (
	"errors"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for _, c := range []struct {
		tcURL, stream string
		want          Target
	}{
		{"rtmp://127.0.0.1/live", "s?vhost=chunk.com&token=1", Target{"rtmp", "127.0.0.1", 1935, "chunk.com", "live", "s", "?vhost=chunk.com&token=1"}},
		{"rtmp://127.0.0.1/live?vhost=chunk.com", "s", Target{"rtmp", "127.0.0.1", 1935, "chunk.com", "live", "s", "?vhost=chunk.com"}},
		{"rtmp://127.0.0.1/live...vhost...chunk.com", "s", Target{"rtmp", "127.0.0.1", 1935, "chunk.com", "live", "s", "?vhost=chunk.com"}},
		{"rtmp://127.0.0.1/live/_definst_", "s", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "live", "s", ""}},
		{"rtmp://127.0.0.1/a/b/c", "s", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "a/b/c", "s", ""}},
		{"rtmp://127.0.0.1/", "s", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", DefaultApp, "s", ""}},
		{"rtmp://127.0.0.1", "s", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", DefaultApp, "s", ""}},
		{"rtmp://127.0.0.1:1935/live", "s?domain=chunk.com", Target{"rtmp", "127.0.0.1", 1935, "chunk.com", "live", "s", "?domain=chunk.com"}},
		{"rtmp://chunk.com:1935/live", "s.flv", Target{"rtmp", "chunk.com", 1935, "chunk.com", "live", "s.flv", ""}},
		{"rtmp://127.0.0.1/live", "a/b/s", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "live/a/b", "s", ""}},
		{"rtmp://127.0.0.1/live?k=v", "s?x=y", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "live", "s", "?x=y&k=v"}},
		{"rtmp://127.0.0.1:1935/live?vhost=foo.com&token=1", "s2", Target{"rtmp", "127.0.0.1", 1935, "foo.com", "live", "s2", "?vhost=foo.com&token=1"}},
		{"rtmp://127.0.0.1:1935/live", "s3?vhost=__defaultVhost__&token=1", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "live", "s3", "?vhost=__defaultVhost__&token=1"}},
		{"rtmp://127.0.0.1:1935/live", "s3b?vhost=__defaultVhost__", Target{"rtmp", "127.0.0.1", 1935, "127.0.0.1", "live", "s3b", ""}},
		{"rtmp://h/live", "/s", Target{"rtmp", "h", 1935, "h", "live", "s", ""}},
		{"rtmp://h/live/", "s", Target{"rtmp", "h", 1935, "h", "live", "s", ""}},
		{"rtmp://h/live", "", Target{"rtmp", "h", 1935, "h", "live", "", ""}},
		{"rtmp://h/live", "?k=v/s", Target{"rtmp", "h", 1935, "h", "live", "s", "?k=v"}},
		{"rtmp://h/live", "s?token=a/b=", Target{"rtmp", "h", 1935, "h", "live", "s", "?token=a/b="}},
		{"rtmp://h/live?token=a/b", "s", Target{"rtmp", "h", 1935, "h", "live", "s", "?token=a/b"}},
		{"rtmp://h/live#f", "s", Target{"rtmp", "h", 1935, "h", "live", "s", "#f"}},
		{"rtmp://h/live?a=1", "s#f", Target{"rtmp", "h", 1935, "h", "live", "s", "?a=1#f"}},
		{"rtmp://h/live?", "s?", Target{"rtmp", "h", 1935, "h", "live", "s", ""}},
		{"rtmps://h/live", "s", Target{"rtmps", "h", 443, "h", "live", "s", ""}},
		{"rtmp://[::1]:1936/live", "s", Target{"rtmp", "::1", 1936, "::1", "live", "s", ""}},
		{"rtmp://[::1]/live", "s", Target{"rtmp", "::1", 1935, "::1", "live", "s", ""}},
		{"rtmp://h:/live", "s", Target{"rtmp", "h", 1935, "h", "live", "s", ""}},
	} {
		got, err := Resolve(c.tcURL, c.stream)
		if err != nil || got != c.want {
			t.Errorf("%s and %s:\n got %+v, %v\nwant %+v", c.tcURL, c.stream, got, err, c.want)
		}
	}
	for _, c := range [][2]string{
		{"", "s"}, {"live", "s"}, {"://h/live", "s"}, {"rtmp://h:70000/live", "s"}, {"rtmp://h:0/live", "s"}, {"rtmp://h:x/live", "s"},
		{"rtmp://[::1/live", "s"}, {"rtmp://[::1]x/live", "s"}, {"rtmp://h/" + long, "s"}, {"rtmp://h/live", long},
		{"rtmp://" + long + "/live", "s"}, {"rtmp://h/live", "s?vhost=" + long}, {"rtmp://h/live", "s\n"},
		{"rtmp://h/live?" + strings.Repeat("x", maxURL), "s"},
	} {
		if got, err := Resolve(c[0], c[1]); !errors.Is(err, ErrTcURL) {
			t.Errorf("%.80q and %.80q: %+v, %v", c[0], c[1], got, err)
		}
	}
}

func TestTargetAddress(t *testing.T) {
	for raw, want := range map[string][2]string{
		"rtmp://h/live/s":            {"h:1935", "rtmp://h/live"},
		"rtmp://h:1936/a/b/s?x=1":    {"h:1936", "rtmp://h:1936/a/b"},
		"rtmps://h/live/s":           {"h:443", "rtmps://h/live"},
		"rtmp://[::1]:19/live/s":     {"[::1]:19", "rtmp://[::1]:19/live"},
		"rtmp://h/live...vhost...v/": {"h:1935", "rtmp://h/live"},
	} {
		got, err := ParseURL(raw)
		if err != nil || got.Addr() != want[0] || got.TcURL() != want[1] {
			t.Errorf("%s: %s and %s, %v; want %v", raw, got.Addr(), got.TcURL(), err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("rtmp://127.0.0.1:1935/live?vhost=foo.com&token=1", "s2")
	f.Add("rtmp://h/live...vhost...v/_definst_", "a/b?c=/d#e")
	f.Add("rtmp://[::1]:1/", "?k=v/s")
	f.Fuzz(func(t *testing.T, tcURL, stream string) {
		got, err := Resolve(tcURL, stream)
		if err != nil {
			if !errors.Is(err, ErrTcURL) {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		if got.App == "" || got.Port < 1 || got.Port > 65535 {
			t.Fatalf("incomplete: %+v", got)
		}
		if strings.ContainsAny(got.App+got.Stream+got.Host, "?#") || strings.Contains(got.Stream, "/") {
			t.Fatalf("badly cut: %+v", got)
		}
		if p := got.Param; p != "" && p[0] != '?' && p[0] != '#' {
			t.Fatalf("parameters begin badly: %+v", got)
		}
		got.Value("token")
	})
}
