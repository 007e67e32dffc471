package service

import (
	"context"
	"net/url"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/store/past"
)

// TimeShift is the part that keeps what streams were; Past is what it keeps, for Env.
type TimeShift struct {
	env  Env
	Past *past.Archive
}

// NewTimeShift returns the part, which is to run in the phase of sinks.
func NewTimeShift(env Env) *TimeShift {
	t := &TimeShift{env: env}
	t.Past = past.New(past.Options{Log: env.Log, Hub: env.Hub, Store: env.Store, Notice: env.Notices.Set, Shared: env.Handover.HasElder, Left: env.Handover.Left,
		Settings: func(vhost string) past.Settings {
			v, ok := env.Conf.Load().Vhost(vhost)
			return settingsOf(v, ok && v.Name == vhost)
		},
		Vhosts: func() (all []string) {
			for _, v := range env.Conf.Load().Vhosts() {
				all = append(all, v.Name)
			}
			return all
		}})
	env.Hub.OnPublish(t.Past.Published)
	env.Metrics.Add(t.metrics)
	return t
}

// metrics are the numbers for Prometheus.
func (t *TimeShift) metrics() []Metric {
	var bytes int64
	for _, v := range t.env.Conf.Load().Vhosts() {
		bytes += t.Past.Bytes(v.Name)
	}
	return []Metric{
		{Name: "weir_time_shift_bytes", Help: "Bytes on disk of what streams were", Samples: []Sample{{Value: float64(bytes)}}},
		{Name: "weir_time_shift_lost_segments_total", Help: "Segments of what streams were that a disk was too slow or too full for", Counter: true, Samples: []Sample{{Value: float64(t.Past.Lost.Load())}}},
	}
}

func settingsOf(v *config.Vhost, known bool) past.Settings {
	c := blocks.TimeShift.Of(v)
	if !known || !v.Enabled || !c.Enabled {
		return past.Settings{}
	}
	return past.Settings{Window: c.Window, Dir: c.Path, Size: int64(c.Size) << 20, Fragment: c.Fragment}
}

// Run implements Service.
func (t *TimeShift) Run(ctx context.Context) error { return t.Past.Run(ctx) }

// Prepare implements Preparer: what is turned on keeps streams that are live, and what is
// turned off ends that; files stay.
func (t *TimeShift) Prepare(context.Context, *config.Snapshot, *config.Snapshot) (Turn, error) {
	return Turn{Commit: func() {
		for key, st := range t.env.Hub.All() {
			t.Past.Follow(key, st.Shown())
		}
	}}, nil
}

// StartOf returns where a player of a vhost's stream wants to begin, by the parameter start
// of what it said, and whether it says so: where nothing is kept start means nothing, as in
// SRS. The error is of a start that is none.
func (e *Env) StartOf(vhost, param string) (s past.Start, asks bool, err error) {
	if !strings.Contains(param, "start=") || !e.Past.Keeps(vhost) {
		return s, false, nil
	}
	q, _ := url.ParseQuery(strings.TrimLeft(param, "?"))
	if !q.Has("start") {
		return s, false, nil
	}
	s, err = past.ParseStart(q.Get("start"))
	return s, true, err
}

// Play plays a stream's past, and says how far behind live that is. ends says that it ends
// with the stream. The error is one of past's.
func (e *Env) Play(key hub.Key, s past.Start, ends bool) (*past.Reader, time.Duration, error) {
	t, err := e.Past.Tape(key)
	if err != nil {
		return nil, 0, err
	}
	return t.Play(s, ends)
}
