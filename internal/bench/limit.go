package bench

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// LimitOptions say what [Limit] sends. Zero fields mean the defaults.
type LimitOptions struct {
	// Viewers is to how many sockets (200), Mbps how much to each in Mbit/s (2).
	Viewers int
	Mbps    float64
	// Time is how long each way is measured (4 s), Rounds how often (3).
	Time   time.Duration
	Rounds int
	// Gather, if it is set, has only sending by io_uring and by write measured, with
	// so much gathered, for comparison with a server that gathers as much.
	Gather time.Duration
	// Progress is told what is being measured.
	Progress func(line string)
}

// ways returns what is to be measured.
func (o *LimitOptions) ways() []way {
	if o.Gather == 0 {
		return ways
	}
	return []way{
		{name: fmt.Sprintf("TCP, io_uring per %v", o.Gather), every: o.Gather, ring: true},
		{name: fmt.Sprintf("TCP, write per %v", o.Gather), every: o.Gather},
	}
}

// A Floor is what one way of sending costs, the median of all rounds.
type Floor struct {
	Way     string  `json:"way"`
	PerGbit float64 `json:"cpu_s_per_gbit"`
	// PerSend is the time of one send to one viewer.
	PerSend float64 `json:"cpu_us_per_send"`
	Mbps    float64 `json:"mbps"`
	// Why is why it was not measured.
	Why string `json:"why,omitempty"`
}

func (o *LimitOptions) check() error {
	if o.Viewers == 0 {
		o.Viewers = 200
	}
	if o.Mbps == 0 {
		o.Mbps = 2
	}
	if o.Time == 0 {
		o.Time = 4 * time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	switch {
	case o.Viewers < 1 || o.Viewers > 5000:
		return fmt.Errorf("bench: -viewers %d: want 1 to 5000", o.Viewers)
	case o.Mbps < 0.01 || o.Mbps > 100:
		return fmt.Errorf("bench: -mbps %g: want 0.01 to 100", o.Mbps)
	case o.Time < 100*time.Millisecond || o.Time > time.Minute:
		return fmt.Errorf("bench: -time %v: want 100ms to 1m", o.Time)
	case o.Gather < 0 || o.Gather > time.Second:
		return fmt.Errorf("bench: gather %v: want at most 1s", o.Gather)
	case o.Rounds < 1 || o.Rounds > MaxRounds:
		return fmt.Errorf("bench: -rounds %d: want 1 to %d", o.Rounds, MaxRounds)
	}
	return nil
}

// way is one way of sending the same bytes.
type way struct {
	name  string
	udp   bool
	every time.Duration // how much is gathered
	ring  bool
	mmsg  int  // datagrams in one call, 0 for one without sendmmsg
	gso   bool // a frame is one message, which the kernel cuts
	crypt bool // each datagram is sealed with AES-128-GCM, with a key for each viewer
}

const frameTime = 40 * time.Millisecond

// ways are measured in this order.
var ways = []way{
	{name: "TCP, write per frame (40 ms)", every: frameTime},
	{name: "TCP, write per 100 ms", every: 100 * time.Millisecond},
	{name: "TCP, write per 350 ms", every: 350 * time.Millisecond},
	{name: "TCP, io_uring per frame (40 ms)", every: frameTime, ring: true},
	{name: "TCP, io_uring per 100 ms", every: 100 * time.Millisecond, ring: true},
	{name: "UDP, sendto per packet", udp: true, every: frameTime},
	{name: "UDP, sendto, AES-GCM", udp: true, every: frameTime, crypt: true},
	{name: "UDP, sendmmsg of 64", udp: true, every: frameTime, mmsg: 64},
	{name: "UDP, sendmmsg of 64, AES-GCM", udp: true, every: frameTime, mmsg: 64, crypt: true},
	{name: "UDP, GSO per frame and viewer", udp: true, every: frameTime, mmsg: 1, gso: true},
	{name: "UDP, GSO in sendmmsg of 64", udp: true, every: frameTime, mmsg: 64, gso: true},
	{name: "UDP, GSO in sendmmsg, AES-GCM", udp: true, every: frameTime, mmsg: 64, gso: true, crypt: true},
}

// Limit measures what the bare system calls cost on this machine that a server
// needs to send the same bytes to many viewers: the floor that no server gets
// below. One thread sends, and its own CPU clock counts; on one machine the
// kernel does the receiving in its time. When ctx is done it returns what it has.
func Limit(ctx context.Context, o LimitOptions) ([]Floor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	ways := o.ways()
	all := make([]Floor, len(ways))
	rounds := make([][]Floor, len(ways))
	for round := range o.Rounds {
		for i, w := range ways {
			if all[i].Way = w.name; all[i].Why != "" {
				continue
			}
			if o.Progress != nil {
				o.Progress(fmt.Sprintf("%d/%d %s", round+1, o.Rounds, w.name))
			}
			f, err := measureFloor(ctx, w, o)
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				all[i].Why = err.Error()
				continue
			}
			rounds[i] = append(rounds[i], f)
		}
	}
	for i, fs := range rounds {
		of := func(value func(Floor) float64) float64 {
			var v []float64
			for _, f := range fs {
				v = append(v, value(f))
			}
			return median(v)
		}
		if len(fs) > 0 {
			all[i].PerGbit, all[i].PerSend, all[i].Mbps = of(func(f Floor) float64 { return f.PerGbit }), of(func(f Floor) float64 { return f.PerSend }), of(func(f Floor) float64 { return f.Mbps })
		} else if all[i].Why == "" {
			all[i].Why = "interrupted"
		}
	}
	return all, nil
}

// WriteFloors writes them as a table.
func WriteFloors(w io.Writer, all []Floor) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "way of sending\tCPU s/Gbit\tCPU us per send\tMbit/s\t")
	for _, f := range all {
		if f.Why != "" {
			fmt.Fprintf(t, "%s\t-\t-\t-\t%s\n", f.Way, f.Why)
			continue
		}
		fmt.Fprintf(t, "%s\t%.4f\t%.1f\t%.0f\t\n", f.Way, f.PerGbit, f.PerSend, f.Mbps)
	}
	return t.Flush()
}
