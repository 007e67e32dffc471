package service

import "sync"

// A Metric is a family of numbers for Prometheus.
type Metric struct {
	// Name is the whole name, "weir_hook_calls_total"; a counter's ends in _total.
	Name, Help string
	Counter    bool // else a gauge
	Samples    []Sample
}

// A Sample is one number of a metric. The values of its labels must come from a
// set that no peer can enlarge.
type Sample struct {
	Labels []string // name, value, name, value ...
	Value  float64
}

// Metrics are what the parts have to tell besides what the desk and the hub know.
type Metrics struct {
	mu  sync.Mutex
	all []func() []Metric // guarded by mu
}

// Add has f asked at each scrape. It must return soon, and the same families each
// time.
func (m *Metrics) Add(f func() []Metric) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, f)
}

// Collect asks all parts.
func (m *Metrics) Collect() (all []Metric) {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	fs := m.all
	m.mu.Unlock()
	for _, f := range fs {
		all = append(all, f()...)
	}
	return all
}
