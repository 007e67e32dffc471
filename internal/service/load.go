package service

import "sync/atomic"

// A Load is how busy the processor is, as the circuit breaker judges it.
type Load int32

// The loads. From High on, work is left undone that viewers do not see; Dying
// means that there is no processor for newcomers.
const (
	Easy Load = iota
	High
	Critical
	Dying
)

// String returns SRS's word.
func (l Load) String() string { return [...]string{"easy", "high", "critical", "dying"}[l] }

// LoadGauge holds the load of now. A nil one says Easy.
type LoadGauge struct{ level atomic.Int32 }

// Set changes the load.
func (g *LoadGauge) Set(l Load) { g.level.Store(int32(l)) }

// Load returns it.
func (g *LoadGauge) Load() Load {
	if g == nil {
		return Easy
	}
	return Load(g.level.Load())
}
