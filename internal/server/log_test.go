package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func openLog(t *testing.T, o LogOptions) (*Log, *slog.Logger) {
	t.Helper()
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, slog.New(l)
}

// The shape is SRS's, which operators' tools cut into fields.
func TestLogShape(t *testing.T) {
	var out bytes.Buffer
	_, log := openLog(t, LogOptions{Console: &out, Level: LevelTrace})
	log.Log(t.Context(), LevelTrace, "finest")
	log.Debug("fine")
	log.Info("ready", "doors", 3, "took", 2*time.Second)
	log.With("cid", "08s9k2x1").With("stream", "live/s").Info("client identified", "type", "fmle-publish")
	log.Info("RTMP client ", "ip", "127.0.0.1:38220")
	log.Warn("slow", "cid", "abcdefgh")
	log.Error("broken", "err", errors.New("no such file"))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, want := range []string{
		`[TRACE][PID][] finest`,
		`[DEBUG][PID][] fine`,
		`[INFO][PID][] ready, doors=3, took=2s`,
		`[INFO][PID][08s9k2x1] client identified, stream=live/s, type=fmle-publish`,
		`[INFO][PID][] RTMP client ip=127.0.0.1:38220`,
		`[WARN][PID][abcdefgh] slow`,
		`[ERROR][PID][] broken, err=no such file`,
	} {
		if i >= len(lines) {
			t.Fatalf("only %d lines", len(lines))
		}
		at, got, _ := strings.Cut(lines[i], "]")
		if want = strings.ReplaceAll(want, "PID", fmt.Sprint(os.Getpid())); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if !regexp.MustCompile(`^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$`).MatchString(at) {
			t.Errorf("the time is %q", at)
		}
	}
}

func TestLogLevels(t *testing.T) {
	for _, c := range []struct {
		v1, v2 string
		want   slog.Level
	}{
		{"", "", slog.LevelInfo}, {"trace", "", slog.LevelInfo}, {"verbose", "", LevelTrace}, {"info", "", slog.LevelDebug}, {"warn", "", slog.LevelWarn},
		{"error", "", slog.LevelError}, {"Warn", "", slog.LevelWarn}, {"error", "trace", LevelTrace}, {"verbose", "info", slog.LevelInfo}, {"", "DEBUG", slog.LevelDebug},
		{"verbose", "warn", slog.LevelWarn}, {"", "error", slog.LevelError}, {"nonsense", "nonsense", slog.LevelInfo},
	} {
		if got := ParseLevel(c.v1, c.v2); got != c.want {
			t.Errorf("%q and %q: %v, want %v", c.v1, c.v2, got, c.want)
		}
	}
	var out bytes.Buffer
	_, log := openLog(t, LogOptions{Console: &out, Level: slog.LevelWarn})
	log.Info("no")
	log.Warn("yes")
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines, want 1:\n%s", got, &out)
	}
}

func TestLogTimeAndColour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		_, log := openLog(t, LogOptions{Console: &out, UTC: true, Color: true})
		log.Info("plain")
		log.Warn("yellow")
		log.Error("red")
		want := fmt.Sprintf("[2000-01-01 00:00:00.000][INFO][%d][] plain\n\x1b[33m[2000-01-01 00:00:00.000][WARN][%[1]d][] yellow\x1b[0m\n\x1b[31m[2000-01-01 00:00:00.000][ERROR][%[1]d][] red\x1b[0m\n", os.Getpid())
		if out.String() != want {
			t.Errorf("got %q, want %q", &out, want)
		}
	})
}

// Whatever peers say, a line stays one line, and a field one field.
func TestLogQuotesPeersWords(t *testing.T) {
	hostile := []string{
		"a\n[2026-11-22 09:19:07.740][ERROR][1][x] forged", "a\r\nb", "a\x00b", "\x1b[2Jgone", "x, cid=forged", "\xff\xfe", "a\u2028b", "a\u202eb", "\u0085", `"`, "[x]", "a b",
	}
	for _, s := range hostile {
		var out bytes.Buffer
		_, log := openLog(t, LogOptions{Console: &out})
		log.With("tcUrl", s).Info("connect app", "app", s, "stream", "next")
		log.Error("refused", "err", errors.New(s))
		log.Info("message " + s)
		if got := strings.Count(out.String(), "\n"); got != 3 {
			t.Errorf("%q makes %d lines of 3", s, got)
		}
		for line := range strings.Lines(out.String()) {
			for _, r := range strings.TrimSuffix(line, "\n") {
				if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u202e' {
					t.Errorf("%q leaves %q in the line %q", s, r, line)
				}
			}
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		if !strings.HasSuffix(first, ", stream=next") || strings.Contains(first, ", cid=forged") && !strings.Contains(first, `"x, cid=forged"`) {
			t.Errorf("%q is not held together: %s", s, first)
		}
	}
}

// What says the same again and again is written ten times a second, and then how
// much was left out.
func TestLogSuppression(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		_, log := openLog(t, LogOptions{Console: &out})
		for range 1000 {
			log.Warn("disk", "err", errors.New("full"))
			log.Info("not suppressed, being news")
		}
		log.Warn("disk", "err", errors.New("another cause"))
		if got := strings.Count(out.String(), "err=full"); got != 10 {
			t.Errorf("%d lines, want 10", got)
		}
		if got := strings.Count(out.String(), "news"); got != 1000 {
			t.Errorf("%d lines of news, want 1000", got)
		}
		if !strings.Contains(out.String(), "another cause") {
			t.Error("another cause is left out too")
		}
		time.Sleep(time.Second)
		out.Reset()
		log.Warn("disk", "err", errors.New("full"))
		if got := out.String(); !strings.Contains(got, "suppressed 990 lines like the next one\n") || strings.Count(got, "\n") != 2 {
			t.Errorf("got %s", got)
		}
	})
}

// Peers choose the causes: as many as they like do not fill the memory, nor the
// log.
func TestLogSuppressionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l, log := openLog(t, LogOptions{Console: &out})
		for i := range 5000 {
			log.Warn("refused", "err", fmt.Errorf("peer %d", i))
		}
		if n := len(l.out.again); n > 1000 {
			t.Errorf("%d causes are remembered", n)
		}
		time.Sleep(2 * time.Minute)
		log.Warn("refused", "err", errors.New("later"))
		if n := len(l.out.again); n > 10 {
			t.Errorf("%d causes are remembered two minutes later", n)
		}
	})
}

// gated is a terminal that can be stopped.
type gated struct {
	bytes.Buffer
	open chan struct{} // closed when it goes on
}

func (g *gated) Write(b []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(b)
}

func (o *output) holds() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// What the log is written to may hang: who logs waits a moment once, and then not at all.
// What there was room for is written when it goes on, in order, and what was not is told of.
func TestLogThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gated{open: make(chan struct{})}
		l, log := openLog(t, LogOptions{Console: out})
		began := time.Now()
		log.Info("the first")
		if took := time.Since(began); took != logPatience {
			t.Errorf("the first line was waited for %v", took)
		}
		began = time.Now()
		long := strings.Repeat("x", 1000)
		const lines = 2000
		for i := range lines {
			log.Info(long, "number", i)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the others were waited for %v", took)
		}
		if n := l.out.holds(); n > logMost {
			t.Errorf("%d bytes are held", n)
		}
		close(out.open)
		synctest.Wait()
		all := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		last := len(all) - 1
		if !strings.HasSuffix(all[0], " the first") || !strings.HasSuffix(all[last], fmt.Sprintf("%d lines are left out", lines+1-last)) {
			t.Errorf("%d lines, from %.80s to %s", len(all), all[0], all[last])
		}
		for i, line := range all[1:last] {
			if !strings.HasSuffix(line, fmt.Sprintf(", number=%d", i)) {
				t.Fatalf("line %d ends in %s", i, line[len(line)-20:])
			}
		}
		log.Info("afterwards")
		if n := l.out.holds(); n != 0 || !strings.HasSuffix(out.String(), " afterwards\n") {
			t.Errorf("afterwards %d bytes are held", n)
		}
	})
}

func TestLogReopen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "srs.log")
	l, log := openLog(t, LogOptions{Path: path})
	log.Info("first")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("second")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	log.Info("third")
	for name, want := range map[string][]string{path + ".1": {"first", "second"}, path: {"third"}} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(b), "\n"); got != len(want) {
			t.Errorf("%s: %d lines, want %v", name, got, want)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not have %q", name, w)
			}
		}
	}
	// A log that exists is continued; a folder that has gone keeps the old file.
	again, log2 := openLog(t, LogOptions{Path: path})
	log2.Info("fourth")
	if b, _ := os.ReadFile(path); strings.Count(string(b), "\n") != 2 {
		t.Errorf("the log was not continued:\n%s", b)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := again.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("reopen without a folder: %v", err)
	}
	log2.Info("goes nowhere, and nobody minds")
	if _, err := OpenLog(LogOptions{Path: path}); err == nil {
		t.Error("opened without a folder")
	}
}
