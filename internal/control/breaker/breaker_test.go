package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/session"
)

func newBreaker(t *testing.T, conf string) (*Breaker, *strings.Builder) {
	t.Helper()
	s, err := config.Parse(config.Source{File: "t", Text: []byte("listen 1935; " + conf + " vhost __defaultVhost__ { }"), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	return New(service.Env{Log: slog.New(slog.NewTextHandler(&out, nil)), Conf: config.NewStore(s), Notices: &service.Notices{}, Busy: &service.LoadGauge{}}), &out
}

// Each level needs its pulses, and a quiet second ends it.
func TestLevels(t *testing.T) {
	for _, c := range []struct {
		conf    string
		seconds []float64
		want    string
	}{
		{"", []float64{89, 89, 89}, "easy easy easy"},
		{"", []float64{91, 91, 91, 10, 91}, "easy high high easy easy"},
		{"", []float64{96, 96, 92, 92}, "critical critical high high"},
		{"", []float64{100, 100, 100, 100, 100, 100, 100, 99}, "critical critical critical critical critical dying dying critical"},
		{"circuit_breaker { enabled off; }", []float64{100, 100, 100}, "easy easy easy"},
		{"circuit_breaker { high_threshold 50; high_pulse 1; dying_threshold 60; dying_pulse 0; }", []float64{55, 65}, "high dying"},
	} {
		b, _ := newBreaker(t, c.conf)
		var got []string
		for _, p := range c.seconds {
			b.judge(p)
			got = append(got, b.env.Busy.Load().String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q, %v: %s, want %s", c.conf, c.seconds, s, c.want)
		}
	}
}

// What counts is the share of all processors, and a change is told once.
func TestShareOfAllProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newBreaker(t, "")
		began, rate := time.Now(), 1.0
		b.cpus = func() float64 { return 4 }
		b.used = func() float64 { return time.Since(began).Seconds() * rate }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if b.env.Busy.Load() != service.Easy {
			t.Error("one core of four is taken for a busy machine")
		}
		cancel()
		<-done
		began, rate = time.Now(), 3.9
		ctx, cancel = context.WithCancel(t.Context())
		go func() { done <- b.Run(ctx) }()
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if b.env.Busy.Load() != service.Critical {
			t.Errorf("3.9 of four: %v", b.env.Busy.Load())
		}
		if got := log.String(); strings.Count(got, "CircuitBreaker: cpu=") != 1 || !strings.Contains(got, "of 4.0 processors, critical: on_hls_notify and bandwidth tests are left undone") {
			t.Errorf("told: %s", got)
		}
		if got := fmt.Sprint(b.env.Notices.All()); !strings.Contains(got, "the processor is busy (critical)") {
			t.Errorf("notices: %s", got)
		}
	})
}

func TestDyingRefusesNewPlayers(t *testing.T) {
	b, _ := newBreaker(t, "")
	for act, want := range map[session.Act]error{session.Connect: nil, session.Publish: nil, session.Play: ErrBusy} {
		b.env.Busy.Set(service.Critical)
		if err := b.Authorize(t.Context(), &session.Request{Act: act}); err != nil {
			t.Errorf("critical, %v: %v", act, err)
		}
		b.env.Busy.Set(service.Dying)
		if err := b.Authorize(t.Context(), &session.Request{Act: act}); !errors.Is(err, want) {
			t.Errorf("dying, %v: %v", act, err)
		}
	}
}
