package sound

import (
	"sync"
	"time"

	"weir/internal/media"
)

// queueMost is how many packets wait for a Line's goroutine at most: some three
// seconds. When there are more the oldest are left out.
const queueMost = 128

// A Line is a [Transcoder], or a program that does the same, with a goroutine. Its
// methods may be called by any.
type Line struct {
	track *media.Track
	maker maker
	fail  func(error)

	mu    sync.Mutex
	queue []*media.Frame // guarded by mu
	over  bool           // guarded by mu
	lost  int            // guarded by mu
	more  chan struct{}  // capacity 1
	done  chan struct{}
}

// A maker makes sound of frames, and emits it.
type maker interface {
	// write takes a frame. After an error it is closed.
	write(f *media.Frame) error
	// close has what waits end; nothing is emitted afterwards.
	close()
}

// NewLine returns a Line that turns frames of a track into frames of [Line.Track],
// with which it calls emit, in its goroutine. Their DTS and Source are the times of
// what they were made of, and their Payload is theirs. fail is called if it must give
// up, once; nothing comes after it. The errors are those of [New].
func NewLine(from *media.Track, to Target, emit func(*media.Frame), fail func(error)) (*Line, error) {
	t, err := New(from, to)
	if err != nil {
		return nil, err
	}
	return newLine(t.Track(), &inside{t, emit}, fail), nil
}

func newLine(track *media.Track, m maker, fail func(error)) *Line {
	l := &Line{track: track, maker: m, fail: fail, more: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Track describes what comes out.
func (l *Line) Track() *media.Track { return l.track }

// Write hands a frame over and returns at once.
func (l *Line) Write(f *media.Frame) {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return
	}
	if len(l.queue) >= queueMost {
		l.queue = append(l.queue[:0], l.queue[1:]...)
		l.lost++
	}
	l.queue = append(l.queue, f)
	l.mu.Unlock()
	l.wake()
}

// Lost returns how many packets were left out because the goroutine was too slow.
func (l *Line) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close ends the goroutine. emit is not called afterwards; it must not call Close.
func (l *Line) Close() {
	l.mu.Lock()
	l.over, l.queue = true, nil
	l.mu.Unlock()
	l.wake()
	l.maker.close()
	<-l.done
}

func (l *Line) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *Line) run() {
	defer close(l.done)
	var batch []*media.Frame
	for {
		<-l.more
		l.mu.Lock()
		batch = append(batch[:0], l.queue...)
		clear(l.queue)
		l.queue = l.queue[:0]
		over := l.over
		l.mu.Unlock()
		if over {
			return
		}
		for _, f := range batch {
			if err := l.maker.write(f); err != nil {
				l.mu.Lock()
				stop := l.over
				l.over, l.queue = true, nil
				l.mu.Unlock()
				if !stop {
					l.maker.close()
					l.fail(err)
				}
				return
			}
		}
		clear(batch)
	}
}

// inside is a Transcoder as a maker.
type inside struct {
	t    *Transcoder
	emit func(*media.Frame)
}

func (i *inside) write(f *media.Frame) error {
	shift := f.Source - f.DTS
	return i.t.WriteLossy(f.Payload, f.PTS(), int(f.Lost), func(pts time.Duration, packet []byte) {
		i.emit(&media.Frame{Track: i.t.track, DTS: pts, Source: pts + shift, Payload: append([]byte(nil), packet...)})
	})
}

func (i *inside) close() {}
