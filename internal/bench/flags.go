package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Usage tells the options of the command line.
const Usage = `Puts a load on a live server, and measures what it costs and gives.

   -publish URL    Publish there, by RTMP; %d stands for the number of the stream.
   -play URL       Play from there: rtmp://, http:// with .flv, .ts, .mp4, .m3u8 or
                   /whep/, ws:// with one of the first three, rtsp://, srt://HOST:PORT?streamid=...
                   or whep://HOST:PORT/app/stream, which is short for SRS's way of WHEP.
   -streams N      How many streams (1).
   -viewers N      How many viewers, spread over the streams (50).
   -probes N       How many of them parse all they get (5).
   -file FILE      The FLV file to publish, over and over (a built-in one).
   -lead TIME      Publish for so long before the first viewer comes (3s, HLS 12s).
   -warm TIME      Wait for so long after the last viewer came (3s).
   -time TIME      Measure for so long (15s).
   -ramp N         How many viewers start per second (250).
   -pid N[,N]      The server's processes, to measure their CPU and memory (Linux).
   -against FILE   Compare the servers of a file; see docs/bench.md.
   -rounds N       How often to go through them (3).
   -stalled N      How many of the viewers read nothing after their first picture.
   -low            Play HLS by the parts of its segments, where the server has them.
   -json           Print JSON in place of a table.

bench limit measures what the bare system calls cost on this machine, the floor
that no server gets below; -viewers, -mbps (2), -time (4s), -rounds and -json say how.
`

// A Command is a command line.
type Command struct {
	Options
	// Against is a file with servers to compare, Rounds how often.
	Against string
	Rounds  int
	JSON    bool
	// Floors asks for [Limit], with its options in Limit.
	Floors bool
	Limit  LimitOptions
}

// parseLimit reads the options of bench limit.
func parseLimit(c *Command, args []string) (*Command, error) {
	c.Floors = true
	fs := flag.NewFlagSet("bench limit", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.IntVar(&c.Limit.Viewers, "viewers", 0, "")
	fs.Float64Var(&c.Limit.Mbps, "mbps", 0, "")
	fs.DurationVar(&c.Limit.Time, "time", 0, "")
	fs.IntVar(&c.Limit.Rounds, "rounds", 0, "")
	fs.BoolVar(&c.JSON, "json", false, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("bench: %w", err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("bench: %q is no option", fs.Arg(0))
	}
	return c, c.Limit.check()
}

// Parse reads a command line. The error is flag.ErrHelp if help was asked for.
func Parse(args []string) (*Command, error) {
	c := &Command{}
	if len(args) > 0 && args[0] == "limit" {
		return parseLimit(c, args[1:])
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.Publish, "publish", "", "")
	fs.StringVar(&c.Play, "play", "", "")
	fs.IntVar(&c.Streams, "streams", 1, "")
	fs.IntVar(&c.Viewers, "viewers", 50, "")
	fs.IntVar(&c.Probes, "probes", 0, "")
	fs.StringVar(&c.File, "file", "", "")
	fs.DurationVar(&c.Lead, "lead", 0, "")
	fs.DurationVar(&c.Warm, "warm", 0, "")
	fs.DurationVar(&c.Time, "time", 0, "")
	fs.IntVar(&c.Stalled, "stalled", 0, "")
	fs.BoolVar(&c.Low, "low", false, "")
	fs.IntVar(&c.Ramp, "ramp", 0, "")
	pids := fs.String("pid", "", "")
	fs.StringVar(&c.Against, "against", "", "")
	fs.IntVar(&c.Rounds, "rounds", 3, "")
	fs.BoolVar(&c.JSON, "json", false, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("bench: %w", err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("bench: %q is no option", fs.Arg(0))
	}
	if c.Streams == 0 || c.Viewers == 0 {
		return nil, errors.New("bench: want at least one stream and one viewer")
	}
	var err error
	if c.PIDs, err = parsePIDs(*pids); err != nil {
		return nil, err
	}
	if c.Against != "" {
		if c.Publish != "" || c.Play != "" || len(c.PIDs) > 0 {
			return nil, errors.New("bench: with -against the file names addresses and processes")
		}
		if c.Rounds < 1 || c.Rounds > MaxRounds {
			return nil, fmt.Errorf("bench: -rounds %d: want 1 to %d", c.Rounds, MaxRounds)
		}
		return c, nil
	}
	o := c.Options // checked here so that nothing is said before an error
	_, err = o.check()
	return c, err
}

// parsePIDs reads numbers with commas between them.
func parsePIDs(text string) (pids []int, err error) {
	if text == "" {
		return nil, nil
	}
	for f := range strings.SplitSeq(text, ",") {
		pid, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil || pid < 1 || pid > 1<<22 {
			return nil, fmt.Errorf("bench: -pid %q: want process ids with commas between", text)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
