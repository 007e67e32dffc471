package hook

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"weir/internal/service"
)

// call is a kind of callback and what came of it: "accepted", "refused" or
// "failed".
type call struct{ action, result string }

type counts struct {
	mu sync.Mutex
	n  map[call]uint64 // guarded by mu
}

func (c *counts) add(action string, err error) {
	result := "accepted"
	switch {
	case err == nil:
	case undecided(err):
		result = "failed"
	default:
		result = "refused"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[call]uint64{}
	}
	c.n[call{action, result}]++
}

// metrics tells of the calls and of the queue.
func (h *Hooks) metrics() []service.Metric {
	h.count.mu.Lock()
	n := maps.Clone(h.count.n)
	h.count.mu.Unlock()
	var calls []service.Sample
	for _, c := range slices.SortedFunc(maps.Keys(n), func(a, b call) int { return cmp.Or(cmp.Compare(a.action, b.action), cmp.Compare(a.result, b.result)) }) {
		calls = append(calls, service.Sample{Labels: []string{"action", c.action, "result", c.result}, Value: float64(n[c])})
	}
	h.queue.mu.Lock()
	waiting, lost := h.queue.waiting, h.queue.lost
	h.queue.mu.Unlock()
	return []service.Metric{
		{Name: "weir_hook_calls_total", Help: "Callbacks by what came of them; failed ones did not decide.", Counter: true, Samples: calls},
		{Name: "weir_hook_waiting", Help: "Notifications that are not sent yet.", Samples: []service.Sample{{Value: float64(waiting)}}},
		{Name: "weir_hook_lost_total", Help: "Notifications that were given up.", Counter: true, Samples: []service.Sample{{Value: float64(lost)}}},
	}
}
