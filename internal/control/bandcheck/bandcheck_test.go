package bandcheck

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
)

func newServer(t *testing.T, bandcheck string) (*httptest.Server, service.Env) {
	t.Helper()
	snap, err := config.Parse(config.Source{File: "t", Text: []byte("listen 1935; vhost __defaultVhost__ { bandcheck { " + bandcheck + " } } vhost off.test { }"), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	env := service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(snap), Busy: &service.LoadGauge{}}
	env.Bandcheck = &service.BandGate{Busy: env.Busy}
	b := New(env)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.Handle(w, r) {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv, env
}

func ask(t *testing.T, method, url string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, b
}

// A test is a download below the limit, then uploads with its id, below the limit
// too.
func TestDownAndUp(t *testing.T) {
	srv, _ := newServer(t, "enabled on; key secret; interval 0; limit_kbps 8000;")
	res, b := ask(t, "GET", srv.URL+"/bandwidth/down?key=secret", nil)
	const most = 8000 * 125 * 3
	if res.StatusCode != 200 || len(b) > most+2*piece || len(b) < piece {
		t.Errorf("%s, %d bytes, at most %d", res.Status, len(b), most)
	}
	id := res.Header.Get("X-Weir-Test")
	var sum int64
	for _, n := range []int{10, 100000, 300000} {
		res, b := ask(t, "POST", srv.URL+"/bandwidth/up?test="+id, make([]byte, n))
		var m measured
		if err := json.Unmarshal(b, &m); err != nil || res.StatusCode != 200 || m.Bytes != int64(n) {
			t.Errorf("upload of %d: %s %s", n, res.Status, b)
		}
		sum += m.MS
	}
	if sum < 300 { // 400,010 bytes at a million a second
		t.Errorf("the uploads took %d ms: faster than the limit", sum)
	}
}

func TestRefusals(t *testing.T) {
	srv, env := newServer(t, "enabled on; key secret; interval 3600; limit_kbps 800;")
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/bandwidth/down", 403, "the key is not the one"},
		{"GET", "/bandwidth/down?key=x", 403, "the key is not the one"},
		{"GET", "/bandwidth/down?key=secret&vhost=off.test", 404, ""},
		{"GET", "/bandwidth/other", 404, ""},
		{"POST", "/bandwidth/down?key=secret", 405, ""},
		{"GET", "/bandwidth/up", 405, ""},
		{"POST", "/bandwidth/up?test=0000000000000000", 403, "begin with /bandwidth/down"},
		{"GET", "/bandwidth/down?key=secret", 200, ""},
		{"GET", "/bandwidth/down?key=secret", 429, "bandcheck rejected"},
	} {
		res, b := ask(t, c.method, srv.URL+c.path, nil)
		if res.StatusCode != c.status || !strings.Contains(string(b), c.text) {
			t.Errorf("%s %s: %d %.80q, want %d", c.method, c.path, res.StatusCode, b, c.status)
		}
	}
	env.Busy.Set(service.High)
	if res, b := ask(t, "GET", srv.URL+"/bandwidth/down?key=secret", nil); res.StatusCode != 429 || !strings.Contains(string(b), "busy") {
		t.Errorf("while busy: %s %s", res.Status, b)
	}
}
