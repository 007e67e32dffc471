//go:build !linux || 386 || s390x

package bench

import (
	"context"
	"sync"
	"time"
)

// A sweeper empties the sockets of the cheap viewers: here each has a goroutine
// that reads, which costs the server more than a viewer elsewhere would.
type sweeper struct {
	ctx context.Context
	wg  *sync.WaitGroup
}

// newSweeper returns one; it closes all sockets when ctx is done.
func newSweeper(ctx context.Context, wg *sync.WaitGroup) *sweeper {
	return &sweeper{ctx: ctx, wg: wg}
}

// add takes a viewer's socket over. window is what the server wants to have
// acknowledged.
func (s *sweeper) add(t *tap, window uint32) error {
	c := t.take()
	a := acks{window: window, got: t.got, ack: t.got}
	// The caller is one of the group, so it is not waited for yet.
	s.wg.Go(func() {
		defer c.Close()
		defer context.AfterFunc(s.ctx, func() { c.Close() })()
		buf := make([]byte, 16<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 {
				t.v.came(n, time.Now().UnixNano())
				if ack := a.came(n); ack != nil {
					c.Write(ack)
				}
			}
			if err != nil {
				t.v.over.Store(s.ctx.Err() == nil)
				return
			}
		}
	})
	return nil
}
