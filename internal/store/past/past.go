// Package past keeps what streams were, for viewers who are behind: a time shift.
//
// An [Archive] has one [Tape] for each stream that is kept. A tape is a row of
// segments, cut by the store and in one form, CMAF, whatever viewers get made of it.
// They are in memory until they are written, then on disk, in files of some minutes
// (reels) that can be played by themselves; beside each stands an index of lines, by
// which a server that starts goes on with what it finds. What is older than the window
// is deleted a reel at a time, and so is the oldest where the bound of size is reached.
//
// A tape has one line of time, which goes on over publications and restarts: a pause of
// the publisher is as long on it as it was. Who asks for "so long ago" is led by that
// line, who asks for a time of day by the clock as it was when the run began.
//
// Writing is done by one goroutine; a disk that hangs or is full costs the archive, which
// says so, and neither the publisher nor anybody who watches live. Names may hold what a
// peer said: they are opened below the folder of the configuration (os.Root).
package past

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
	"weir/internal/store"
)

// Settings say what is kept of the streams of a vhost.
type Settings struct {
	// Window is how much; 0 is nothing.
	Window time.Duration
	// Dir is the folder, and Size how many bytes all of the vhost's streams may take there.
	Dir  string
	Size int64
	// Fragment is the least duration of a segment.
	Fragment time.Duration
}

// Options are what an archive needs of the house.
type Options struct {
	Log      *slog.Logger
	Hub      *hub.Hub
	Store    *store.Store
	Settings func(vhost string) Settings
	// Vhosts lists all that there are.
	Vhosts func() []string
	// Notice shows the operator a standing complaint, and takes it away with "". It
	// reports whether it changed.
	Notice func(subject, text string) bool
	// Shared reports whether another process writes here as well, as in an upgrade; Left
	// whether it has taken our place.
	Shared, Left func() bool
	// Now is time.Now where it is nil.
	Now func() time.Time
}

// An Archive keeps streams. A nil one keeps nothing. Make one with New.
type Archive struct {
	o Options

	wg sync.WaitGroup // of those who read the disk

	// Lost counts segments that could not be written.
	Lost atomic.Int64

	create func(root *os.Root, name string) (file, error) // immutable

	mu    sync.Mutex
	tapes map[hub.Key]*Tape    // guarded by mu
	bytes map[string]int64     // on disk, by vhost; guarded by mu
	short map[string]time.Time // when the disk was too full for the window, by vhost; guarded by mu

	work    chan struct{} // holds one wake-up of the writer
	queueMu sync.Mutex
	queue   []written // guarded by queueMu
	queued  int64     // bytes in it; guarded by queueMu
}

// written is a segment that waits to be written.
type written struct {
	tape *Tape
	seg  *Segment
}

const (
	// mostQueued is how many bytes may wait to be written, of all streams.
	mostQueued = 128 << 20
	// sweepEvery is how often is looked for what is too old.
	sweepEvery = time.Minute
)

// Why there is nothing to see.
var (
	// ErrNothing is that nothing is kept of the stream from that time on.
	ErrNothing = errors.New("nothing is kept of that stream from that time on")
	// ErrTime is wrapped by what is said of a time that is none.
	ErrTime = errors.New("a time is seconds behind live (-300), seconds since 1970, or as 2026-11-27T18:30:00Z")
	// ErrFuture is that a time has not come.
	ErrFuture = errors.New("that time has not come yet")
)

// New returns an empty archive.
func New(o Options) *Archive {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Archive{o: o, create: create, tapes: map[hub.Key]*Tape{}, bytes: map[string]int64{}, short: map[string]time.Time{}, work: make(chan struct{}, 1)}
}

// Keeps reports whether streams of a vhost are kept.
func (a *Archive) Keeps(vhost string) bool { return a != nil && a.o.Settings(vhost).Window > 0 }

// Published has a publication kept, if its vhost's streams are. It is for
// [hub.Hub.OnPublish].
func (a *Archive) Published(p *hub.Publication) {
	key := p.Stream().Key
	if a.o.Left != nil && a.o.Left() {
		return // the process that has taken our place does it
	}
	a.Follow(key, p)
}

// Follow has a stream kept as its vhost's settings are now: p is what is published of it,
// nil if that is nothing.
func (a *Archive) Follow(key hub.Key, p *hub.Publication) {
	keeps := a.Keeps(key.Vhost)
	a.mu.Lock()
	t := a.tapes[key]
	if t == nil && keeps && p != nil {
		t = a.tape(key)
	}
	a.mu.Unlock()
	if t != nil {
		t.follow(keeps && p != nil && !p.Lent)
	}
}

// tape returns the tape of a stream, which need not have anything. a.mu is held.
func (a *Archive) tape(key hub.Key) *Tape {
	t := a.tapes[key]
	if t == nil {
		t = newTape(a, key)
		a.tapes[key] = t
	}
	return t
}

// Tape returns what is kept of a stream. The error is [ErrNothing].
func (a *Archive) Tape(key hub.Key) (*Tape, error) {
	if !a.Keeps(key.Vhost) || key.Stream == "" {
		return nil, ErrNothing
	}
	a.mu.Lock()
	known := a.tapes[key] != nil
	t := a.tape(key)
	a.mu.Unlock()
	t.load()
	if t.empty() {
		if !known {
			a.forget(t) // whoever asks for names of nothing leaves nothing behind
		}
		return nil, ErrNothing
	}
	return t, nil
}

// forget drops a tape that holds nothing and that nobody writes.
func (a *Archive) forget(t *Tape) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tapes[t.key] == t && t.empty() && !t.followed() {
		delete(a.tapes, t.key)
	}
}

func (a *Archive) all() (all []*Tape) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tapes {
		all = append(all, t)
	}
	return all
}

// Run writes what is kept and deletes what is too old, until ctx is done and what waits
// then is written.
func (a *Archive) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	a.Sweep()
	for {
		select {
		case <-a.work:
			a.write()
		case <-tick.C:
			a.Sweep()
		case <-ctx.Done():
			a.o.Store.Stop() // tells of the last segments
			a.wg.Wait()
			a.write()
			for _, t := range a.all() {
				t.close()
			}
			return nil
		}
	}
}

// push has a segment written, and reports whether it can be.
func (a *Archive) push(t *Tape, s *Segment) bool {
	a.queueMu.Lock()
	defer a.queueMu.Unlock()
	if size := int64(s.Size()); a.queued+size <= mostQueued {
		a.queue, a.queued = append(a.queue, written{t, s}), a.queued+size
		select {
		case a.work <- struct{}{}:
		default:
		}
		return true
	}
	return false
}

// write writes all that waits.
func (a *Archive) write() {
	for {
		a.queueMu.Lock()
		if len(a.queue) == 0 {
			a.queue = nil
			a.queueMu.Unlock()
			return
		}
		w := a.queue[0]
		a.queue[0] = written{}
		a.queue = a.queue[1:]
		a.queueMu.Unlock()
		w.tape.write(w.seg)
		a.queueMu.Lock()
		a.queued -= int64(w.seg.Size())
		a.queueMu.Unlock()
	}
}

// complain shows the operator that nothing can be written, and why, or takes that away.
func (a *Archive) complain(key hub.Key, err error) {
	text := ""
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err // the name of the file is another each time
	}
	if err != nil {
		text = fmt.Sprintf("time shift of %s cannot be written: %v", key, err)
	}
	switch {
	case !a.notice("time shift of "+key.String(), text):
	case err != nil:
		a.o.Log.Error("time shift cannot be written, viewers who are behind miss it", "stream", key.String(), "err", err)
	default:
		a.o.Log.Info("time shift is written again", "stream", key.String())
	}
}

// notice shows the operator a standing complaint, or takes it away, and reports whether that
// changed anything.
func (a *Archive) notice(subject, text string) bool {
	return a.o.Notice != nil && a.o.Notice(subject, text)
}

// A Start is where a viewer wants to begin: so long behind live, or at a time of day.
type Start struct {
	Behind time.Duration
	At     time.Time // zero for Behind
}

// Moment is when a start is, behind now.
func (s Start) Moment(now time.Time) time.Time {
	if s.At.IsZero() {
		return now.Add(-s.Behind)
	}
	return s.At
}

// ParseStart reads a start: seconds behind live if it is negative or 0 ("-300"), seconds
// since 1970, or RFC 3339. The error wraps [ErrTime].
func ParseStart(text string) (Start, error) {
	if sec, err := strconv.ParseFloat(text, 64); err == nil && sec > -1e9 && sec < 1e11 {
		if sec <= 0 {
			return Start{Behind: time.Duration(-sec * float64(time.Second))}, nil
		}
		whole, part := math.Modf(sec)
		return Start{At: time.Unix(int64(whole), int64(part*1e9))}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return Start{At: t}, nil
	}
	return Start{}, fmt.Errorf("%w; %q is none of them", ErrTime, text)
}
