package httplive

import (
	"errors"
	"net/http"
	"testing"

	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

// A viewer that asks for a past time is sent that, from a key frame on, under the rules of
// playing; one that asks for none that is there is told why.
func TestPlayPast(t *testing.T) {
	h := open(t, "http_remux { enabled on; mount [vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts; }\n"+protocoltest.TimeShift(t.TempDir()), "")
	h.PastOf(t, live)
	c := request(t, h, "GET /live/s.flv?start=-5 HTTP/1.1", "Host: x")
	if res := answer(t, c); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	protocoltest.PlaysPast(t, c)
	for path, want := range map[string]int{"/live/s.ts?start=-5": 200, "/live/s.mp4?start=-5": 200, "/live/none.flv?start=-5": 404, "/live/s.flv?start=yesterday": 400, "/live/s.flv?start=2999-01-01T00:00:00Z": 400} {
		c := request(t, h, "GET "+path+" HTTP/1.1", "Host: x")
		if res := answer(t, c); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
		c.Close()
	}
	h.Diary.Deny(func(r *session.Request) error {
		if r.Act == session.Play {
			return errors.New("not you")
		}
		return nil
	})
	if res := answer(t, request(t, h, "GET /live/s.flv?start=-5 HTTP/1.1", "Host: x")); res.StatusCode != http.StatusForbidden {
		t.Errorf("denied: %s", res.Status)
	}
}
