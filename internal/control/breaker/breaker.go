// Package breaker watches the processor and says what is to be left undone while it
// is busy, as SRS's circuit_breaker does.
//
// What counts is the share of all processors that the process may use, a quota of
// its control group included, not of one core. What viewers do not see goes first;
// only when that is not enough are new players refused. What is left undone is told
// in the log and in /api/v1/summaries.
package breaker

import (
	"context"
	"fmt"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/host"
	"weir/internal/service"
	"weir/internal/session"
)

// Breaker is a service and an authorizer. Make one with New.
type Breaker struct {
	env  service.Env
	cpus func() float64 // how many the process may use
	used func() float64 // processor seconds so far

	high, critical, dying int // for how many seconds it has been so
}

// New returns a breaker, which sets env.Busy.
func New(env service.Env) *Breaker {
	b := &Breaker{env: env, cpus: host.CPUs, used: host.CPUSeconds}
	env.Metrics.Add(func() []service.Metric {
		return []service.Metric{{Name: "weir_circuit_breaker_level", Help: "How busy the processor is: 0 easy, 1 high, 2 critical, 3 dying.",
			Samples: []service.Sample{{Value: float64(env.Busy.Load())}}}}
	})
	return b
}

// ErrBusy refuses new players.
var ErrBusy = &session.Error{Code: 1074, Text: "the server is too busy"}

// Authorize implements session.Authorizer.
func (b *Breaker) Authorize(_ context.Context, r *session.Request) error {
	if r.Act == session.Play && b.env.Busy.Load() == service.Dying {
		return ErrBusy
	}
	return nil
}

// Run implements service.Service.
func (b *Breaker) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	at, used := time.Now(), b.used()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		now, sum := time.Now(), b.used()
		b.judge(100 * (sum - used) / now.Sub(at).Seconds() / b.cpus())
		at, used = now, sum
	}
}

// judge takes the percentage of the last second.
func (b *Breaker) judge(percent float64) {
	c := blocks.Breaker.In(b.env.Conf.Load())
	over := func(n *int, threshold int) int {
		if *n++; percent <= float64(threshold) {
			*n = 0
		}
		return *n
	}
	high, critical, dying := over(&b.high, c.HighThreshold), over(&b.critical, c.CriticalThreshold), over(&b.dying, c.DyingThreshold)
	level := service.Easy
	switch {
	case !c.Enabled:
	case dying > max(0, c.DyingPulse):
		level = service.Dying
	case critical >= max(1, c.CriticalPulse):
		level = service.Critical
	case high >= max(1, c.HighPulse):
		level = service.High
	}
	if level == b.env.Busy.Load() {
		return
	}
	b.env.Busy.Set(level)
	b.tell(level, percent)
}

// sheds is what is left undone.
var sheds = map[service.Load]string{
	service.High:     "on_hls_notify and bandwidth tests are left undone",
	service.Critical: "on_hls_notify and bandwidth tests are left undone",
	service.Dying:    "on_hls_notify and bandwidth tests are left undone, new players are refused",
}

func (b *Breaker) tell(level service.Load, percent float64) {
	text := ""
	if level == service.Easy {
		b.env.Log.Info(fmt.Sprintf("CircuitBreaker: cpu=%.0f%%, all is done again", percent))
	} else {
		text = fmt.Sprintf("the processor is busy (%s): %s", level, sheds[level])
		b.env.Log.Warn(fmt.Sprintf("CircuitBreaker: cpu=%.0f%% of %.1f processors, %s: %s", percent, b.cpus(), level, sheds[level]))
	}
	b.env.Notices.Set("circuit_breaker", text)
}
