//go:build !linux

package sender

import (
	"context"
	"log/slog"
)

// Replies is for Linux only.
type Replies struct{}

// NewReplies returns nil: elsewhere the HTTP server answers everything.
func NewReplies(*slog.Logger) *Replies { return nil }

// Take does nothing and returns false.
func (*Replies) Take(Caller) bool { return false }

// Run waits for ctx to be done.
func (*Replies) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
