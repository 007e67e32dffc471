package child

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// logSize is how large a log may grow before it becomes NAME.1, in place of the
	// one before.
	logSize = 8 << 20
	// logRate is how many bytes a second of what a program writes are kept.
	logRate = 1 << 20
	// keptLines is how many lines are remembered, of at most lineSize bytes each.
	keptLines = 10
	lineSize  = 300
)

// A record is what a program writes: its last lines, and a log of bounded size.
type record struct {
	mu       sync.Mutex
	path     string   // of the log; "" for none
	f        *os.File // guarded by mu, as is all below
	size     int64
	second   int64 // the one that budget is of
	budget   int
	lost     int // bytes that were not written since the last that were
	line     []byte
	lines    []string
	progress string
}

// newRecord opens the log in a folder, which is made. Without a name, or with
// /dev/null for a folder, there is none.
func newRecord(dir, name string) (*record, error) {
	r := &record{}
	if name == "" || dir == os.DevNull {
		return r, nil
	}
	r.path = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, fmt.Errorf("log folder %s: %w", dir, err)
	}
	if err := r.open(); err != nil {
		return r, err
	}
	logs.Lock()
	defer logs.Unlock()
	logs.open[r] = true
	return r, nil
}

// logs are the records that have a log.
var logs = struct {
	sync.Mutex
	open map[*record]bool
}{open: map[*record]bool{}}

// ReopenLogs opens the logs of programs anew, after a log rotation. Files that a
// program was given for its output stay as they are. The error is the last of those
// that there were.
func ReopenLogs() (err error) {
	logs.Lock()
	defer logs.Unlock()
	for r := range logs.open {
		if e := r.reopen(); e != nil {
			err = e
		}
	}
	return err
}

func (r *record) reopen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
	return r.open()
}

func (r *record) open() error {
	// What a program writes holds the addresses that it was given, passwords and all.
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	r.f = f
	r.size = 0
	if info, err := f.Stat(); err == nil {
		r.size = info.Size()
	}
	return nil
}

// note writes a line of our own to the log.
func (r *record) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append([]byte(time.Now().Format("[2006-01-02 15:04:05.000] ") + text + "\n"))
}

// Write takes what a program wrote. A full disk does not stop the program.
func (r *record) Write(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remember(b)
	if now := time.Now().Unix(); now != r.second {
		r.second, r.budget = now, logRate
	}
	kept := b[:min(len(b), r.budget)]
	r.budget -= len(kept)
	if r.lost > 0 && len(kept) > 0 {
		r.append(fmt.Appendf(nil, "\n[%d bytes were written too fast and are left out]\n", r.lost))
		r.lost = 0
	}
	r.lost += len(b) - len(kept)
	r.append(kept)
}

// append writes to the log, and turns it over if it is full.
func (r *record) append(b []byte) {
	if r.f == nil || len(b) == 0 {
		return
	}
	if r.size > 0 && r.size+int64(len(b)) > logSize {
		r.f.Close()
		r.f = nil
		os.Rename(r.path, r.path+".1")
		if r.open() != nil {
			return
		}
	}
	n, _ := r.f.Write(b)
	r.size += int64(n)
}

// remember keeps the last lines; ffmpeg's progress, which it writes over and over in
// one line, apart.
func (r *record) remember(b []byte) {
	for _, c := range b {
		if c != '\n' && c != '\r' {
			if len(r.line) < lineSize {
				r.line = append(r.line, c)
			}
			continue
		}
		r.flush()
	}
}

func (r *record) flush() {
	text := strings.ToValidUTF8(strings.TrimSpace(string(r.line)), "?")
	r.line = r.line[:0]
	switch {
	case text == "":
	case strings.HasPrefix(text, "frame=") || strings.HasPrefix(text, "size="):
		r.progress = text
	default:
		if len(r.lines) >= keptLines {
			r.lines = append(r.lines[:0], r.lines[1:]...)
		}
		r.lines = append(r.lines, text)
	}
}

// last returns the last lines, and ffmpeg's last progress.
func (r *record) last() (lines []string, progress string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.lines...), r.progress
}

// close closes the log; what is written afterwards is only remembered.
func (r *record) close() {
	logs.Lock()
	delete(logs.open, r)
	logs.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}

// copyFrom reads a pipe to its end. Who writes faster than is kept is slowed down, so
// that it costs no processor.
func (r *record) copyFrom(pipe *os.File) {
	b := make([]byte, 32<<10)
	for {
		n, err := pipe.Read(b)
		r.Write(b[:n])
		if err != nil {
			return
		}
		if r.flooded() {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

func (r *record) flooded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.budget == 0
}
