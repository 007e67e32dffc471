package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

const (
	// logPatience is how long who logs waits until the line is written: a terminal that was
	// stopped, a pipe that nobody reads and a disk that hangs are to hold nobody up.
	logPatience = time.Second
	// logMost is how many bytes wait to be written at most; lines beyond are left out.
	logMost = 1 << 20
)

// queued is a line that is to be written.
type queued struct {
	b       []byte
	written chan struct{} // closed when it is
}

// put has a line written, and waits for that unless it takes too long, or has for a line
// before.
func (o *output) put(b []byte) {
	o.mu.Lock()
	if o.held += len(b); o.held > logMost {
		o.held -= len(b)
		o.left++
		o.mu.Unlock()
		return
	}
	q := &queued{b, make(chan struct{})}
	o.queue = append(o.queue, q)
	stuck := o.stuck
	if !o.writing {
		o.writing = true
		go o.write()
	}
	o.mu.Unlock()
	if stuck {
		return
	}
	late := time.NewTimer(logPatience)
	defer late.Stop()
	select {
	case <-q.written:
	case <-late.C:
		o.mu.Lock()
		o.stuck = o.writing
		o.mu.Unlock()
	}
}

// write writes what waits, and then says how much was left out.
func (o *output) write() {
	for {
		q := o.next()
		if q == nil {
			return
		}
		w := o.writer()
		_, err := w.Write(q.b)
		if errors.Is(err, os.ErrClosed) { // another file was opened meanwhile
			o.writer().Write(q.b)
		}
		o.mu.Lock()
		o.held -= len(q.b)
		o.mu.Unlock()
		close(q.written)
	}
}

// next returns the line that is to be written next, nil if there is none.
func (o *output) next() *queued {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 && o.left > 0 {
		now := time.Now()
		if o.utc {
			now = now.UTC()
		}
		line := (&Log{out: o}).line(now, slog.LevelWarn, "", fmt.Sprintf("the log could not be written for a while, %d lines are left out", o.left), nil)
		o.left = 0
		o.held += len(line)
		return &queued{line, make(chan struct{})}
	}
	if len(o.queue) == 0 {
		o.writing, o.stuck, o.queue = false, false, nil
		return nil
	}
	q := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	return q
}

// writer returns where lines go.
func (o *output) writer() io.Writer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w
}
