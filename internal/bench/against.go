package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// MaxRounds and maxServers bound a comparison.
const (
	MaxRounds  = 20
	maxServers = 16
)

// A Comparison is several servers under the same load, in turns.
type Comparison struct {
	// Medians has one result per server, in the order of the file: the median
	// of each figure over the rounds.
	Medians []*Result `json:"medians"`
	// Ratios are those of each median to that of the first server.
	Ratios []Ratio `json:"ratios"`
	// Runs are all results, in the order of measuring.
	Runs []*Result `json:"runs"`
}

// A Ratio compares a server with the first one. 0 means that one of the two was
// not measured.
type Ratio struct {
	Name      string  `json:"name"`
	PerGbit   float64 `json:"cpu_s_per_gbit"`
	PerViewer float64 `json:"cpu_ms_per_viewer_s"`
	Memory    float64 `json:"rss_bytes_per_viewer"`
	DelayP50  float64 `json:"delay_p50_ms"`
	FirstP50  float64 `json:"first_p50_ms"`
	Mbps      float64 `json:"mbps"`
}

// serverList is the file of -against.
type serverList struct {
	Servers []struct {
		Name    string `json:"name"`
		PID     int    `json:"pid"`
		PIDs    []int  `json:"pids"`
		Publish string `json:"publish"`
		Play    string `json:"play"`
	} `json:"servers"`
}

// readServers returns the load of each server in a file.
func readServers(file string, load Options) ([]Options, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer f.Close()
	var list serverList
	d := json.NewDecoder(io.LimitReader(f, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", file, err)
	}
	if len(list.Servers) < 2 || len(list.Servers) > maxServers {
		return nil, fmt.Errorf("bench: %s names %d servers: want 2 to %d", file, len(list.Servers), maxServers)
	}
	var all []Options
	for _, s := range list.Servers {
		o := load
		o.Name, o.Publish, o.Play, o.PIDs = s.Name, s.Publish, s.Play, s.PIDs
		if s.PID != 0 {
			o.PIDs = append([]int{s.PID}, o.PIDs...)
		}
		if o.Name == "" {
			return nil, fmt.Errorf("bench: %s: a server has no name", file)
		}
		checked := o
		if _, err := checked.check(); err != nil {
			return nil, fmt.Errorf("%w (server %s)", err, o.Name)
		}
		all = append(all, o)
	}
	return all, nil
}

// Compare measures the servers of a file, which run already, in turns: A B A B,
// so that what changes on the machine meanwhile meets them alike. Addresses,
// names and processes of load are not used. When ctx is done it compares what
// was measured.
func Compare(ctx context.Context, file string, rounds int, load Options) (*Comparison, error) {
	servers, err := readServers(file, load)
	if err != nil {
		return nil, err
	}
	c := &Comparison{}
	of := make([][]*Result, len(servers))
	for round := range rounds {
		for i, o := range servers {
			if ctx.Err() != nil {
				break
			}
			if tell := load.Progress; tell != nil {
				o.Progress = func(line string) { tell(fmt.Sprintf("%d/%d %s: %s", round+1, rounds, o.Name, line)) }
			}
			r, err := Run(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("%w (server %s)", err, o.Name)
			}
			c.Runs = append(c.Runs, r)
			if !r.Interrupted {
				of[i] = append(of[i], r)
			}
		}
	}
	for _, results := range of {
		if len(results) == 0 {
			return nil, errors.New("bench: interrupted before each server was measured once")
		}
		c.Medians = append(c.Medians, medians(results))
	}
	for _, m := range c.Medians {
		c.Ratios = append(c.Ratios, ratio(m, c.Medians[0]))
	}
	return c, nil
}

// medians returns the median of each figure.
func medians(results []*Result) *Result {
	m := *results[0]
	m.Notes = nil
	of := func(value func(r *Result) float64) float64 {
		var all []float64
		for _, r := range results {
			all = append(all, value(r))
		}
		return median(all)
	}
	m.Viewers = int(of(func(r *Result) float64 { return float64(r.Viewers) }))
	m.Seconds = of(func(r *Result) float64 { return r.Seconds })
	m.Mbps = of(func(r *Result) float64 { return r.Mbps })
	m.FPS = of(func(r *Result) float64 { return r.FPS })
	m.DelayP50 = of(func(r *Result) float64 { return r.DelayP50 })
	m.DelayP99 = of(func(r *Result) float64 { return r.DelayP99 })
	m.FirstP50 = of(func(r *Result) float64 { return r.FirstP50 })
	m.FirstP99 = of(func(r *Result) float64 { return r.FirstP99 })
	m.Client = of(func(r *Result) float64 { return r.Client })
	m.Soft = of(func(r *Result) float64 { return r.Soft })
	m.Busy = of(func(r *Result) float64 { return r.Busy })
	// What should be 0 is added up: a median would hide it.
	m.Failed, m.Lost, m.Stalls, m.Delays = 0, 0, 0, 0
	for _, r := range results {
		m.Failed, m.Lost = m.Failed+r.Failed, m.Lost+r.Lost
		m.Stalls, m.Delays = m.Stalls+r.Stalls, m.Delays+r.Delays
		m.Notes = append(m.Notes, r.Notes...)
		if r.Cost == nil {
			m.Cost = nil
		}
	}
	if m.Cost != nil {
		m.Cost = &Cost{
			PerGbit:      of(func(r *Result) float64 { return r.Cost.PerGbit }),
			CPU:          of(func(r *Result) float64 { return r.Cost.CPU }),
			PerViewer:    of(func(r *Result) float64 { return r.Cost.PerViewer }),
			System:       of(func(r *Result) float64 { return r.Cost.System }),
			RSS:          int64(of(func(r *Result) float64 { return float64(r.Cost.RSS) })),
			RSSPerViewer: of(func(r *Result) float64 { return r.Cost.RSSPerViewer }),
		}
	}
	return &m
}

// median returns the value in the middle, of an even number the mean of the two
// there.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func ratio(a, b *Result) Ratio {
	by := func(a, b float64) float64 {
		if a <= 0 || b <= 0 {
			return 0
		}
		return a / b
	}
	r := Ratio{Name: a.Name, DelayP50: by(a.DelayP50, b.DelayP50), FirstP50: by(a.FirstP50, b.FirstP50), Mbps: by(a.Mbps, b.Mbps)}
	if a.Cost != nil && b.Cost != nil {
		r.PerGbit = by(a.Cost.PerGbit, b.Cost.PerGbit)
		r.PerViewer = by(a.Cost.PerViewer, b.Cost.PerViewer)
		r.Memory = by(a.Cost.RSSPerViewer, b.Cost.RSSPerViewer)
	}
	return r
}

// Table writes the medians and ratios for a reader.
func (c *Comparison) Table(w io.Writer) error {
	fmt.Fprintln(w, "Medians of all rounds; failures, losses and stalls are summed:")
	if err := Table(w, c.Medians...); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nAs a multiple of %s:\n", c.Ratios[0].Name)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value func(r Ratio) float64) {
		fmt.Fprint(t, name, "\t")
		for _, r := range c.Ratios {
			if v := value(r); v > 0 {
				fmt.Fprintf(t, "%.3f\t", v)
			} else {
				fmt.Fprint(t, "-\t")
			}
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "\t")
	for _, r := range c.Ratios {
		fmt.Fprint(t, r.Name, "\t")
	}
	fmt.Fprintln(t)
	row("CPU s/Gbit", func(r Ratio) float64 { return r.PerGbit })
	row("CPU ms/viewer/s", func(r Ratio) float64 { return r.PerViewer })
	row("memory per viewer", func(r Ratio) float64 { return r.Memory })
	row("delay p50", func(r Ratio) float64 { return r.DelayP50 })
	row("first picture p50", func(r Ratio) float64 { return r.FirstP50 })
	row("Mbit/s", func(r Ratio) float64 { return r.Mbps })
	return t.Flush()
}
