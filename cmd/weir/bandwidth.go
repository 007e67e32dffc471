package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"weir/internal/bandwidth"
)

// runBandwidth measures the bandwidth to a server and back.
func runBandwidth(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 || args[0] == "-h" {
		fmt.Fprintln(stderr, "usage: weir bandwidth 'rtmp://HOST/APP?key=KEY&vhost=VHOST'\nThe server's vhost needs bandcheck { enabled on; key KEY; }.")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	progress, clear := func(line string) { fmt.Fprintln(stderr, line) }, ""
	if isTerminal(stderr) {
		progress, clear = func(line string) { fmt.Fprintf(stderr, "\r\x1b[K%s", line) }, "\r\x1b[K"
	}
	r, err := bandwidth.Run(ctx, args[0], progress)
	fmt.Fprint(stderr, clear)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintln(stdout, r)
	return 0
}
