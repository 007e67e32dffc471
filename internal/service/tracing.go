package service

import (
	"context"
	"net/http"
)

// Tracing is where parts tell what they do for somebody who begins to publish or play,
// when traces are on. A nil Tracing, and one that is off, cost a comparison.
type Tracing struct {
	// Begin opens a span named by what is done, with attributes in pairs of name and
	// value. The function that it returns ends it, with the error that came of it.
	Begin func(ctx context.Context, name string, attributes ...string) (context.Context, func(error))
	// Carry writes which span a request is made for into its header.
	Carry func(ctx context.Context, h http.Header)
}

// Span is Begin where traces are on.
func (t *Tracing) Span(ctx context.Context, name string, attributes ...string) (context.Context, func(error)) {
	if t == nil || t.Begin == nil {
		return ctx, func(error) {}
	}
	return t.Begin(ctx, name, attributes...)
}

// Tell is Carry where traces are on.
func (t *Tracing) Tell(ctx context.Context, h http.Header) {
	if t != nil && t.Carry != nil {
		t.Carry(ctx, h)
	}
}
