package service

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"weir/internal/hub"
	"weir/internal/store"
)

// ErrFault is what ended a session in which our own code failed.
var ErrFault = errors.New("internal fault")

// NewStore returns the store of a hub's streams.
func NewStore(log *slog.Logger, h *hub.Hub) *store.Store {
	return store.New(h, func(key hub.Key, f func() error) error { return Guard(log.With("stream", key.String()), f) })
}

// Guard calls f and makes a panic in it an error that wraps [ErrFault]. It stands
// at the root of each goroutine that handles what a peer sends, so that a fault
// that its bytes bring out ends its session and no other; it excuses none, and is
// written to the log with its stack.
func Guard(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrFault, p)
			log.Error("internal fault, please report it", "fault", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	return f()
}
