package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"weir/internal/bench"
	"weir/internal/demo"
)

// runBench puts a load on a server, which may be any, and tells what it
// measured.
func runBench(args []string, stdout, stderr io.Writer) int {
	c, err := bench.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		io.WriteString(stdout, bench.Usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "%v\nread help: weir bench -h\n", err)
		return 1
	}
	c.Loop = demo.Loop()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends it at once.
	defer context.AfterFunc(ctx, stop)()
	clear := func() {}
	if isTerminal(stderr) {
		c.Progress = func(line string) { fmt.Fprintf(stderr, "\r\x1b[K%s", line) }
		clear = func() { fmt.Fprint(stderr, "\r\x1b[K") }
	}
	if err := benchmark(ctx, c, stdout, stderr, clear); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func benchmark(ctx context.Context, c *bench.Command, stdout, stderr io.Writer, clear func()) error {
	show := json.NewEncoder(stdout)
	show.SetEscapeHTML(false)
	if c.Floors {
		c.Limit.Progress = c.Progress
		fmt.Fprintln(stderr, "measures what bare system calls cost here; some two minutes")
		floors, err := bench.Limit(ctx, c.Limit)
		clear()
		switch {
		case err != nil:
			return err
		case c.JSON:
			return show.Encode(floors)
		}
		return bench.WriteFloors(stdout, floors)
	}
	if c.Against != "" {
		fmt.Fprintf(stderr, "compares the servers of %s, %d rounds\n", c.Against, c.Rounds)
		r, err := bench.Compare(ctx, c.Against, c.Rounds, c.Options)
		clear()
		switch {
		case err != nil:
			return err
		case c.JSON:
			return show.Encode(r)
		}
		return r.Table(stdout)
	}
	if c.Publish != "" {
		fmt.Fprintf(stderr, "publishes to %s, streams: %d\n", c.Publish, c.Streams)
	}
	fmt.Fprintf(stderr, "plays %s, viewers: %d\n", c.Play, c.Viewers)
	r, err := bench.Run(ctx, c.Options)
	clear()
	if err != nil {
		return err
	}
	if c.JSON {
		err = show.Encode(r)
	} else {
		err = bench.Table(stdout, r)
	}
	if err == nil && r.Viewers == 0 && !r.Interrupted {
		err = errors.New("bench: no viewer played to the end")
	}
	return err
}
