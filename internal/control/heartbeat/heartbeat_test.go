package heartbeat

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

func snapshot(t *testing.T, text string) *config.Snapshot {
	t.Helper()
	s, err := config.Parse(config.Source{File: "t", Text: []byte(text), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is posted is what SRS 7.0.18 was seen to post, and a reload changes it.
func TestBeat(t *testing.T) {
	t.Setenv("SRS_DEVICE_IP", "10.99.0.2")
	bodies := make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(b)
	}))
	defer srv.Close()
	first := snapshot(t, "listen 1935 127.0.0.1:1936 [::1]:1937; http_server { enabled on; } http_api { enabled on; } srt_server { enabled on; } heartbeat { enabled on; interval 3600; ports on; url "+srv.URL+"/hb; } vhost __defaultVhost__ { }")
	second := snapshot(t, "listen 1935; heartbeat { enabled on; interval 3600; device_id my-device; summaries on; url "+srv.URL+"/api/v1/servers; } vhost __defaultVhost__ { }")
	off := snapshot(t, "listen 1935; vhost __defaultVhost__ { }")
	conf := config.NewStore(first)
	h := New(service.Env{Log: slog.New(slog.DiscardHandler), Conf: conf, Host: host.New(func() host.Stats { return host.Stats{On: true} }),
		Desk:     session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{}),
		Identity: service.Identity{Server: "weir/1", Level: "7.0.18", ID: "vid-6v432xt", Service: "67s723x0", PID: 12886}})
	done := make(chan error)
	go func() { done <- h.Run(t.Context()) }()
	want := func(pattern string) {
		t.Helper()
		select {
		case b := <-bodies:
			if !regexp.MustCompile("^" + pattern + "$").MatchString(b) {
				t.Errorf("got  %s\nwant %s", b, pattern)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is posted")
		}
	}
	take := func(next *config.Snapshot) {
		t.Helper()
		turn, err := h.Prepare(t.Context(), conf.Load(), next)
		if err != nil {
			t.Fatal(err)
		}
		conf.Swap(next)
		turn.Commit()
	}
	want(`POST /hb application/json \{"device_id":"","ip":"10.99.0.2","server":"vid-6v432xt","service":"67s723x0","pid":"12886","rtmp":\["1935","127.0.0.1:1936","\[::1\]:1937"\],"http":\["8080"\],"api":\["1985"\],"srt":\["udp://0.0.0.0:10080"\]\}`)
	take(second)
	want(`POST /api/v1/servers application/json \{"device_id":"my-device","ip":"10.99.0.2","server":"vid-6v432xt","service":"67s723x0","pid":"12886",` +
		`"summaries":\{"data":\{"ok":true,"now_ms":[0-9]+,"self":\{"version":"7.0.18","pid":.*"conn_srs":0\}\}\}\}`)
	take(off)
	take(first)
	want(`POST /hb .*`)
}

// A server that is down, hangs or refuses is warned of, and nothing else.
func TestBeatFails(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }))
	conf := snapshot(t, "listen 1935; heartbeat { enabled on; url "+srv.URL+"; } vhost __defaultVhost__ { }")
	h := New(service.Env{Conf: config.NewStore(conf)})
	if err := h.beat(t.Context(), blocks.Heartbeat.In(conf)); fmt.Sprint(err) != "answered 500 Internal Server Error" {
		t.Errorf("refused: %v", err)
	}
	srv.Close()
	if err := h.beat(t.Context(), blocks.Heartbeat.In(conf)); err == nil {
		t.Error("down: no error")
	}
}
