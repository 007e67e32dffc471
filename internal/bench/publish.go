package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// publishers are those of a run.
type publishers struct {
	failed atomic.Int64
	mu     sync.Mutex
	err    error // guarded by mu; the first failure
}

func (p *publishers) fail(err error) {
	p.failed.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

// publish starts a publisher per stream and returns when all of them are
// admitted. It is an error if one is not.
func (r *run) publish(ctx, work context.Context, src *source) error {
	admitted := make(chan error, r.Streams)
	// So many set up at once, so that a server's queue of connections holds.
	gate := make(chan struct{}, 64)
	for i := range r.Streams {
		r.wg.Go(func() {
			gate <- struct{}{}
			c, err := link.Dial(work, numbered(r.Publish, i), link.DialOptions{FMLE: true, Timeout: setupTimeout})
			if err == nil {
				if err = c.Publish(); err != nil {
					c.Close()
				}
			}
			<-gate
			admitted <- err
			if err != nil {
				return
			}
			defer c.Close()
			r.wg.Go(func() { c.Drain() })
			if err := src.play(work, c); err != nil && work.Err() == nil {
				r.pubs.fail(err)
			}
		})
	}
	for range r.Streams {
		select {
		case err := <-admitted:
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// play sends the file in real time, over and over with times that go on.
func (s *source) play(ctx context.Context, c *link.Client) error {
	began := time.Now()
	clock := time.NewTimer(0)
	defer clock.Stop()
	scratch := make([]byte, 0, 4+stampNAL)
	for round := uint32(0); ; round++ {
		for i := range s.tags {
			m := &s.tags[i]
			if m.once && round > 0 {
				continue
			}
			at := round*s.length + m.at
			if wait := time.Until(began.Add(time.Duration(at) * time.Millisecond)); wait > 0 {
				if err := c.Flush(); err != nil {
					return err
				}
				clock.Reset(wait)
				select {
				case <-clock.C:
				case <-ctx.Done():
					return nil
				}
			}
			head, stamp, tail := m.parts(scratch, time.Now())
			if err := c.WriteMessage(rtmp.MessageType(m.typ), at, head, stamp, tail); err != nil {
				return err
			}
		}
	}
}
