package dvr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

const (
	// gather is how long the recorder lets frames come before it takes them.
	gather = 200 * time.Millisecond
	// firstPause is how long nothing is tried after a file could not be written;
	// each time that follows the pause doubles, up to longestPause.
	firstPause   = 5 * time.Second
	longestPause = time.Minute
)

// A recorder records one publication.
type recorder struct {
	// Immutable.
	server      *server
	key         hub.Key
	publication *hub.Publication
	sub         *hub.Subscription
	release     func() // of the hold on the stream
	log         *slog.Logger
	ctx         context.Context
	cancel      context.CancelCauseFunc

	client atomic.Pointer[client] // who publishes; nil while that is not known

	split atomic.Bool // a new file is to begin
	lost  atomic.Uint64

	mu     sync.Mutex
	active *recording // what is written now, for the list; guarded by mu

	// Owned by run.
	pending []*media.Frame // of a file that has not begun
	bytes   int            // in pending
	layout  *media.Layout
	open    *open
	moved   time.Duration // DTS where the present file begins
	retry   time.Time     // when writing may be tried again
	pause   time.Duration
	skipped uint64 // frames that the hub has told of as lost
	mute    bool   // nothing of this publication can be recorded in the format
}

// client is who publishes.
type client struct {
	*session.Session
	ask session.Ask
}

// open is a file that is written.
type open struct {
	conf   *blocks.DVRConfig
	root   *os.Root
	f      file
	dir    string
	name   string
	tape   tape
	note   note
	source bool          // its time is the publisher's own
	base   time.Duration // of its time
}

func (s *server) newRecorder(p *hub.Publication) *recorder {
	key := p.Stream().Key
	r := &recorder{server: s, key: key, publication: p, log: s.env.Log.With("stream", key.String())}
	r.ctx, r.cancel = context.WithCancelCause(s.ctx)
	_, r.release = s.env.Hub.Hold(key)
	r.sub = s.env.Hub.Subscribe(key, hub.Options{Passive: true, Gather: gather})
	return r
}

// leave lets the stream go.
func (r *recorder) leave() {
	r.cancel(nil)
	r.sub.Close()
	r.release()
	if r.open != nil { // a fault of ours has left it; the next start finishes it
		r.open.f.Close()
		r.open.root.Close()
	}
}

// run records until the publication ends, or it is stopped.
func (r *recorder) run() {
	frames := make([]*media.Frame, 128)
	drained := false
	for {
		n, err := r.sub.Read(r.ctx, frames)
		if _, ended := errors.AsType[*hub.EndError](err); err != nil && !ended && !drained {
			drained = true
			time.Sleep(gather) // what has come until now belongs to it
			continue
		}
		if err != nil {
			r.end()
			return
		}
		if r.sub.Resumed() {
			skipped, _ := r.sub.Dropped()
			r.lose(skipped - r.skipped)
			r.log.Warn("disk is too slow, the recording lacks frames up to a key frame", "frames", skipped-r.skipped)
			r.skipped = skipped
		}
		for _, f := range frames[:n] {
			r.take(f)
		}
		clear(frames)
	}
}

// meet looks up who publishes a stream that is live already.
func (r *recorder) meet() {
	if c := r.server.env.Desk.Publisher(r.key); c != nil {
		if act, ask, _ := c.Doing(); act == session.Publish && ask.Key == r.key {
			r.client.Store(&client{c, ask})
		}
	}
}

// lose counts frames that are in no file.
func (r *recorder) lose(frames uint64) {
	r.lost.Add(frames)
	r.server.lost.Add(int64(frames))
}

// take records one frame.
func (r *recorder) take(f *media.Frame) {
	if r.mute || !r.retry.IsZero() && time.Now().Before(r.retry) {
		r.lose(1)
		return
	}
	access := r.access(f)
	switch {
	case r.open == nil && len(r.pending) == 0:
	case !r.takes(f.Layout), access && r.over(f):
		r.end()
	}
	if r.open != nil {
		r.add(f)
		return
	}
	if len(r.pending) == 0 && !access {
		return // a file begins where a player can
	}
	r.pending = append(r.pending, f)
	r.bytes += len(f.Payload)
	r.layout = f.Layout
	if f.DTS-r.pending[0].DTS >= pieceTime || r.bytes >= pieceBytes {
		r.begin()
	}
}

// access reports whether a file may begin with f.
func (r *recorder) access(f *media.Frame) bool {
	video := f.Layout.Main(media.Video)
	switch {
	case video == nil:
		return f.Track.Kind == media.Audio
	case f.Track != video:
		return false
	}
	return f.Key || !r.conf().WaitKeyframe
}

func (r *recorder) conf() *blocks.DVRConfig {
	if r.open != nil {
		return r.open.conf
	}
	return r.server.conf(r.key.Vhost)
}

// takes reports whether frames of a layout may follow in the present file.
func (r *recorder) takes(l *media.Layout) bool {
	if r.open != nil {
		return l == r.layout || r.open.tape.takes(l)
	}
	ok, _ := fits(r.layout, l)
	return ok
}

// over reports whether the present file ends before f, where one may begin.
func (r *recorder) over(f *media.Frame) bool {
	if r.split.CompareAndSwap(true, false) {
		return true
	}
	from := r.moved
	if r.open == nil {
		from = r.pending[0].DTS
	}
	c := r.conf()
	return c.Plan == "segment" && f.DTS-from >= c.Duration
}

// begin begins a file with what is pending.
func (r *recorder) begin() {
	frames := r.pending
	r.pending, r.bytes = nil, 0
	if len(frames) == 0 {
		return
	}
	o, err := r.create(frames)
	if err != nil {
		r.lose(uint64(len(frames)))
		if errors.Is(err, mp4.ErrTracks) {
			r.mute = true
			r.log.Warn("stream is not recorded: it has no track that MP4 can carry; let dvr_path end in .flv", "err", err)
			return
		}
		r.fail(err)
		return
	}
	r.open, r.moved = o, frames[0].DTS
	r.log.Info("dvr stream " + r.key.Stream + " to file " + join(o.dir, o.name))
	for _, f := range frames {
		if r.open != nil {
			r.add(f)
		}
	}
	// From now on a crash leaves something that can be played.
	if r.open != nil {
		if err := r.open.tape.flush(); err != nil {
			r.broken(err)
		}
	}
}

func (r *recorder) create(frames []*media.Frame) (*open, error) {
	conf := r.server.conf(r.key.Vhost)
	o := &open{conf: conf, source: conf.TimeJitter == "off"}
	began := time.Now().Add(frames[0].DTS - frames[len(frames)-1].DTS) // when the first came
	if blocks.Root.In(r.server.env.Conf.Load()).UTCTime {
		began = began.UTC()
	}
	o.note = r.note(began)
	dir, template := folder(conf.Path)
	var err error
	if o.root, o.f, o.name, err = r.server.create(dir, expand(template, r.key, began)); err != nil {
		return nil, err
	}
	o.dir = dir
	o.base = frames[0].DTS
	for _, f := range frames {
		o.base = min(o.base, o.of(f))
	}
	if o.source && path.Ext(o.name) == ".flv" {
		o.base = 0 // the publisher's own time is kept as it is
	}
	if o.tape, err = newTape(o.f, o.name, o.note, r.layout, room(conf)); err != nil {
		o.discard()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = &recording{note: o.note, File: join(dir, o.name+ending), Active: true, dir: dir, name: o.name}
	return o, nil
}

// of returns the time of f that counts.
func (o *open) of(f *media.Frame) time.Duration {
	if o.source {
		return f.Source
	}
	return f.DTS
}

// room is how many key frames the list of an FLV has room for.
func room(c *blocks.DVRConfig) int {
	const usual = 1024
	if c.Plan != "segment" {
		return usual
	}
	return int(min(max(4*c.Duration/time.Second, 16), usual))
}

func (r *recorder) note(began time.Time) note {
	n := note{Vhost: r.key.Vhost, App: r.key.App, Stream: r.key.Stream, StreamID: r.publication.Stream().ID, Began: began}
	if c := r.client.Load(); c != nil {
		n.Client, n.IP, n.Param, n.TcURL = c.ID, c.IP, c.ask.Said.Param, cmp.Or(c.ask.Said.TcURL, c.TcURL)
	}
	return n
}

// add writes a frame into the present file.
func (r *recorder) add(f *media.Frame) {
	r.layout = f.Layout
	o := r.open
	if err := o.tape.add(f, max(0, o.of(f)-o.base)); err != nil {
		r.broken(err)
		return
	}
	if !r.retry.IsZero() {
		r.retry, r.pause = time.Time{}, 0
		r.complain(nil)
	}
}

// broken ends a file that cannot be written on.
func (r *recorder) broken(err error) {
	r.lose(1)
	r.finish()
	r.fail(err)
}

// end ends the present file, which begins late if the publication is short.
func (r *recorder) end() {
	r.begin()
	if r.open == nil {
		return
	}
	if err := r.open.tape.flush(); err != nil {
		r.broken(err)
		return
	}
	r.finish()
}

// finish makes the present file a whole one and tells of it.
func (r *recorder) finish() {
	o := r.open
	r.open = nil
	r.mu.Lock()
	r.active = nil
	r.mu.Unlock()
	duration, err := o.tape.seal()
	if err != nil {
		r.log.Warn("recording is not finished, and stays as it is", "file", join(o.dir, o.name), "err", err)
	}
	if duration == 0 {
		o.discard()
		return
	}
	name, err := r.server.keep(o, duration)
	if err != nil {
		r.log.Error("recording cannot be given its name", "file", join(o.dir, o.name+ending), "err", err)
		return
	}
	r.server.tell(o.note, o.dir, name, duration, r.client.Load())
}

// keep gives a file that is whole its name and closes it.
func (s *server) keep(o *open, duration time.Duration) (name string, err error) {
	defer o.root.Close()
	o.f.Sync() // that a disk is slow to do that costs nobody but the recording
	name = o.name
	if strings.Contains(name, "[duration]") {
		name = free(o.root, completed(name, duration))
	}
	s.toSend(o.root, name, o.conf)
	return name, errors.Join(o.f.Close(), o.root.Rename(o.name+ending, name))
}

// discard removes a file that holds nothing.
func (o *open) discard() {
	o.f.Close()
	o.root.Remove(o.name + ending)
	o.root.Close()
}

// fail has the next try wait.
func (r *recorder) fail(err error) {
	r.pause = min(max(2*r.pause, firstPause), longestPause)
	r.retry = time.Now().Add(r.pause)
	r.complain(err)
}

// complain says, once, that files cannot be written, and when they can again.
func (r *recorder) complain(err error) {
	subject, text := "dvr of "+r.key.String(), ""
	if err != nil {
		text = fmt.Sprintf("%s cannot be written: %v", subject, err)
	}
	if !r.server.env.Notices.Set(subject, text) {
		return
	}
	if err != nil {
		r.log.Error("recording cannot be written, live goes on", "err", err, "retry", r.pause)
	} else {
		r.log.Info("recording is written again")
	}
}
