package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"weir/internal/config"
	"weir/internal/demo"
	"weir/internal/link"
	"weir/internal/server"
	"weir/internal/service"
)

// runDemo starts a server with the built-in configuration, publishes the test
// picture to it, and says where to look.
func runDemo(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		fmt.Fprintf(stderr, "demo takes no options, and %q is one\n", args[0])
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := demoServer(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func demoServer(ctx context.Context, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "weir-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	text := builtIn
	text = strings.Replace(text, "./objs/nginx/html", dir, 1)
	text = strings.Replace(text, "hls_files   off;", "hls_files   off;\n        hls_fragment 2;\n        hls_window 10;", 1)
	for _, port := range []string{"1935", "1985", "8080"} {
		free, err := freePort(ctx, port)
		if err != nil {
			return err
		}
		text = strings.Replace(text, port+";", free+";", 1)
	}
	snap, err := config.Parse(config.Source{File: "demo", Text: []byte(text), Getenv: func(string) string { return "" }}, server.Specs(protocols))
	if err != nil {
		return err
	}
	log, err := server.OpenLog(server.LogOptions{Level: slog.LevelWarn, Console: stdout, Color: isTerminal(stdout)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	published := make(chan error, 1)
	ready := func(doors []service.Listen) {
		where := map[string]string{}
		for _, d := range doors {
			_, port, _ := strings.Cut(strings.TrimPrefix(d.URL, "tcp://"), ":")
			where[d.Name] = port
		}
		go func() {
			err := demo.Publish(ctx, "rtmp://127.0.0.1:"+where["RTMP"]+"/live/livestream")
			published <- err
			cancel(err)
		}()
		fmt.Fprintf(stdout, `weir %s is live. Look at the picture:

    http://127.0.0.1:%s/players/srs_player.html?autostart=true

The same stream for other players:

    rtmp://127.0.0.1:%s/live/livestream
    http://127.0.0.1:%s/live/livestream.flv
    http://127.0.0.1:%s/live/livestream.m3u8

The API: http://127.0.0.1:%s/api/v1/streams/       End it with Ctrl-C.
`, server.Version, where["HTTP-Server"], where["RTMP"], where["HTTP-Server"], where["HTTP-Server"], where["HTTP-API"])
	}
	srv, err := server.New(server.Options{Conf: snap, Log: slog.New(log), Protocols: protocols, Ready: ready})
	if err != nil {
		return err
	}
	if err := srv.Run(ctx); err != nil {
		return err
	}
	select {
	case err = <-published:
		if errors.Is(err, context.Canceled) {
			err = nil
		}
	default:
	}
	return err
}

// freePort returns port if nobody listens there, else one that is free.
func freePort(ctx context.Context, port string) (string, error) {
	l, err := link.Listen(ctx, port)
	if err != nil {
		if l, err = link.Listen(ctx, "0"); err != nil {
			return "", err
		}
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return port, err
}
