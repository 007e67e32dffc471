package forward

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"weir/internal/service"
	"weir/internal/session"
)

// totals are of lines that have ended.
type totals struct{ bytes, dropped, attempts uint64 }

func (t *totals) add(l *line) {
	r := l.row()
	t.bytes += uint64(r.Bytes)
	t.dropped += uint64(r.Dropped)
	t.attempts += uint64(r.Attempts)
}

// row is what the API tells of a line.
type row struct {
	Vhost  string `json:"vhost"`
	App    string `json:"app"`
	Stream string `json:"stream"`
	// Client is who publishes the stream.
	Client string `json:"client_id"`
	URL    string `json:"url"`
	State  string `json:"state"` // connecting, sending, waiting or loop
	// StateMS is for how long it has been so.
	StateMS  int64  `json:"state_ms"`
	Attempts int    `json:"attempts"`
	Bytes    int64  `json:"send_bytes"`
	Dropped  int64  `json:"dropped_frames"`
	Error    string `json:"error"` // the last one
	// LeftOut are codecs that the destination does not take.
	LeftOut []string `json:"left_out"`
}

type page struct {
	Total    int   `json:"total"`
	Forwards []row `json:"forwards"`
}

func (l *line) row() row {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := l.publication.Stream().Key
	r := row{Vhost: key.Vhost, App: key.App, Stream: key.Stream, Client: l.session.ID, URL: session.Mask(l.to.url()), State: l.state,
		StateMS: time.Since(l.since).Milliseconds(), Attempts: l.attempts, Bytes: int64(l.bytes), Dropped: int64(l.dropped), LeftOut: append([]string{}, l.left...)}
	if l.sent != nil {
		r.Bytes += int64(l.sent())
	}
	if l.sub != nil {
		lost, _ := l.sub.Dropped()
		r.Dropped += int64(lost)
	}
	if l.err != nil {
		r.Error = session.Mask(l.err.Error())
	}
	return r
}

// rows returns all that is sent now, by stream and destination.
func (s *server) rows() (all []row) {
	s.mu.Lock()
	for l := range s.lines {
		all = append(all, l.row())
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.URL, b.URL))
	})
	return all
}

// longestPage is how many rows one answer has at most.
const longestPage = 1000

func (s *server) endpoints() []service.Endpoint {
	return []service.Endpoint{{Method: "GET", Path: "forwards/", Summary: "streams that are sent to other servers, and how that goes", Reply: page{},
		Params: [][2]string{{"vhost", "of one vhost"}, {"app", "of one app"}, {"stream", "of one stream"}},
		Answer: func(r *http.Request) (any, *service.Refusal) {
			q := r.URL.Query()
			is := func(name, value string) bool { return !q.Has(name) || q.Get(name) == value }
			all := slices.DeleteFunc(s.rows(), func(r row) bool {
				return !is("vhost", r.Vhost) || !is("app", r.App) || !is("stream", r.Stream)
			})
			return page{len(all), append([]row{}, all[:min(len(all), longestPage)]...)}, nil
		}}}
}

// metrics are the numbers for Prometheus.
func (s *server) metrics() []service.Metric {
	states := map[string]float64{connecting: 0, sending: 0, waiting: 0, looped: 0}
	rows := s.rows()
	s.mu.Lock()
	sum := s.total
	s.mu.Unlock()
	for _, r := range rows {
		states[r.State]++
		sum.bytes += uint64(r.Bytes)
		sum.dropped += uint64(r.Dropped)
		sum.attempts += uint64(r.Attempts)
	}
	var now []service.Sample
	for _, state := range []string{connecting, sending, waiting, looped} {
		now = append(now, service.Sample{Labels: []string{"state", state}, Value: states[state]})
	}
	one := func(v uint64) []service.Sample { return []service.Sample{{Value: float64(v)}} }
	return []service.Metric{
		{Name: "weir_forwards", Help: "Streams on their way to a destination, by state.", Samples: now},
		{Name: "weir_forward_attempts_total", Help: "Times that a destination was tried.", Counter: true, Samples: one(sum.attempts)},
		{Name: "weir_forward_bytes_total", Help: "Bytes sent to destinations.", Counter: true, Samples: one(sum.bytes)},
		{Name: "weir_forward_dropped_frames_total", Help: "Frames that a destination was too slow for.", Counter: true, Samples: one(sum.dropped)},
	}
}
