// Package metrics answers Prometheus: SRS's metrics under their names, and more.
//
// Everything is asked of the desk, the hub and the parts at the scrape; nothing is
// kept. Labels have values that the operator or the code sets, but for those of
// streams, of which only so many have metrics of their own.
package metrics

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// Metrics is the handler. Make one with New.
type Metrics struct {
	env service.Env
	os  host.Uname
}

// New returns the handler.
func New(env service.Env) *Metrics { return &Metrics{env, host.Name()} }

// Handle answers with the metrics, or returns false if the exporter is off.
func (m *Metrics) Handle(w http.ResponseWriter, r *http.Request) bool {
	conf := blocks.Exporter.In(m.env.Conf.Load())
	if !conf.Enabled {
		return false
	}
	var b bytes.Buffer
	for _, family := range slices.Concat(m.srs(conf), m.sessions(), m.streams(conf.Streams), m.process(), m.env.Metrics.Collect()) {
		write(&b, family)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.Write(b.Bytes())
	return true
}

func write(w io.StringWriter, m service.Metric) {
	kind := "gauge"
	if m.Counter {
		kind = "counter"
	}
	w.WriteString("# HELP " + m.Name + " " + strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(m.Help) + "\n# TYPE " + m.Name + " " + kind + "\n")
	for _, s := range m.Samples {
		w.WriteString(m.Name)
		for i := 0; i+1 < len(s.Labels); i += 2 {
			w.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + s.Labels[i] + `="` + escape.Replace(strings.ToValidUTF8(s.Labels[i+1], "?")) + `"`)
		}
		if len(s.Labels) > 1 {
			w.WriteString("}")
		}
		w.WriteString(" " + number(s.Value) + "\n")
	}
}

var escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`)

func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func one(v float64, labels ...string) []service.Sample {
	return []service.Sample{{Labels: labels, Value: v}}
}

func gauge(name, help string, samples []service.Sample) service.Metric {
	return service.Metric{Name: name, Help: help, Samples: samples}
}

func counter(name, help string, samples []service.Sample) service.Metric {
	return service.Metric{Name: name, Help: help, Counter: true, Samples: samples}
}

// srs has SRS's metrics, in its order and words.
func (m *Metrics) srs(conf *blocks.ExporterConfig) []service.Metric {
	traffic := m.env.Desk.Traffic()[""]
	watchers := m.env.Desk.Watchers()
	clients := 0
	for _, n := range watchers {
		clients += n
	}
	_, ever := m.env.Desk.Len()
	ended, _ := m.env.Desk.Tally()
	errs := int64(0)
	for code, n := range ended {
		if code != 0 {
			errs += n
		}
	}
	major, _, _ := strings.Cut(m.env.Level, ".")
	build := []string{"server", m.env.ID, "service", m.env.Service, "pid", strconv.Itoa(m.env.PID), "build_date", m.env.Started.UTC().Format(time.DateTime),
		"major", major, "version", m.env.Level, "code", m.env.Identity.Server}
	if conf.Label != "" {
		build = append(build, "label", conf.Label)
	}
	if conf.Tag != "" {
		build = append(build, "tag", conf.Tag)
	}
	return []service.Metric{
		gauge("srs_node_uname_info", "Labeled system information as provided by the uname system call.",
			one(1, "sysname", m.os.Sysname, "nodename", m.os.Nodename, "release", m.os.Release, "version", m.os.Version, "machine", m.os.Machine)),
		gauge("srs_build_info", "A metric with a constant '1' value labeled by build_date, version from which SRS was built.", one(1, build...)),
		gauge("srs_cpu_percent", "SRS cpu used percent.", one(m.env.Host.CPU()*100)),
		gauge("srs_memory", "SRS memory used.", one(float64(host.Resident()))),
		counter("srs_send_bytes_total", "SRS total sent bytes.", one(float64(traffic.Out))),
		counter("srs_receive_bytes_total", "SRS total received bytes.", one(float64(traffic.In))),
		gauge("srs_streams", "The number of SRS concurrent streams.", one(float64(len(watchers)))),
		gauge("srs_clients", "The number of SRS concurrent clients.", one(float64(clients))),
		counter("srs_clients_total", "The total counts of SRS clients.", one(float64(ever))),
		counter("srs_clients_errs_total", "The total errors of SRS clients.", one(float64(errs))),
	}
}

// sessions has who is there, who ended and who was refused.
func (m *Metrics) sessions() []service.Metric {
	type kind struct{ protocol, act string }
	present := map[kind]int{}
	for s := range m.env.Desk.Sessions() {
		act, _, _ := s.Doing()
		present[kind{s.Protocol, act.String()}]++
	}
	var now []service.Sample
	for _, k := range slices.SortedFunc(maps.Keys(present), func(a, b kind) int { return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.act, b.act)) }) {
		now = append(now, service.Sample{Labels: []string{"protocol", k.protocol, "act", k.act}, Value: float64(present[k])})
	}
	ended, refused := m.env.Desk.Tally()
	var ends, no []service.Sample
	for _, code := range slices.Sorted(maps.Keys(ended)) {
		ends = append(ends, service.Sample{Labels: []string{"code", strconv.Itoa(code)}, Value: float64(ended[code])})
	}
	byAct := func(a, b session.Refusal) int { return cmp.Or(cmp.Compare(a.Act, b.Act), cmp.Compare(a.Code, b.Code)) }
	for _, k := range slices.SortedFunc(maps.Keys(refused), byAct) {
		no = append(no, service.Sample{Labels: []string{"act", k.Act.String(), "code", strconv.Itoa(k.Code)}, Value: float64(refused[k])})
	}
	return []service.Metric{
		gauge("weir_build_info", "A constant 1, labeled by the version of weir and of Go.", one(1, "version", m.env.Version, "goversion", runtime.Version())),
		gauge("weir_sessions", "Sessions that are there, by protocol and by what they do.", now),
		counter("weir_sessions_ended_total", "Sessions that ended, by SRS's number of the reason; 0 is a usual end.", ends),
		counter("weir_refusals_total", "What was asked for and not granted, by SRS's number of the reason.", no),
	}
}

// others is the stream label of those that have no metrics of their own.
const others = "_others"

// streams has the metrics of streams that somebody publishes, of the first of them
// by name each, of the others together.
func (m *Metrics) streams(most int) []service.Metric {
	all := maps.Collect(m.env.Hub.All())
	watchers := m.env.Desk.Watchers()
	traffic := m.env.Desk.Traffic()
	keys := slices.SortedFunc(maps.Keys(all), func(a, b hub.Key) int { return strings.Compare(a.String(), b.String()) })
	columns := []struct {
		service.Metric
		value func(hub.Key, *hub.Stream, hub.Counters) float64
	}{
		{counter("weir_stream_frames_total", "Frames that came in, of all kinds.", nil), func(_ hub.Key, _ *hub.Stream, c hub.Counters) float64 { return float64(c.Frames) }},
		{counter("weir_stream_key_frames_total", "Key frames that came in.", nil), func(_ hub.Key, _ *hub.Stream, c hub.Counters) float64 { return float64(c.Keys) }},
		{counter("weir_stream_dropped_frames_total", "Frames that slow viewers lost, all viewers together.", nil), func(_ hub.Key, _ *hub.Stream, c hub.Counters) float64 { return float64(c.Dropped) }},
		{counter("weir_stream_receive_bytes_total", "Bytes that came from publishers.", nil), func(_ hub.Key, s *hub.Stream, _ hub.Counters) float64 { return float64(traffic[s.ID].In) }},
		{counter("weir_stream_send_bytes_total", "Bytes that went to viewers.", nil), func(_ hub.Key, s *hub.Stream, _ hub.Counters) float64 { return float64(traffic[s.ID].Out) }},
		{gauge("weir_stream_viewers", "Viewers, on every protocol.", nil), func(k hub.Key, _ *hub.Stream, _ hub.Counters) float64 { return float64(watchers[k] - 1) }},
	}
	out := make([]service.Metric, len(columns))
	for i, c := range columns {
		out[i] = c.Metric
	}
	live, rest := 0, make([]float64, len(columns))
	for _, k := range keys {
		s := all[k]
		if !s.Live() {
			continue
		}
		live++
		counters := s.Counters()
		for i, c := range columns {
			v := max(0, c.value(k, s, counters))
			if live > most {
				rest[i] += v
				continue
			}
			out[i].Samples = append(out[i].Samples, service.Sample{Labels: []string{"vhost", k.Vhost, "app", k.App, "stream", k.Stream}, Value: v})
		}
	}
	if live > most {
		for i := range out {
			if !out[i].Counter { // a sum over those who happen to be there is no counter
				out[i].Samples = append(out[i].Samples, service.Sample{Labels: []string{"vhost", "", "app", "", "stream", others}, Value: rest[i]})
			}
		}
	}
	return append(out, gauge("weir_streams_live", "Streams that somebody publishes.", one(float64(live))),
		gauge("weir_stream_memory_bytes", "Memory that the streams' frames take.", one(float64(m.env.Hub.Bytes()))))
}

// process has the usual metrics of a process, under their usual names.
func (m *Metrics) process() []service.Metric {
	all := []service.Metric{
		counter("process_cpu_seconds_total", "Processor time of user and system in seconds.", one(host.CPUSeconds())),
		gauge("process_resident_memory_bytes", "Resident memory in bytes.", one(float64(host.Resident()*1024))),
		gauge("process_start_time_seconds", "Start of the process in seconds since 1970.", one(float64(m.env.Started.UnixMilli())/1000)),
		gauge("go_goroutines", "Goroutines that there are.", one(float64(runtime.NumGoroutine()))),
	}
	if d, err := os.ReadDir("/proc/self/fd"); err == nil {
		all = append(all, gauge("process_open_fds", "Open descriptors.", one(float64(len(d)))))
	}
	return all
}
