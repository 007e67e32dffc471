package past

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
)

const (
	// stride is how much of a tape a reader is given ahead of its time, so that it wakes seldom.
	stride = 160 * time.Millisecond
	// starved is how often one that waits for more looks whether the stream has ended.
	starved = time.Second
)

// A Reader plays a tape at the speed of the clock, so that it stays as far behind as it
// began. It reads as a [hub.Subscription] does, and holds one segment, which it shares with
// others who are there. It is for one goroutine.
type Reader struct {
	tape *Tape
	ends bool

	next    int64          // number of the segment to come
	frames  []*media.Frame // of the one at hand
	line    time.Duration  // what is shown at zero
	zero    time.Time
	prev    map[*media.Track]time.Duration // the newest time of each track
	resumed bool
	skips   uint64
	seg     *loaded // keeps the one at hand for others
}

// Play begins where a start is. It says how long behind live that is. ends says that it ends
// with the stream, once all was read. The error is that of [Tape.Find].
func (t *Tape) Play(s Start, ends bool) (r *Reader, behind time.Duration, err error) {
	behind, first, err := t.Find(s)
	if err != nil {
		return nil, 0, err
	}
	r = &Reader{tape: t, ends: ends, zero: time.Now(), line: t.Live() - behind, prev: map[*media.Track]time.Duration{}}
	// Of several key frames the last one before.
	for r.next = first.Seq; r.frames == nil; {
		if first, _ = t.from(r.next); first == nil {
			return nil, 0, ErrNothing
		}
		r.open(first)
	}
	for i, f := range slices.Backward(r.frames) {
		if f.DTS <= r.line && (f.Key || first.Run.Video == nil) {
			r.frames = r.frames[i:]
			break
		}
	}
	return r, behind, nil
}

// Layout returns what the stream consists of where the reader is.
func (r *Reader) Layout() *media.Layout {
	if len(r.frames) == 0 {
		return nil
	}
	return r.frames[0].Layout
}

// open takes a segment; one that cannot be read is passed over.
func (r *Reader) open(s *Segment) {
	if s.Seq > r.next {
		r.skips++
		r.resumed = true
	}
	r.next = s.Seq + 1
	l, err := s.load()
	if err == nil {
		l.once.Do(func() { l.frames, l.err = decode(s, l) })
		err = l.err
	}
	if err != nil {
		r.tape.archive.o.Log.Warn("segment of time shift cannot be read", "stream", r.tape.key.String(), "segment", s.Seq, "err", err)
		r.skips++
		r.resumed = true
		return
	}
	r.seg, r.frames = l, slices.Clone(l.frames)
	// Each frame tells how far it is from the one before, which for the first of each track
	// in a segment depends on what was read before that.
	seen := map[*media.Track]bool{}
	for i, f := range r.frames {
		if !seen[f.Track] {
			seen[f.Track] = true
			n := &media.Frame{Layout: f.Layout, Track: f.Track, DTS: f.DTS, CTO: f.CTO, Source: f.Source, Prev: f.DTS, Arrived: f.Arrived, Key: f.Key, Payload: f.Payload}
			if before, ok := r.prev[f.Track]; ok && before <= f.DTS {
				n.Prev = before
			}
			r.frames[i] = n
		}
		r.prev[f.Track] = f.DTS
	}
}

// decode makes frames of a segment, with the times of the tape's line.
func decode(s *Segment, l *loaded) (all []*media.Frame, err error) {
	for _, p := range []struct {
		track *media.Track
		b     []byte
	}{{s.Run.Video, l.video}, {s.Run.Audio, l.audio}} {
		if p.track == nil {
			continue
		}
		samples, err := mp4.ReadSamples(p.b)
		if err != nil {
			return nil, err
		}
		scale := mp4.Timescale(p.track)
		for _, o := range samples {
			at := media.Duration(o.Time, scale) - s.Run.Start
			f := &media.Frame{Layout: s.Run.Layout, Track: p.track, DTS: max(s.Run.Line+at, 0), CTO: media.Duration(o.Offset, scale), Payload: o.Payload}
			f.Source, f.Arrived, f.Key = f.DTS, s.Run.At(f.DTS), o.Key && p.track.Kind == media.Video
			if n := len(all); n > 0 && all[n-1].Track == p.track {
				f.Prev = all[n-1].DTS
			}
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b *media.Frame) int { return cmp.Compare(a.DTS, b.DTS) })
	return all, nil
}

// Read fills dst with the next frames whose time has come, waiting for at least one. The
// error is the cause of ctx, or a *hub.EndError where the stream has ended.
func (r *Reader) Read(ctx context.Context, dst []*media.Frame) (n int, err error) {
	for {
		if len(r.frames) == 0 {
			if err := r.refill(ctx); err != nil {
				return 0, err
			}
			continue
		}
		if wait := r.frames[0].DTS - r.now(); wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return 0, err
			}
		}
		now := r.now() + stride
		for n < len(dst) && len(r.frames) > 0 && r.frames[0].DTS <= now {
			dst[n] = r.frames[0]
			r.frames = r.frames[1:]
			n++
		}
		if n > 0 {
			return n, nil
		}
	}
}

// now is what is shown.
func (r *Reader) now() time.Duration { return r.line + time.Since(r.zero) }

// refill takes the next segment, waiting for it.
func (r *Reader) refill(ctx context.Context) error {
	r.seg = nil
	for {
		s, more := r.tape.from(r.next)
		if s != nil {
			r.open(s)
			return nil
		}
		select {
		case <-more:
		case <-time.After(starved):
			if s, _ := r.tape.from(r.next); r.ends && s == nil && !r.tape.alive() {
				return &hub.EndError{}
			}
			// What another process writes is not told of.
			r.tape.load()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Resumed reports whether frames were lost before the ones that the last Read returned, and
// forgets it.
func (r *Reader) Resumed() bool {
	was := r.resumed
	r.resumed = false
	return was
}

// Dropped returns how often the reader lost segments, which is all that is known of how many
// frames that were.
func (r *Reader) Dropped() (frames, times uint64) { return r.skips, r.skips }

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

// String names the tape.
func (t *Tape) String() string { return fmt.Sprint("time shift of ", t.key) }
