package hook

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"weir/internal/hub"
	"weir/internal/session"
)

// on_forward's fields are SRS's, and of its answers each that has no list of addresses
// refuses.
func TestOnForward(t *testing.T) {
	o := newOperator(t)
	d, h := newHouse(t, o)
	s, err := d.Connect(t.Context(), session.Visitor{IP: "127.0.0.1", TcURL: "rtmp://127.0.0.1:1935/live"})
	if err != nil {
		t.Fatal(err)
	}
	ask := &session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "f"}, Said: session.Said{Stream: "f", Param: "?token=1"}}
	for _, c := range []struct {
		status int
		body   string
		urls   []string
		code   int
	}{
		{200, `{"code":0,"data":{"urls":["rtmp://127.0.0.1:19350/live/a","rtmp://b/live/c"]}}`, []string{"rtmp://127.0.0.1:19350/live/a", "rtmp://b/live/c"}, 0},
		{200, `{"code":0,"data":{"urls":[]}}`, nil, 0},
		{500, ``, nil, 4005},
		{200, ``, nil, 3008},
		{200, `garbage`, nil, 3008},
		{200, `{"code":1}`, nil, 3064},
		{200, `{"code":0}`, nil, 1030},
		{200, `0`, nil, 1030},
		{200, `{"code":0,"data":{}}`, nil, 1030},
		{200, `{"code":0,"data":[]}`, nil, 1030},
		{200, `{"code":0,"data":{"urls":"rtmp://a/b/c"}}`, nil, 1030},
		{200, `{"code":0,"data":{"urls":[1]}}`, nil, 1030},
		{200, `{"code":0,"data":{"urls":["a"` + strings.Repeat(`,"a"`, 64) + `]}}`, nil, 1030},
	} {
		o.mu.Lock()
		o.answer = func(_ string, w http.ResponseWriter) { w.WriteHeader(c.status); io.WriteString(w, c.body) }
		o.mu.Unlock()
		urls, err := h.Forward(t.Context(), o.URL+"/forward", s, ask)
		if session.Code(err) != c.code || !slices.Equal(urls, c.urls) {
			t.Errorf("%d %.60s: %v, %v (code %d)", c.status, c.body, urls, err, session.Code(err))
		}
	}
	want := `POST /forward {"action":"on_forward","server_id":"vid-server","service_id":"service","client_id":"` + s.ID +
		`","ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://127.0.0.1:1935/live","stream":"f","param":"?token=1"}`
	if got, _, _ := strings.Cut(o.said(), "\n"); got != want {
		t.Errorf("was sent\n%s\nwant\n%s", got, want)
	}
	s.Close(nil)
}
