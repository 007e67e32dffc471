package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"weir/internal/session"
)

// A Log writes lines in SRS's shape,
//
//	[2026-11-22 09:19:07.740][INFO][13431][08s9k2x1] client identified, type=fmle-publish
//
// the fourth field being the client id of the API and of callbacks. It is the
// handler of every slog.Logger in the server: an attribute "cid" becomes that
// field, the others follow the message as ", key=value" (the first without the comma
// where the message ends in a space, as some of SRS's do), quoted where they hold
// anything that could forge a line, without the values of parameters that are
// secrets. As an option each line is a JSON object. The same message with the same cause is
// written at most ten times a second; what was left out is told afterwards. A line is
// written when Handle returns, unless what it is written to hangs: that holds nobody up.
type Log struct {
	out   *output
	cid   string
	attrs string      // as text
	list  []slog.Attr // the same
}

// LevelTrace is below slog's debug: SRS's level "verbose" (v1) or "trace" (v2).
const LevelTrace = slog.LevelDebug - 4

// output is what all handlers of a log share.
type output struct {
	pid   int
	level slog.LevelVar
	utc   bool
	color bool
	json  bool

	mu    sync.Mutex
	w     io.Writer // guarded by mu
	file  *os.File  // guarded by mu; nil for the console
	path  string
	again map[string]*repeat // guarded by mu
	prune time.Time          // guarded by mu

	// Of the lines that wait; all is guarded by mu.
	queue   []*queued
	held    int  // bytes in it
	left    int  // lines that had no room in it, and were not told of
	writing bool // a goroutine writes
	stuck   bool // nobody waits for it any more
}

type repeat struct {
	since   time.Time
	n, lost int
}

const (
	burst     = 10
	burstTime = time.Second
)

// LogOptions say how a log is kept.
type LogOptions struct {
	Level slog.Level
	UTC   bool
	// Path is the file, empty for the console.
	Path string
	// Console is where lines go if Path is empty.
	Console io.Writer
	Color   bool
	// JSON writes an object for each line.
	JSON bool
}

// OpenLog starts a log.
func OpenLog(o LogOptions) (*Log, error) {
	out := &output{pid: os.Getpid(), utc: o.UTC, path: o.Path, w: o.Console, color: o.Color && !o.JSON, json: o.JSON, again: map[string]*repeat{}}
	out.level.Set(o.Level)
	l := &Log{out: out}
	return l, l.Reopen()
}

// Reopen opens the file anew, as after a log rotation; a console is left
// alone. If that fails the old file stays in use.
func (l *Log) Reopen() error {
	o := l.out
	if o.path == "" {
		return nil
	}
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log file %s cannot be opened: %w; let srs_log_file name another, or log to the console with srs_log_tank console", o.path, bare(err))
	}
	o.mu.Lock()
	old := o.file
	o.file, o.w = f, f
	o.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return nil
}

// SetLevel changes the least level of what is written.
func (l *Log) SetLevel(level slog.Level) { l.out.level.Set(level) }

// File reports whether the log goes to a file.
func (l *Log) File() bool { return l.out.path != "" }

// Enabled implements slog.Handler.
func (l *Log) Enabled(_ context.Context, level slog.Level) bool { return level >= l.out.level.Level() }

// WithGroup implements slog.Handler; groups are not used.
func (l *Log) WithGroup(string) slog.Handler { return l }

// WithAttrs implements slog.Handler.
func (l *Log) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *l
	var b strings.Builder
	b.WriteString(n.attrs)
	for _, a := range attrs {
		if a.Key == "cid" {
			n.cid = a.Value.String()
			continue
		}
		appendAttr(&b, a)
		n.list = append(n.list[:len(n.list):len(n.list)], a)
	}
	n.attrs = b.String()
	return &n
}

// Handle implements slog.Handler.
func (l *Log) Handle(_ context.Context, r slog.Record) error {
	o := l.out
	cid, cause := l.cid, ""
	attrs := append(make([]slog.Attr, 0, len(l.list)+r.NumAttrs()), l.list...)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "cid":
			cid = a.Value.String()
			return true
		case "err":
			cause = a.Value.String()
		}
		attrs = append(attrs, a)
		return true
	})
	t := r.Time
	if o.utc {
		t = t.UTC()
	}
	b := l.line(t, r.Level, cid, session.Mask(r.Message), attrs)
	if r.Level >= slog.LevelWarn {
		lost, ok := o.allow(r.Message+"\x00"+cause, r.Time)
		if !ok {
			return nil
		}
		if lost > 0 {
			b = append(l.line(t, r.Level, cid, fmt.Sprintf("suppressed %d lines like the next one", lost), nil), b...)
		}
	}
	o.put(b)
	return nil
}

func (l *Log) line(t time.Time, level slog.Level, cid, message string, attrs []slog.Attr) []byte {
	if l.out.json {
		return l.object(t, level, cid, message, attrs)
	}
	return l.text(t, level, cid, message, attrs)
}

// text is a line in SRS's shape. attrs are all of the line's, those of the logger
// first.
func (l *Log) text(t time.Time, level slog.Level, cid, message string, attrs []slog.Attr) []byte {
	o := l.out
	var b strings.Builder
	name, color := levelName(level)
	if o.color && color != "" {
		b.WriteString(color)
	}
	b.WriteByte('[')
	b.WriteString(t.Format("2006-01-02 15:04:05.000"))
	fmt.Fprintf(&b, "][%s][%d][%s] ", name, o.pid, cid)
	if printable(message) {
		b.WriteString(message)
	} else { // somebody has put a peer's words into it
		b.WriteString(strconv.Quote(message))
	}
	if attrs != nil {
		list, joined := &b, strings.HasSuffix(message, " ")
		if joined {
			list = &strings.Builder{}
		}
		list.WriteString(l.attrs)
		for _, a := range attrs[len(l.list):] {
			appendAttr(list, a)
		}
		if joined {
			b.WriteString(strings.TrimPrefix(list.String(), ", "))
		}
	}
	if o.color && color != "" {
		b.WriteString("\x1b[0m")
	}
	b.WriteByte('\n')
	return []byte(b.String())
}

// object is a line as JSON: time (RFC 3339), level, pid, cid, msg, then the
// attributes as strings.
func (l *Log) object(t time.Time, level slog.Level, cid, message string, attrs []slog.Attr) []byte {
	name, _ := levelName(level)
	b := fmt.Appendf(nil, `{"time":"%s","level":"%s","pid":%d`, t.Format("2006-01-02T15:04:05.000Z07:00"), name, l.out.pid)
	add := func(key, value string) {
		k, _ := json.Marshal(key) // strings cannot fail
		v, _ := json.Marshal(value)
		b = append(append(append(append(b, ','), k...), ':'), v...)
	}
	if cid != "" {
		add("cid", cid)
	}
	add("msg", strings.TrimSuffix(message, " "))
	for _, a := range attrs {
		switch a.Key {
		case "time", "level", "pid", "cid", "msg":
			a.Key += "_"
		}
		add(a.Key, session.Mask(a.Value.Resolve().String()))
	}
	return append(b, '}', '\n')
}

// allow counts a line and says whether it may be written, and how many like it
// were not.
func (o *output) allow(what string, now time.Time) (lost int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.prune) > time.Minute {
		o.prune = now
		for k, r := range o.again {
			if now.Sub(r.since) > time.Minute {
				delete(o.again, k)
			}
		}
	}
	r := o.again[what]
	if r == nil {
		if len(o.again) < 1000 {
			o.again[what] = &repeat{since: now, n: 1}
		}
		return 0, true
	}
	if now.Sub(r.since) >= burstTime {
		lost = r.lost
		*r = repeat{since: now, n: 1}
		return lost, true
	}
	if r.n++; r.n > burst {
		r.lost++
		return 0, false
	}
	return 0, true
}

func levelName(l slog.Level) (name, color string) {
	switch {
	case l < slog.LevelDebug:
		return "TRACE", ""
	case l < slog.LevelInfo:
		return "DEBUG", ""
	case l < slog.LevelWarn:
		return "INFO", ""
	case l < slog.LevelError:
		return "WARN", "\x1b[33m"
	}
	return "ERROR", "\x1b[31m"
}

// appendAttr writes ", key=value". Values come from peers: whatever could be
// taken for another field or another line is quoted.
func appendAttr(b *strings.Builder, a slog.Attr) {
	b.WriteString(", ")
	b.WriteString(a.Key)
	b.WriteByte('=')
	s := session.Mask(a.Value.Resolve().String())
	if a.Key == "err" || plain(s) {
		if a.Key == "err" && !printable(s) {
			s = strconv.Quote(s)
		}
		b.WriteString(s)
		return
	}
	b.WriteString(strconv.Quote(s))
}

func plain(s string) bool {
	return printable(s) && !strings.ContainsAny(s, "\", []")
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// ParseLevel returns the level that SRS's srs_log_level (v1 names) and
// srs_log_level_v2 name, the latter winning if it is set.
func ParseLevel(v1, v2 string) slog.Level {
	switch strings.ToLower(v2) {
	case "trace":
		return LevelTrace
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	switch strings.ToLower(v1) {
	case "verbose":
		return LevelTrace
	case "info":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo // "trace", SRS's default
}
