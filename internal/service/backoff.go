package service

import (
	"math/rand/v2"
	"time"
)

// A Backoff says how long to wait before a server is tried again: First, then twice as
// long each time up to Most, give or take a fifth, so that many do not come at once.
// It is used by one goroutine.
type Backoff struct {
	First, Most time.Duration
	next        time.Duration
}

// Next returns the wait.
func (b *Backoff) Next() time.Duration {
	b.next = min(max(b.First, 2*b.next), b.Most)
	return b.next*4/5 + rand.N(b.next*2/5+1)
}

// Reset begins anew, after something went well.
func (b *Backoff) Reset() { b.next = 0 }
