// Package sender carries a stream's frames to viewers over byte streams (TCP).
//
// What all viewers of a stream are sent is the same, so it is encoded once, on
// the frame ([media.Frame.Encoded]), and every viewer's call gathers slices of
// those shared bytes into one writev. Only what a viewer needs when it starts,
// when it resumes after having lost frames, and when the stream's layout
// changes, is made for it alone.
package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// An Encoder makes the bytes of one viewer. It is used by one goroutine.
type Encoder interface {
	// Append appends to bufs what the viewer is sent for f. The bytes may be
	// shared: nobody may write to them.
	Append(bufs net.Buffers, f *media.Frame) net.Buffers
	// Restart says that frames were lost, so that what was sent before cannot
	// be built on.
	Restart()
}

// A Feed is what a viewer reads: a [hub.Subscription], or what plays the past of a stream
// as one does.
type Feed interface {
	Read(ctx context.Context, dst []*media.Frame) (int, error)
	Resumed() bool
	Dropped() (frames, times uint64)
}

var _ Feed = (*hub.Subscription)(nil)

// A Viewer is one reader of a stream and where its bytes go.
type Viewer struct {
	Sub     Feed
	Encoder Encoder
	// Write sends the buffers, all or an error, and may use them up.
	Write func(bufs net.Buffers) error
	// End is called where a publication ends; an error it returns ends Run. A
	// nil End goes on.
	End func(e *hub.EndError) error
	// MinInterval is the least time between two frames that are sent (SRS's
	// send_min_interval); 0 for none.
	MinInterval time.Duration
	// Until ends the viewer when so much of the stream was sent; 0 is never.
	Until time.Duration
	Log   *slog.Logger

	mu     sync.Mutex
	paused chan struct{} // closed at the end of a pause; nil while there is none; guarded by mu
}

// ErrDuration is returned by Run when Until is reached.
var ErrDuration = errors.New("play duration is over")

// ErrChanged ends a viewer whose stream has become something else than it was told of,
// in a protocol that tells it once.
var ErrChanged = errors.New("stream has other codecs now, the player has to come again")

// batch is the most frames that one call sends.
const batch = 128

// Pause makes the viewer be sent nothing. As in SRS it goes on where it stopped,
// or, if that took longer than the stream's queue, where a slow viewer would. It
// may be called by any goroutine.
func (v *Viewer) Pause(on bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case on && v.paused == nil:
		v.paused = make(chan struct{})
	case !on && v.paused != nil:
		close(v.paused)
		v.paused = nil
	}
}

// awaitResume waits for the end of a pause.
func (v *Viewer) awaitResume(ctx context.Context) error {
	v.mu.Lock()
	paused := v.paused
	v.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Run sends until ctx is done, the stream ends, or a write fails.
func (v *Viewer) Run(ctx context.Context) error {
	frames := make([]*media.Frame, batch)
	bufs := make(net.Buffers, 0, 2*batch)
	var began time.Duration = -1
	var told uint64
	for {
		n, err := v.Sub.Read(ctx, frames)
		if end, ok := errors.AsType[*hub.EndError](err); ok {
			if v.End != nil {
				if err := v.End(end); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			return err
		}
		if v.Sub.Resumed() {
			v.Encoder.Restart()
			if lost, times := v.Sub.Dropped(); times > 0 && told == 0 {
				told = lost
				v.Log.Warn("viewer is too slow, frames are dropped up to the next key frame", "frames", lost)
			}
		}
		if err := v.awaitResume(ctx); err != nil {
			return err
		}
		bufs = bufs[:0]
		for i, f := range frames[:n] {
			bufs = v.Encoder.Append(bufs, f)
			if began < 0 {
				began = f.DTS
			}
			if v.MinInterval > 0 && i < n-1 {
				if err := v.send(bufs); err != nil {
					return err
				}
				bufs = bufs[:0]
				if err := sleep(ctx, v.MinInterval); err != nil {
					return err
				}
			}
		}
		last := frames[n-1].DTS
		clear(frames[:n])
		if err := v.send(bufs); err != nil {
			return err
		}
		if v.Until > 0 && last-began >= v.Until {
			return ErrDuration
		}
		if v.MinInterval > 0 {
			if err := sleep(ctx, v.MinInterval); err != nil {
				return err
			}
		}
	}
}

func (v *Viewer) send(bufs net.Buffers) error {
	if len(bufs) == 0 {
		return nil
	}
	// WriteTo eats the slice it is given; the caller keeps its own.
	if err := v.Write(bufs); err != nil {
		return fmt.Errorf("write to viewer: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
