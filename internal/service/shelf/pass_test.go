package shelf

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
)

func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &blocks.PlayCookieConfig{Enabled: true, Name: "weir_play", Secret: "0123456789abcdef", MaxAge: time.Hour}
		key := hub.Key{Vhost: "v", App: "live", Stream: "s"}
		until := time.Now().Add(time.Hour).Truncate(time.Second)
		with := func(name, value string) *http.Request {
			r := httptest.NewRequest("GET", "/live/s-1.ts", nil)
			r.AddCookie(&http.Cookie{Name: name, Value: value})
			return r
		}
		pass := seal(c, key, until.Unix())
		if at := opened(c, with(passName(c, key), pass), key); !at.Equal(until) {
			t.Errorf("a good pass holds until %v", at)
		}
		other := hub.Key{Vhost: "v", App: "live", Stream: "t"}
		changed, old := *c, seal(c, key, time.Now().Unix()-1)
		changed.Secret = "fedcba9876543210"
		for name, r := range map[string]*http.Request{
			"none":              httptest.NewRequest("GET", "/live/s-1.ts", nil),
			"another stream's":  with(passName(c, key), seal(c, other, until.Unix())),
			"another secret's":  with(passName(c, key), seal(&changed, key, until.Unix())),
			"an old one":        with(passName(c, key), old),
			"longer than given": with(passName(c, key), "9"+pass),
			"no time":           with(passName(c, key), ".x"),
			"empty":             with(passName(c, key), ""),
		} {
			if at := opened(c, r, key); !at.IsZero() {
				t.Errorf("%s holds until %v", name, at)
			}
		}
		time.Sleep(time.Hour)
		if at := opened(c, with(passName(c, key), pass), key); !at.IsZero() {
			t.Errorf("it holds after its end, until %v", at)
		}
	})
}
