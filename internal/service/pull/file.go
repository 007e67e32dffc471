package pull

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// File has a file of FLV, MP4 or MPEG-TS again and again, at its own pace and with
// times that go on. The error wraps [ErrFile] where it is no such file.
func File(ctx context.Context, in *Intake, path string, _ Options) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not an ordinary file", ErrFile, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	read, err := reader(f, info.Size())
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFile, path, err)
	}
	l := &loop{ctx: ctx, in: in, clock: newPace(ctx)}
	for {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := read(l); err != nil {
			return because(ctx, err)
		}
		if !l.turn() {
			return fmt.Errorf("%w: there is no frame in %s", ErrFile, path)
		}
	}
}

// ErrFile means that a file cannot be read as a stream.
var ErrFile = errors.New("pull: no file of FLV, MP4 or MPEG-TS")

// reader returns how to read a file once, by how it begins.
func reader(f *os.File, size int64) (func(*loop) error, error) {
	var b [2 * mpegts.PacketSize]byte
	n, _ := f.ReadAt(b[:], 0)
	switch head := b[:n]; {
	case bytes.HasPrefix(head, []byte("FLV")):
		return func(l *loop) error { return l.flv(flv.NewReader(f)) }, nil
	case n > 8 && string(head[4:8]) == "ftyp":
		d, err := mp4.NewDemuxer(f, size)
		if err != nil {
			return nil, err
		}
		return func(l *loop) error { return l.mp4(d) }, nil
	case n == len(b) && b[0] == 0x47 && b[mpegts.PacketSize] == 0x47:
		return func(l *loop) error { return l.ts(bufio.NewReaderSize(f, 64<<10)) }, nil
	}
	return nil, errors.New("it begins as none of them does")
}

// A loop reads a file over and over.
type loop struct {
	ctx   context.Context
	in    *Intake
	clock *pace

	base   time.Duration // to add to the file's times
	begun  bool          // a frame of this turn has come
	start  time.Duration // when this turn began, on the line
	tag    media.Unwrapper
	frames []*media.Frame
}

// at returns the time on the line of one of the file's, when it is due.
func (l *loop) at(ts time.Duration) (time.Duration, error) {
	if !l.begun {
		l.begun = true
		l.base = l.start - ts
	}
	at := max(ts+l.base, 0)
	return at, l.clock.wait(at)
}

// turn goes back to the beginning; false if there was nothing.
func (l *loop) turn() bool {
	if !l.begun {
		return false
	}
	l.start = l.in.spans.end(l.start)
	l.begun = false
	return true
}

func (l *loop) flv(r *flv.Reader) error {
	l.tag = media.Unwrapper{Bits: 32, Rate: 1000}
	for {
		tag, err := r.ReadTag()
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) { // a recording may break off
			return nil
		}
		if err != nil {
			return err
		}
		ts := l.tag.Unwrap(uint64(tag.Timestamp))
		at := max(ts+l.base, 0)
		if tag.Type != flv.TypeScript { // metadata have no time of their own
			if at, err = l.at(ts); err != nil {
				return err
			}
		}
		if err := l.in.tag(tag.Type, at, tag.Body); err != nil {
			return err
		}
	}
}

// mp4 gives the samples of a file as the tags that they would be in FLV, so that
// configurations are looked at in one place.
func (l *loop) mp4(d *mp4.Demuxer) error {
	if err := d.Rewind(); err != nil {
		return err
	}
	for _, t := range d.Tracks() {
		if body, ok := flv.AppendConfigBody(nil, t); ok {
			if err := l.in.tag(flv.Type(t.Kind), l.base, body); err != nil {
				return err
			}
		}
	}
	for {
		f, err := d.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := l.at(f.Source)
		if err != nil {
			return err
		}
		if err := l.in.tag(flv.Type(f.Track.Kind), at, flv.AppendBody(nil, f)); err != nil {
			return err
		}
	}
}

func (l *loop) ts(r io.Reader) error {
	d, b := mpegts.NewDemuxer(), make([]byte, 7*mpegts.PacketSize)
	for {
		n, err := r.Read(b)
		if l.frames = d.Feed(l.frames[:0], b[:n]); err != nil {
			l.frames = d.Flush(l.frames)
		}
		for i, f := range l.frames {
			at, err := l.at(f.Source)
			if err != nil {
				return err
			}
			f.Source = at
			if err := l.in.Frames(l.frames[i : i+1]); err != nil {
				return err
			}
			l.frames[i] = nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A pace has what is read come when it is due.
type pace struct {
	ctx   context.Context
	timer *time.Timer
	began time.Time
}

func newPace(ctx context.Context) *pace { return &pace{ctx: ctx, timer: time.NewTimer(0)} }

const (
	// early is how far ahead of its time a frame may be: waiting for less costs more
	// than it gives.
	early = 5 * time.Millisecond
	// late is how much may be caught up after the machine was held up.
	late = time.Second
)

// wait waits until at has passed since the first call.
func (p *pace) wait(at time.Duration) error {
	now := time.Now()
	if p.began.IsZero() || now.Sub(p.began.Add(at)) > late {
		p.began = now.Add(-at)
	}
	if d := p.began.Add(at).Sub(now); d > early {
		p.timer.Reset(d)
		select {
		case <-p.timer.C:
		case <-p.ctx.Done():
		}
	}
	return context.Cause(p.ctx)
}
