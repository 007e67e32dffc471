package performance

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"weir/internal/bench"
)

// row is one line of the table of targets.
type row struct {
	name              string
	file, nginx, weir string // what is published; how each is played
	vhost             string // directives of weir's vhost
	streams, viewers  int
	pass, aim         float64
	value             func(r *bench.Result) float64
	unit              string
	absolute          bool // the target is for weir's figure, not for the ratio

	nginxes, weirs, srses []*bench.Result
}

func perGbit(r *bench.Result) float64 { return r.Cost.PerGbit }
func share(r *bench.Result) float64   { return r.Cost.CPU }
func memory(r *bench.Result) float64  { return r.Cost.RSSPerViewer / 1024 }
func first(r *bench.Result) float64   { return r.FirstP50 }

func rows() []*row {
	return []*row{
		{name: "200 RTMP viewers", file: "2m", nginx: "rtmp", weir: "rtmp", viewers: 200, pass: 0.35, aim: 0.17, value: perGbit, unit: "s/Gbit"},
		{name: "200 HTTP-FLV viewers (nginx: RTMP)", file: "2m", nginx: "rtmp", weir: "flv", viewers: 200, pass: 0.35, aim: 0.17, value: perGbit, unit: "s/Gbit"},
		{name: "500 RTMP viewers", file: "2m", nginx: "rtmp", weir: "rtmp", viewers: 500, pass: 0.3, aim: 0.17, value: perGbit, unit: "s/Gbit"},
		{name: "200 RTMP viewers, min_latency on", file: "2m", nginx: "rtmp", weir: "rtmp", vhost: "min_latency on;", viewers: 200, pass: 0.7, aim: 0.3, value: perGbit, unit: "s/Gbit"},
		{name: "HLS, 200 viewers (nginx: the same files)", file: "2m", nginx: "hls", weir: "hls", viewers: 200, pass: 1, aim: 0.4, value: perGbit, unit: "s/Gbit"},
		{name: "HLS, 1000 viewers (nginx: the same files)", file: "500k", nginx: "hls", weir: "hls", viewers: 1000, pass: 1, aim: 0.4, value: perGbit, unit: "s/Gbit"},
		{name: "50 streams with a viewer each", file: "500k", nginx: "rtmp", weir: "rtmp", streams: 50, viewers: 50, pass: 0.9, aim: 0.35, value: share, unit: "% of a core"},
		{name: "memory, 1000 RTMP viewers of little", file: "tiny", nginx: "rtmp", weir: "rtmp", viewers: 1000, pass: 17, aim: 3, value: memory, unit: "KB a viewer", absolute: true},
		{name: "memory, 1000 HTTP-FLV viewers of little", file: "tiny", nginx: "rtmp", weir: "flv", viewers: 1000, pass: 17, aim: 3, value: memory, unit: "KB a viewer", absolute: true},
		{name: "first picture, RTMP", file: "2m", nginx: "rtmp", weir: "rtmp", viewers: 20, pass: 20, aim: 2, value: first, unit: "ms", absolute: true},
		{name: "first picture, HTTP-FLV", file: "2m", nginx: "rtmp", weir: "flv", viewers: 20, pass: 2, aim: 1, value: first, unit: "ms", absolute: true},
	}
}

func wanted(name string) bool { return strings.Contains(name, *only) }

// report measures everything and writes the tables.
func (y *yard) report() {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Written by \"make bench\"; run that rather than edit. -->\n\n# Measured\n\n%s.\n\nMedians of %d rounds of %v, the servers in turns, all on one machine. Absolute figures vary by tens of percent\nfrom run to run; the ratios are what counts. nginx is Debian's with its RTMP module, one worker, no group of pictures\nkept. [bench.md](bench.md) tells how it is measured; `make bench` repeats it.\n\n", machine(), *rounds, *window)
	fmt.Fprintf(&b, "## Targets\n\n| what | nginx | weir | ratio | needed | wanted | |\n|---|---|---|---|---|---|---|\n")
	var more, beside strings.Builder
	for _, r := range rows() {
		if !wanted(r.name) {
			continue
		}
		for range *rounds {
			y.round(r)
		}
		r.write(&b, &more)
		r.besideSRS(&beside)
	}
	fmt.Fprintf(&b, "\n## The same runs in full\n\n| what | server | Mbit/s | frames/s | CPU %% | delay p50 / p99 ms | first p50 ms | stalls |\n|---|---|---|---|---|---|---|---|\n%s", more.String())
	if *srsBin != "" {
		fmt.Fprintf(&b, "\n## Beside SRS\n\n%s as its own build makes it without sanitizer (`-srs PROGRAM`), in turns with the runs above. Delay is p50.\n\n| what | SRS | weir | ratio | delay ms | first picture ms | KB a viewer | stalls |\n|---|---|---|---|---|---|---|---|\n%s", srsVersion(), beside.String())
	}
	y.growth(&b)
	y.hung(&b)
	y.floors(&b)
	y.webrtc(&b)
	y.webrtcBesideSRS(&b)
	y.srtBesideSRS(&b)
	fmt.Println(b.String())
	if *out != "" {
		if err := os.WriteFile(*out, []byte(b.String()), 0o644); err != nil {
			y.b.Fatal(err)
		}
	}
}

// round measures both servers of a row once.
func (y *yard) round(r *row) {
	o := bench.Options{File: y.file(r.file), Viewers: r.viewers, Streams: max(1, r.streams)}
	w := y.house(r.vhost, r.nginx == "hls")
	files := ""
	if r.nginx == "hls" {
		files = w.hls
	}
	n := y.nginx(files)
	load := n.load(r.nginx, o)
	if r.nginx == "hls" { // weir cuts the files that nginx serves
		load.Publish = "rtmp://" + w.rtmp + "/live/s%d"
	}
	r.nginxes = append(r.nginxes, y.measure(r.name+": nginx", load))
	n.stop()
	if r.nginx != "hls" {
		w.stop()
		w = y.house(r.vhost, false)
	}
	r.weirs = append(r.weirs, y.measure(r.name+": weir", w.load(r.weir, o)))
	w.stop()
	if *srsBin != "" {
		s := y.srs(r.vhost, r.nginx == "hls")
		r.srses = append(r.srses, y.measure(r.name+": SRS", s.load(r.weir, o)))
		s.stop()
	}
}

func median(all []*bench.Result, value func(*bench.Result) float64) float64 {
	var v []float64
	for _, r := range all {
		v = append(v, value(r))
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func (r *row) write(b, more *strings.Builder) {
	n, w := median(r.nginxes, r.value), median(r.weirs, r.value)
	measured := w / n
	target := func(v float64) string { return fmt.Sprintf("%.2f ×", v) }
	if r.absolute {
		measured = w
		target = func(v float64) string { return figure(v) + " " + r.unit }
	}
	verdict := "missed"
	switch {
	case measured <= r.aim:
		verdict = "wanted"
	case measured <= r.pass:
		verdict = "needed"
	}
	fmt.Fprintf(b, "| %s | %s %s | %s %s | %.2f | %s | %s | %s |\n", r.name, figure(n), r.unit, figure(w), r.unit, w/n, target(r.pass), target(r.aim), verdict)
	for _, s := range []struct {
		name string
		all  []*bench.Result
	}{{"nginx", r.nginxes}, {"weir", r.weirs}} {
		of := func(value func(r *bench.Result) float64) string { return figure(median(s.all, value)) }
		fmt.Fprintf(more, "| %s | %s | %s | %s | %s | %s / %s | %s | %s |\n", r.name, s.name, of(func(r *bench.Result) float64 { return r.Mbps }), of(func(r *bench.Result) float64 { return r.FPS }),
			of(share), of(func(r *bench.Result) float64 { return r.DelayP50 }), of(func(r *bench.Result) float64 { return r.DelayP99 }), of(first), of(func(r *bench.Result) float64 { return float64(r.Stalls) }))
	}
}

// besideSRS writes the row of SRS and weir, if that was measured; figures of several are SRS's
// first.
func (r *row) besideSRS(b *strings.Builder) {
	if len(r.srses) == 0 {
		return
	}
	both := func(value func(r *bench.Result) float64) string {
		return figure(median(r.srses, value)) + " / " + figure(median(r.weirs, value))
	}
	s, w := median(r.srses, r.value), median(r.weirs, r.value)
	fmt.Fprintf(b, "| %s | %s %s | %s %s | %.2f | %s | %s | %s | %s |\n", srsName(r.name), figure(s), r.unit, figure(w), r.unit, w/s,
		both(func(r *bench.Result) float64 { return r.DelayP50 }), both(first), both(memory), both(func(r *bench.Result) float64 { return float64(r.Stalls) }))
}

// srsName is a row's name without what it says of nginx.
func srsName(row string) string {
	name, _, _ := strings.Cut(row, " (nginx")
	return name
}

// srsVersion is what SRS calls itself.
func srsVersion() string {
	text, _ := exec.Command(*srsBin, "-v").CombinedOutput()
	return "SRS " + strings.TrimSpace(string(text))
}

// growth measures what a viewer costs as viewers become more.
func (y *yard) growth(b *strings.Builder) {
	const name = "cost per viewer"
	if !wanted(name) {
		return
	}
	fmt.Fprintf(b, "\n## Cost per viewer as viewers grow\n\n500 kbit/s, RTMP; the target is that it does not rise.\n\n| viewers | CPU ms per viewer and second | delay p50 ms |\n|---|---|---|\n")
	for _, viewers := range []int{50, 200, 500, 1000, 2000} {
		var all []*bench.Result
		for range *rounds {
			w := y.house("", false)
			all = append(all, y.measure(fmt.Sprintf("%s: %d", name, viewers), w.load("rtmp", bench.Options{File: y.file("500k"), Viewers: viewers, Ramp: 500})))
			w.stop()
		}
		fmt.Fprintf(b, "| %d | %s | %s |\n", viewers, figure(median(all, func(r *bench.Result) float64 { return r.Cost.PerViewer })), figure(median(all, func(r *bench.Result) float64 { return r.DelayP50 })))
	}
}

// hung measures what good viewers notice of those that do not read.
func (y *yard) hung(b *strings.Builder) {
	const name = "viewers that hang"
	if !wanted(name) {
		return
	}
	fmt.Fprintf(b, "\n## Viewers that hang\n\n200 RTMP viewers of 2 Mbit/s, of whom some read nothing after the first picture; the delay is that of the others, whose p99 may be\n1.2 × of what it is without. It is mostly what is gathered, in steps of 20 ms, by what sending costs at the time.\n\n| of 200 hang | gathered ms | delay p50 ms | delay p99 ms | ratio | stalls |\n|---|---|---|---|---|---|\n")
	var all [2][]*bench.Result
	var gathered [2][]float64
	counts := [2]int{0, 20}
	for range *rounds {
		for i, n := range counts {
			w := y.house("", false)
			r, ms := y.gathering(w, fmt.Sprintf("%s: %d of 200", name, n), bench.Options{File: y.file("2m"), Viewers: 200, Stalled: n})
			all[i], gathered[i] = append(all[i], r), append(gathered[i], ms)
		}
	}
	p99 := func(r *bench.Result) float64 { return r.DelayP99 }
	for i, n := range counts {
		fmt.Fprintf(b, "| %d | %s | %s | %s | %.2f | %s |\n", n, figure(middle(gathered[i])), figure(median(all[i], func(r *bench.Result) float64 { return r.DelayP50 })), figure(median(all[i], p99)),
			median(all[i], p99)/median(all[0], p99), figure(median(all[i], func(r *bench.Result) float64 { return float64(r.Stalls) })))
	}
}

// gathering measures w by RTMP and returns how long it gathers in the midst of that too.
func (y *yard) gathering(w *server, what string, o bench.Options) (r *bench.Result, ms float64) {
	defer w.stop()
	g := make(chan float64, 1)
	go func() {
		time.Sleep(6*time.Second + *window/2)
		g <- w.gathered()
	}()
	r = y.measure(what, w.load("rtmp", o))
	return r, <-g
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// floors holds weir against the bare system calls of the same gathering.
func (y *yard) floors(b *strings.Builder) {
	const name = "bare system calls"
	if !wanted(name) {
		return
	}
	fmt.Fprintf(b, "\n## Against bare system calls\n\n200 RTMP viewers of 2 Mbit/s; needed 1.4 ×, wanted 1.15 × of what the system calls alone cost with as much gathered.\n\n| weir sends by | gathered ms | weir s/Gbit | bare s/Gbit | ratio |\n|---|---|---|---|---|\n")
	for i, kind := range []string{"io_uring", "writev"} {
		var weirs, gathered, bare []float64
		for range *rounds {
			w := y.house("", false, "WEIR_SENDER="+kind)
			r, ms := y.gathering(w, name+": "+kind, bench.Options{File: y.file("2m"), Viewers: 200})
			weirs, gathered = append(weirs, r.Cost.PerGbit), append(gathered, ms)
			every := max(40*time.Millisecond, time.Duration(ms*float64(time.Millisecond)).Round(time.Millisecond))
			floors, err := bench.Limit(y.ctx, bench.LimitOptions{Viewers: 200, Mbps: 2.05, Gather: every, Rounds: 1, Time: *window})
			if err != nil || floors[i].Why != "" {
				y.b.Fatalf("%v %+v", err, floors)
			}
			bare = append(bare, floors[i].PerGbit)
			y.say("%s per %v: %.4f s/Gbit bare", kind, every, floors[i].PerGbit)
		}
		w, l := middle(weirs), middle(bare)
		fmt.Fprintf(b, "| %s | %s | %s | %s | %.2f |\n", kind, figure(middle(gathered)), figure(w), figure(l), w/l)
	}
}
