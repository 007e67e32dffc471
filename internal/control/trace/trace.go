// Package trace sends spans of OpenTelemetry to a collector, over HTTP (OTLP): what it
// took from the wish to publish or play until it was granted or refused, callbacks and
// the keys of tokens included. There is none per frame.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/session"
)

const (
	// patience bounds a call of the collector, and the last one when the server stops.
	patience = 5 * time.Second
	// waiting is how many spans wait for the collector; what comes then is lost.
	waiting = 2048
)

// Trace is a service. Make one with New.
type Trace struct {
	log      *slog.Logger
	provider *sdk.TracerProvider // nil if traces are off
	tracer   trace.Tracer
}

// New returns the service, and has t tell it what parts do, if the configuration has
// traces on.
func New(env service.Env, t *service.Tracing) (*Trace, error) {
	c := blocks.Traces.In(env.Conf.Load())
	if !c.Enabled {
		return &Trace{}, nil
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(c.Endpoint), otlptracehttp.WithTimeout(patience))
	if err != nil {
		return nil, fmt.Errorf("traces to %s: %w", c.Endpoint, err)
	}
	s := &Trace{log: env.Log}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { s.log.Warn("traces", "url", session.Mask(c.Endpoint), "err", err) }))
	s.provider = sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(waiting), sdk.WithExportTimeout(patience)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(c.Ratio))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", c.Service), attribute.String("service.version", env.Version),
			attribute.String("service.instance.id", env.ID))))
	s.tracer = s.provider.Tracer("weir")
	t.Begin = s.begin
	t.Carry = func(ctx context.Context, h http.Header) {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
	return s, nil
}

func (s *Trace) begin(ctx context.Context, name string, attributes ...string) (context.Context, func(error)) {
	ctx, span := s.tracer.Start(ctx, name)
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] != "" {
			span.SetAttributes(attribute.String(attributes[i], session.Mask(attributes[i+1])))
		}
	}
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, session.Mask(err.Error()))
			span.SetAttributes(attribute.Int("weir.code", session.Code(err)))
		}
		span.End()
	}
}

// Act opens the span of a request of the desk.
func Act(t *service.Tracing) func(context.Context, *session.Request) (context.Context, func(error)) {
	return func(ctx context.Context, r *session.Request) (context.Context, func(error)) {
		if t.Begin == nil {
			return ctx, func(error) {}
		}
		k := r.Ask.Key
		return t.Begin(ctx, r.Act.String(), "weir.protocol", r.Session.Protocol, "weir.vhost", k.Vhost, "weir.app", k.App, "weir.stream", k.Stream,
			"weir.client_id", r.Session.ID, "client.address", r.Session.IP)
	}
}

// Run implements service.Service. When the server stops, what waits is sent.
func (s *Trace) Run(ctx context.Context) error {
	<-ctx.Done()
	if s.provider == nil {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.provider.Shutdown(last); err != nil {
		s.log.Warn("traces: the last ones are lost", "err", err)
	}
	return nil
}
