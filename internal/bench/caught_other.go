//go:build !linux || 386 || s390x

package bench

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// caught is the sweeper for viewers of WebRTC: here each has a goroutine that reads.
type caught struct {
	ctx context.Context
	wg  *sync.WaitGroup
}

func newCaught(ctx context.Context, wg *sync.WaitGroup) *caught { return &caught{ctx, wg} }

// add reads until the session ends. The caller has closed nothing yet.
func (s *caught) add(c *caller) error {
	b := make([]byte, maxDatagram)
	for {
		now := time.Now()
		if !now.Before(c.due) {
			c.keep(now)
			c.conn.SetReadDeadline(c.due)
		}
		n, err := c.conn.Read(b)
		switch {
		case s.ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		case !c.packet(b[:n], n, now):
			return errors.New("the server ended the session")
		}
	}
}
