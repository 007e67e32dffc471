package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"weir/internal/config"
	"weir/internal/host"
	"weir/internal/protocol/webrtc"
	"weir/internal/server"
)

// runCheck tells every error and warning of a configuration.
func runCheck(args []string, stdout, stderr io.Writer) int {
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--rtc" })
	rtc := len(words) < len(args)
	o, err := parseFlags(words)
	if err == nil && o.builtIn {
		err = usageError("check needs -c FILE, or -e")
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	src := source(o)
	errs, warns := config.Check(src, server.Specs(protocols))
	for _, w := range warns {
		fmt.Fprintln(stdout, "warning:", w)
	}
	for _, e := range errs {
		fmt.Fprintln(stdout, "error:", e)
	}
	fmt.Fprintf(stdout, "%s: %d errors, %d warnings\n", src.File, len(errs), len(warns))
	if len(errs) > 0 {
		return 1
	}
	if rtc {
		return checkRTC(src, stdout, stderr)
	}
	return 0
}

// checkRTC tells how WebRTC's peers will reach a server with a configuration.
func checkRTC(src config.Source, stdout, stderr io.Writer) int {
	snap, err := config.Parse(src, server.Specs(protocols))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	for _, f := range webrtc.Check(context.Background(), snap) {
		if f.Warning {
			fmt.Fprint(stdout, "warning: ")
		}
		fmt.Fprintln(stdout, f.Text)
	}
	return 0
}

// runExplain tells what a directive is.
func runExplain(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "explain needs the name of a directive, such as hls_fragment or vhost.play.gop_cache")
		return 1
	}
	text, err := config.Explain(server.Specs(protocols), strings.Join(args, " "))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprint(stdout, text)
	return 0
}

// path is where a file of the configuration is: names are relative to where the
// process started, also after work_dir.
func (o flags) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.dir, name)
}

// source returns where the configuration comes from.
func source(o flags) config.Source {
	read := func(name string) ([]byte, error) {
		f, err := os.Open(o.path(name))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, 16<<20+1))
	}
	src := config.Source{ReadFile: read, File: o.file, EnvOnly: o.envOnly, MaxOpenFiles: server.OpenFiles(), Interfaces: len(host.Addresses()), Environ: os.Environ(), Container: server.InContainer()}
	if o.builtIn {
		src.File, src.Text = "built-in", []byte(builtIn)
	}
	return src
}

// builtIn is the configuration without any: what SRS's image has on, as far as
// it exists here.
const builtIn = `
listen              1935;
max_connections     1000;
daemon              off;
srs_log_tank        console;
http_api {
    enabled         on;
    listen          1985;
}
http_server {
    enabled         on;
    listen          8080;
    dir             ./objs/nginx/html;
}
vhost __defaultVhost__ {
    hls {
        enabled     on;
        hls_files   off;
    }
    http_remux {
        enabled     on;
        mount       [vhost]/[app]/[stream].flv;
    }
}
`
