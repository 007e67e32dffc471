package metrics

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

func scrape(t *testing.T, conf string, streams ...string) string {
	t.Helper()
	snap, err := config.Parse(config.Source{File: "t", Text: []byte("listen 1935; " + conf + " vhost __defaultVhost__ { }"), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	desk := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
	env := service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(snap), Host: host.New(func() host.Stats { return host.Stats{} }), Desk: desk, Hub: desk.Hub,
		Metrics:  &service.Metrics{},
		Identity: service.Identity{Server: "weir/1", Version: "1", Level: "7.0.18", ID: "vid-t8zn4lj", Service: "5d8r5n77", PID: 9524, Started: time.Unix(1790000000, 0)}}
	env.Metrics.Add(func() []service.Metric {
		return []service.Metric{{Name: "weir_test_total", Help: "A part's.", Counter: true, Samples: []service.Sample{{Labels: []string{"x", "a\"b\\c\nd"}, Value: 1.5}}}}
	})
	for _, name := range streams {
		p, err := desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: name}}); err != nil {
			t.Fatal(err)
		}
		p.Count(100, 7)
	}
	v, err := desk.Connect(t.Context(), session.Visitor{Protocol: "flv"})
	if err != nil {
		t.Fatal(err)
	}
	v.Close(session.ErrDenied)
	w := httptest.NewRecorder()
	if !New(env).Handle(w, httptest.NewRequest("GET", "/metrics", nil)) {
		return ""
	}
	if got, want := w.Header().Get("Content-Length"), fmt.Sprint(w.Body.Len()); got != want {
		t.Errorf("Content-Length is %q, and %s bytes came", got, want)
	}
	return w.Body.String()
}

// SRS's families come first, under its names, words and labels.
func TestSRSMetrics(t *testing.T) {
	if got := scrape(t, ""); got != "" {
		t.Errorf("off: %s", got)
	}
	got := scrape(t, "exporter { enabled on; label cn-beijing; tag cn-edge; }", "a", "b")
	capture, err := os.ReadFile("testdata/srs.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(got, "\n")
	for i, want := range strings.Split(strings.TrimSpace(string(capture)), "\n") {
		if !strings.HasPrefix(want, "#") {
			want, lines[i] = generic(want), generic(lines[i])
		}
		if lines[i] != want {
			t.Errorf("line %d: %s, want %s", i+1, lines[i], want)
		}
	}
	for _, want := range []string{
		"srs_streams 2\n", "srs_clients 2\n", "srs_clients_total 3\n", "srs_clients_errs_total 1\n", "srs_receive_bytes_total 200\n", "srs_send_bytes_total 14\n",
		`label="cn-beijing",tag="cn-edge"} 1`, `weir_sessions{protocol="rtmp",act="publish"} 2`, `weir_sessions_ended_total{code="1052"} 1`,
		`weir_stream_receive_bytes_total{vhost="__defaultVhost__",app="live",stream="a"} 100`, `weir_test_total{x="a\"b\\c\nd"} 1.5`, "weir_streams_live 2\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
}

// generic has the names of a sample, and no values.
func generic(line string) string {
	return regexp.MustCompile(` [0-9.]+$`).ReplaceAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, `""`), "")
}

// Streams beyond the bound have no labels of their own.
func TestStreamsAreBounded(t *testing.T) {
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("s%02d", i))
	}
	got := scrape(t, "exporter { enabled on; streams 5; }", names...)
	if n := strings.Count(got, "weir_stream_frames_total{"); n != 5 {
		t.Errorf("%d streams have metrics, want 5", n)
	}
	if !strings.Contains(got, `weir_stream_viewers{vhost="",app="",stream="_others"} 0`) || !strings.Contains(got, "weir_streams_live 20") {
		t.Errorf("the others are not counted:\n%s", got)
	}
}

// Prometheus's own tool finds nothing wrong, but for SRS's names.
func TestPromtool(t *testing.T) {
	got := scrape(t, "exporter { enabled on; label a; tag b; }", "a", "weird \"name\"")
	c := exec.Command("promtool", "check", "metrics")
	c.Stdin = strings.NewReader(got)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "srs_") {
			t.Errorf("promtool: %s", line)
		}
	}
	var exit *exec.ExitError
	if err != nil && !(strings.Contains(out.String(), "srs_") && errorsAs(err, &exit)) {
		t.Errorf("promtool: %v", err)
	}
}

func errorsAs(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}
