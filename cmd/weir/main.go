// Command weir is a live media server: RTMP, HTTP-FLV, HLS and more, from SRS's
// configuration files and environment.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	_ "time/tzdata" // TZ works in an empty container

	"weir/internal/child"
	"weir/internal/config"
	"weir/internal/server"
)

func main() {
	if child.Watch() {
		return
	}
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	name := filepath.Base(args[0])
	if len(args) > 1 {
		switch args[1] {
		case "demo":
			return runDemo(args[2:], stdout, stderr)
		case "bench":
			return runBench(args[2:], stdout, stderr)
		case "check":
			return runCheck(args[2:], stdout, stderr)
		case "bandwidth":
			return runBandwidth(args[2:], stdout, stderr)
		case "sign":
			return runSign(args[2:], stdout, stderr)
		case "why-denied":
			return runWhyDenied(args[2:], stdout, stderr)
		case "plan":
			return runPlan(args[2:], stdout, stderr)
		case "upgrade":
			return runUpgrade(args[2:], stdout, stderr)
		case "explain":
			return runExplain(args[2:], stdout, stderr)
		}
	}
	o, err := parseFlags(args[1:])
	if err != nil {
		fmt.Fprintf(stderr, "%v, read help: %s -h\n", err, name)
		return config.ExitCode(err)
	}
	switch {
	case o.help:
		fmt.Fprint(stdout, strings.ReplaceAll(usage, "NAME", name))
		return 0
	case o.version:
		fmt.Fprintf(stdout, "weir %s, speaks SRS %s\n", server.Version, server.Level)
		return 0
	case o.signature:
		fmt.Fprintf(stdout, "%s, %s\n", server.Name, server.Level)
		return 0
	}
	if err := serve(o, stdout, stderr); err != nil {
		var silent *silentError
		if !errors.As(err, &silent) {
			fmt.Fprintln(stderr, err)
		}
		var coded *server.ExitError
		if errors.As(err, &coded) {
			return coded.Code & 255
		}
		return config.ExitCode(err)
	}
	return 0
}

const usage = `weir, a live media server that takes SRS's configuration

Usage: NAME [-c FILE | -e] [-t]
       NAME demo
       NAME bench -publish URL -play URL [-viewers N] [-pid N]
       NAME check [--rtc] -c FILE
       NAME bandwidth URL
       NAME plan -c NEW
       NAME upgrade [-c FILE]
       NAME sign -stream PATTERN
       NAME why-denied -c FILE URL
       NAME explain DIRECTIVE

Without arguments it starts with a built-in configuration: RTMP at 1935,
HTTP with FLV and HLS at 8080, the API at 1985.

   -c FILE             Start with a configuration file.
   -e                  Start from the environment alone (SRS_LISTEN=1935 ...).
   -t                  Test the configuration and exit, 0 for good.
   -h, -?, --help      Show this and exit.
   -v, -V, --version   Show the version and exit.
   -g, -G              Show the server's signature and exit.

   demo                Show a live picture in the browser, with no other tool.
   bench               Put a load on any server and measure what it costs; see
                       bench -h.
   check               Tell every error and warning of a configuration at once,
                       with --rtc also how WebRTC reaches the server.
   bandwidth           Measure the bandwidth to a server and back, by RTMP.
   plan                Tell what another configuration would change in the server
                       that runs, and when; see plan -h.
   upgrade             Have the program that is now on disk take over from the server
                       that runs, without loss; see upgrade -h.
   sign                Make a token for signed_url.
   why-denied          Tell what each rule says of an address.
   explain             Tell what a directive does, its default and its
                       environment variable.

Environment: SRS_CONFIG_FILE in place of -c, SRS_ENV_ONLY in place of -e, and
SRS_ with the name of any directive.
`

// flags are what the command line says.
type flags struct {
	file                     string
	envOnly, test            bool
	help, version, signature bool
	builtIn                  bool
	dir                      string // where the process started
}

// parseFlags reads SRS's command line, whose options may stand together (-tc
// FILE) and with their value (-cFILE).
func parseFlags(args []string) (flags, error) {
	o := flags{}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--help" || a == "help":
			o.help = true
		case a == "--version":
			o.version = true
		case len(a) < 2 || a[0] != '-' || a[1] == '-':
			return o, usageError(fmt.Sprintf("invalid option: %q", a))
		default:
			value, takes, err := o.letters(a[1:])
			if err != nil {
				return o, err
			}
			if takes && value == "" {
				if i++; i == len(args) {
					return o, usageError("-c requires params")
				}
				value = args[i]
			}
			if takes {
				o.file = value
			}
		}
	}
	if f := os.Getenv("SRS_CONFIG_FILE"); f != "" {
		o.file = f
	}
	if os.Getenv("SRS_ENV_ONLY") != "" {
		o.envOnly = true
	}
	o.builtIn = o.file == "" && !o.envOnly
	var err error
	o.dir, err = os.Getwd()
	return o, err
}

// letters reads options of one letter. takes says that the last of them is -c,
// whose value is what follows it in the same word, if anything does.
func (o *flags) letters(word string) (value string, takes bool, err error) {
	for i, l := range word {
		switch l {
		case 'h', '?':
			o.help = true
		case 'v', 'V':
			o.version = true
		case 'g', 'G':
			o.signature = true
		case 'e':
			o.envOnly = true
		case 't':
			o.test = true
		case 'c':
			return word[i+1:], true, nil
		default:
			return "", false, usageError(fmt.Sprintf("invalid option: %q", "-"+word))
		}
	}
	return "", false, nil
}

// usageError is a wrong command line, which SRS calls an invalid configuration.
type usageError string

// Error tells what is wrong.
func (e usageError) Error() string { return string(e) }

// SRSCode returns the number by which SRS calls it.
func (usageError) SRSCode() int { return config.CodeConfigInvalid }

// silentError is an error that has been told already.
type silentError struct{ err error }

// Error tells what happened.
func (e *silentError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *silentError) Unwrap() error { return e.err }
