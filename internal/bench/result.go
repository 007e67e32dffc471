package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// A Result is what a run measured. Figures that could not be measured are 0.
type Result struct {
	Name     string `json:"name,omitempty"`
	Play     string `json:"play"`
	Protocol string `json:"protocol"`
	Streams  int    `json:"streams"`
	// Viewers is how many played at the end, Failed how many never had a
	// picture, and Lost how many had one and ended before the end.
	Viewers int `json:"viewers"`
	Failed  int `json:"failed"`
	Lost    int `json:"lost"`
	// Seconds is how long the window was.
	Seconds float64 `json:"seconds"`
	// Mbps is what all viewers got, in Mbit/s.
	Mbps float64 `json:"mbps"`
	// FPS is what a probe got, on the average.
	FPS float64 `json:"fps"`
	// The delay is from the publisher's write to the probe's read, for HLS to
	// the arrival of the segment.
	DelayP50 float64 `json:"delay_p50_ms"`
	DelayP99 float64 `json:"delay_p99_ms"`
	Delays   int     `json:"delays"` // how many were measured
	// First is from dialling to the first key frame, for HLS to the end of the
	// first segment.
	FirstP50 float64 `json:"first_p50_ms"`
	FirstP99 float64 `json:"first_p99_ms"`
	// Stalls is how often nothing came for 500 ms, for HLS no segment for twice
	// the target duration.
	Stalls int64 `json:"stalls"`
	// Packets is how many packets of RTP all viewers got, and Missed how many of
	// those that were sent they did not get; WebRTC alone.
	Packets int64 `json:"packets,omitempty"`
	Missed  int64 `json:"packets_missed,omitempty"`

	// Cost is what it took the server, nil if no process was named.
	Cost *Cost `json:"cost,omitempty"`
	// Client is the CPU of this program, Soft that of the kernel's soft
	// interrupt threads, and Busy the whole machine's, all in percent: of a core
	// the first two, of all of them the last.
	Client float64 `json:"client_cpu_pct"`
	Soft   float64 `json:"softirq_cpu_pct"`
	Busy   float64 `json:"machine_busy_pct"`

	// Interrupted says that the run did not come to its end.
	Interrupted bool `json:"interrupted,omitempty"`
	// Notes say what was not measured, and what failed first.
	Notes []string `json:"notes,omitempty"`
}

// A Cost is what the processes of a server used in the window.
type Cost struct {
	// PerGbit is CPU seconds per Gbit that the viewers got.
	PerGbit float64 `json:"cpu_s_per_gbit"`
	// CPU is in percent of one core.
	CPU float64 `json:"cpu_pct"`
	// PerViewer is CPU milliseconds per viewer and second.
	PerViewer float64 `json:"cpu_ms_per_viewer_s"`
	// PerPacket is CPU microseconds per packet and viewer, of WebRTC, and PerJoin CPU
	// milliseconds per viewer from before they came until all had a picture, what they
	// were sent meanwhile included.
	PerPacket float64 `json:"cpu_us_per_packet,omitempty"`
	PerJoin   float64 `json:"cpu_ms_per_join"`
	// System is the kernel's share, 0 to 1.
	System float64 `json:"system_share"`
	// RSS is the resident memory at the end, in bytes, and RSSPerViewer what it
	// grew since before the viewers joined, for each.
	RSS          int64   `json:"rss_bytes"`
	RSSPerViewer float64 `json:"rss_bytes_per_viewer"`
}

func (r *Result) note(text string) { r.Notes = append(r.Notes, text) }

// result makes figures of what lies between two counts.
func (r *run) result(began, ended count) *Result {
	res := &Result{
		Name: r.Name, Play: r.Play, Protocol: string(r.kind), Streams: r.Streams,
		Viewers: ended.playing, Failed: ended.failed, Lost: ended.lost,
		Seconds: ended.at.Sub(began.at).Seconds(),
		Stalls:  ended.stalls - began.stalls,
		Packets: ended.packets - began.packets, Missed: ended.missed - began.missed,
	}
	seconds := max(res.Seconds, 1e-3)
	res.Mbps = float64(ended.bytes-began.bytes) * 8 / 1e6 / seconds
	var first []float64
	var fps float64
	probes, waiting := 0, 0
	for _, v := range r.viewers {
		if t := v.first.Load(); t > 0 {
			first = append(first, float64(t)/1e6)
		} else if !v.over.Load() {
			waiting++
		}
		if v.probe && v.first.Load() > 0 { // one that was lost lowers the rate
			probes++
			if span := v.till.Load() - v.from.Load(); span > 0 {
				fps += float64(v.seen.Load()-1) * 1e9 / float64(span)
			}
		}
		if v.over.Load() {
			continue
		}
		if last := v.last.Load(); last != 0 && ended.at.UnixNano()-last > v.gap.Load() {
			res.Stalls++ // one that has not ended
		}
	}
	res.Failed += waiting
	if r.kind != kindHLS { // whose frames come in lumps
		fps = float64(ended.frames-began.frames) / seconds
	}
	res.FPS = fps / float64(max(probes, 1))
	res.FirstP50, res.FirstP99 = percentile(first, 50), percentile(first, 99)
	r.mu.Lock()
	defer r.mu.Unlock()
	delays := make([]float64, len(r.delays))
	for i, d := range r.delays {
		delays[i] = float64(d) / 1e6
	}
	res.Delays, res.DelayP50, res.DelayP99 = len(delays), percentile(delays, 50), percentile(delays, 99)
	if r.err != nil {
		res.note("the first viewer that failed: " + r.err.Error())
	}
	r.pubs.mu.Lock()
	defer r.pubs.mu.Unlock()
	if r.pubs.err != nil {
		res.note(fmt.Sprintf("publishers that failed: %d, the first: %v", r.pubs.failed.Load(), r.pubs.err))
	}
	return res
}

// cost fills in what the processes used from one sample to the other; before is
// from before the viewers came.
func (r *Result) cost(before, from, to usage, bytes int64) {
	seconds := max(to.at.Sub(from.at).Seconds(), 1e-3)
	percent := func(d time.Duration) float64 { return d.Seconds() / seconds * 100 }
	r.Client, r.Soft = percent(to.self-from.self), percent(to.soft-from.soft)
	if to.all > from.all {
		r.Busy = 100 - 100*float64(to.idle-from.idle)/float64(to.all-from.all)
	}
	if to.cpu == 0 || from.cpu == 0 {
		return
	}
	cpu := (to.cpu - from.cpu).Seconds()
	viewers := float64(max(r.Viewers, 1))
	c := &Cost{
		CPU: cpu / seconds * 100, PerViewer: cpu * 1000 / seconds / viewers,
		RSS: to.rss, RSSPerViewer: float64(to.rss-before.rss) / viewers,
	}
	if bytes > 0 {
		c.PerGbit = cpu / (float64(bytes) * 8 / 1e9)
	}
	if r.Packets > 0 {
		c.PerPacket = cpu * 1e6 / float64(r.Packets)
	}
	if all := to.user + to.sys - from.user - from.sys; all > 0 {
		c.System = float64(to.sys-from.sys) / float64(all)
	}
	r.Cost = c
}

// joining fills in what the viewers' coming cost.
func (r *Result) joining(before, after usage) {
	if r.Cost != nil && before.cpu > 0 {
		r.Cost.PerJoin = (after.cpu - before.cpu).Seconds() * 1000 / float64(max(r.Viewers, 1))
	}
}

// percentile returns the smallest value that p percent of all do not exceed, 0
// of none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Table writes results for a reader.
func Table(w io.Writer, results ...*Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(r *Result) string) {
		fmt.Fprint(t, name, "\t")
		for _, r := range results {
			fmt.Fprint(t, cell(r), "\t")
		}
		fmt.Fprintln(t)
	}
	cost := func(name, format string, value func(c *Cost) float64) {
		if slices.ContainsFunc(results, func(r *Result) bool { return r.Cost != nil }) {
			row(name, func(r *Result) string {
				if r.Cost == nil {
					return "-"
				}
				return fmt.Sprintf(format, value(r.Cost))
			})
		}
	}
	if slices.ContainsFunc(results, func(r *Result) bool { return r.Name != "" }) {
		row("", func(r *Result) string { return r.Name })
	}
	row("protocol", func(r *Result) string { return r.Protocol })
	row("streams", func(r *Result) string { return fmt.Sprint(r.Streams) })
	row("viewers", func(r *Result) string { return fmt.Sprint(r.Viewers) })
	row("failed, lost", func(r *Result) string { return fmt.Sprintf("%d, %d", r.Failed, r.Lost) })
	row("measured s", func(r *Result) string { return fmt.Sprintf("%.1f", r.Seconds) })
	row("Mbit/s", func(r *Result) string { return fmt.Sprintf("%.1f", r.Mbps) })
	row("frames/s", func(r *Result) string { return fmt.Sprintf("%.1f", r.FPS) })
	row("first picture ms p50", func(r *Result) string { return fmt.Sprintf("%.1f", r.FirstP50) })
	row("first picture ms p99", func(r *Result) string { return fmt.Sprintf("%.1f", r.FirstP99) })
	delay := func(ms float64, r *Result) string {
		if r.Delays == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", ms)
	}
	row("delay ms p50", func(r *Result) string { return delay(r.DelayP50, r) })
	row("delay ms p99", func(r *Result) string { return delay(r.DelayP99, r) })
	row("stalls", func(r *Result) string { return fmt.Sprint(r.Stalls) })
	packets := slices.ContainsFunc(results, func(r *Result) bool { return r.Packets > 0 })
	if packets {
		row("packets, missed", func(r *Result) string { return fmt.Sprintf("%d, %d", r.Packets, r.Missed) })
	}
	cost("CPU s/Gbit", "%.4f", func(c *Cost) float64 { return c.PerGbit })
	cost("CPU % of a core", "%.1f", func(c *Cost) float64 { return c.CPU })
	cost("CPU ms/viewer/s", "%.3f", func(c *Cost) float64 { return c.PerViewer })
	if packets {
		cost("CPU us/packet", "%.2f", func(c *Cost) float64 { return c.PerPacket })
	}
	cost("CPU ms/join", "%.2f", func(c *Cost) float64 { return c.PerJoin })
	cost("in the kernel %", "%.0f", func(c *Cost) float64 { return 100 * c.System })
	cost("memory MB", "%.1f", func(c *Cost) float64 { return float64(c.RSS) / 1e6 })
	cost("memory KB/viewer", "%.1f", func(c *Cost) float64 { return c.RSSPerViewer / 1e3 })
	row("this program CPU %", func(r *Result) string { return fmt.Sprintf("%.1f", r.Client) })
	row("ksoftirqd CPU %", func(r *Result) string { return fmt.Sprintf("%.1f", r.Soft) })
	row("machine busy %", func(r *Result) string { return fmt.Sprintf("%.0f", r.Busy) })
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		notes := r.Notes
		if r.Interrupted {
			notes = append([]string{"interrupted"}, notes...)
		}
		for _, n := range notes {
			if r.Name != "" {
				n = r.Name + ": " + n
			}
			if _, err := fmt.Fprintln(w, "note:", n); err != nil {
				return err
			}
		}
	}
	return nil
}
