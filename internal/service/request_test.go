package service

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
)

// Where a client comes from is what the nearest proxy says that is trusted, and
// nothing that anybody else says.
func TestClients(t *testing.T) {
	for _, c := range []struct {
		trusted, peer    string
		forwarded, real  string
		want             string
		forwardedRequest bool
	}{
		{"", "8.8.8.8:1", "", "", "8.8.8.8", false},
		{"", "8.8.8.8:1", "1.2.3.4", "", "8.8.8.8", true},
		{"", "8.8.8.8:1", "", "1.2.3.4", "8.8.8.8", true},
		{"", "127.0.0.1:1", "1.2.3.4", "", "1.2.3.4", true},
		{"", "127.0.0.1:1", "", "1.2.3.4:99", "1.2.3.4", true},
		{"", "10.0.0.1:1", "6.6.6.6, 1.2.3.4", "", "1.2.3.4", true},
		{"", "10.0.0.1:1", "6.6.6.6, 1.2.3.4, 10.0.0.7", "", "1.2.3.4", true},
		{"", "10.0.0.1:1", "6.6.6.6, junk, 10.0.0.7", "", "10.0.0.7", true},
		{"", "10.0.0.1:1", "192.168.0.9, 10.0.0.7", "", "192.168.0.9", true},
		{"", "[::1]:1", "2001:db8::1", "", "2001:db8::1", true},
		{"", "[::ffff:127.0.0.1]:1", "1.2.3.4", "", "1.2.3.4", true},
		{"trusted_proxies 8.8.8.0/24 9.9.9.9;", "8.8.8.8:1", "1.2.3.4", "", "1.2.3.4", true},
		{"trusted_proxies 8.8.8.0/24 9.9.9.9;", "127.0.0.1:1", "1.2.3.4", "", "127.0.0.1", true},
		{"trusted_proxies 9.9.9.9;", "9.9.9.9:1", "1.2.3.4", "", "1.2.3.4", true},
		{"trusted_proxies none;", "127.0.0.1:1", "1.2.3.4", "", "127.0.0.1", true},
		{"trusted_proxies any;", "8.8.8.8:1", "6.6.6.6, 1.2.3.4", "", "6.6.6.6", true},
	} {
		s, err := config.Parse(config.Source{File: "t", Text: []byte("listen 1935; " + c.trusted + " vhost __defaultVhost__ { }"), Getenv: func(string) string { return "" }}, blocks.All())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if c.real != "" {
			r.Header.Set("X-Real-IP", c.real)
		}
		r = Clients(s, r)
		v := Visitor(r, "flv", "live")
		got := v.IP
		if got == "" {
			got = v.Remote.Addr().String()
		}
		if got != c.want || Forwarded(r) != c.forwardedRequest {
			t.Errorf("%q, %s says %q, %q: %s (forwarded %v), want %s", c.trusted, c.peer, c.forwarded, c.real, got, Forwarded(r), c.want)
		}
	}
}

func TestBearer(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer abc")
	if v := Visitor(r, "flv", "live"); v.Bearer != "abc" {
		t.Errorf("%q", v.Bearer)
	}
}

// tcUrl has the vhost that the request names, and the host where that is the default one.
func TestTcURL(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"http://h:8080/live/s.m3u8", "http://h/live"},
		{"http://h:8080/live/s.m3u8?vhost=foo.com&token=1", "http://foo.com/live"},
		{"http://h:8080/live/s.m3u8?domain=foo.com", "http://foo.com/live"},
		{"http://h:8080/live/s.m3u8?vhost=__defaultVhost__", "http://h/live"},
	} {
		if got := Visitor(httptest.NewRequest(http.MethodGet, c.url, nil), "hls", "live").TcURL; got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
	}
}

func FuzzParam(f *testing.F) {
	f.Add("vhost=a&domain=b", "vhost")
	f.Add("a=1&a=2&&=&b", "a")
	f.Add("%61=1&a;b=2&a=x+y%2", "a")
	f.Fuzz(func(t *testing.T, query, name string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		want := r.URL.Query()
		if got, n := Param(r, name); got != want.Get(name) || n != len(want[name]) {
			t.Errorf("%q of %q: %q, %d times; want %q", name, query, got, n, want[name])
		}
	})
}
