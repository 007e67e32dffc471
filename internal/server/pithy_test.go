package server

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
)

// Running sessions are told of in turn, one that publishes and one that plays each time.
func TestPithyPrint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
		var log bytes.Buffer
		every := 10 * time.Second
		p := &pithy{desk, slog.New(slog.NewTextHandler(&log, nil)), func() time.Duration { return every }}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.Run(ctx)
		time.Sleep(time.Minute)
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("with nobody there: %s", &log)
		}
		key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
		join := func() *session.Session {
			s, err := desk.Connect(t.Context(), session.Visitor{Protocol: "test"})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		if _, err := join().Publish(t.Context(), session.Ask{Key: key}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := join().Play(t.Context(), session.Ask{Key: key}, hub.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(6 * every)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 12 || strings.Count(log.String(), "msg=publishing ") != 6 {
			t.Fatalf("%d lines: %s", len(lines), &log)
		}
		count := map[string]int{}
		for _, m := range regexp.MustCompile(`msg=playing cid=(\w+) protocol=test stream=/live/s recv=0`).FindAllStringSubmatch(log.String(), -1) {
			count[m[1]]++
		}
		for id, n := range count {
			if n != 2 || len(count) != 3 {
				t.Errorf("%s of %d was told of %d times", id, len(count), n)
			}
		}
		if len(count) != 3 {
			t.Errorf("%d players were told of: %s", len(count), &log)
		}
	})
}
