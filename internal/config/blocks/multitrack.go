package blocks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/internal/config"
)

// MultitrackVideoConfig is multitrack_video: encoders that ask for it (OBS's "multitrack
// video", or enhanced broadcasting) are told which ladder to send, by
// POST /multitrack_video/APP of the HTTP server. What they send needs no transcode: HLS and
// DASH list it as it comes. OBS is told the address by the multitrack_video_configuration_url
// of a service, or by --config-url. It is a block of weir.
type MultitrackVideoConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Rungs are what encoders are to send, the best first: WIDTHxHEIGHT, frames a second,
	// kbit/s, and h264 (the default), h265 or av1, as in "rung 1920x1080 60 6000 h264". An
	// encoder leaves out what is larger than its canvas, of a codec that it lacks, or over
	// what its user allows. Where the canvas is upright so are the rungs.
	Rungs []config.Rule `conf:"rung" env:"-" reload:"now" since:"weir"`

	// Ingest is where encoders are to publish, without app and stream, as
	// rtmps://live.example.com.
	Ingest string `conf:"ingest" default:"" shown:"the host that was asked, with the port of listen" reload:"now" since:"weir"`

	// KeyInterval is the distance of key frames, in seconds. hls_fragment and
	// dash_fragment are cut at them.
	KeyInterval int `conf:"key_interval" default:"2" reload:"now" since:"weir"`

	// AudioKbps is the bandwidth of the sound, in kbit/s, which is AAC.
	AudioKbps int `conf:"audio_kbps" default:"160" reload:"now" since:"weir"`

	// Encoder is OBS's name of the encoder for all rungs, as obs_x264; auto takes that of
	// the graphics card that the encoder names, or else one in software.
	Encoder string `conf:"encoder" default:"auto" reload:"now" since:"weir"`
}

// A Rung is one picture of a ladder.
type Rung struct {
	Width, Height, FPS, Kbps int
	Codec                    string // "h264", "h265" or "av1"
}

// Ladder reads the rungs.
func (c *MultitrackVideoConfig) Ladder() (ladder []Rung, err error) {
	for _, rule := range c.Rungs {
		r, err := rungOf(rule.Args)
		if err != nil {
			return nil, fmt.Errorf("rung %s: %w", strings.Join(rule.Args, " "), err)
		}
		ladder = append(ladder, r)
	}
	return ladder, nil
}

func rungOf(args []string) (r Rung, err error) {
	if len(args) < 3 || len(args) > 4 {
		return r, errors.New("write it as 1280x720 30 2500, or with a codec behind that")
	}
	width, height, ok := strings.Cut(args[0], "x")
	if !ok {
		return r, errors.New("the size is WIDTHxHEIGHT, as 1280x720")
	}
	for i, n := range []*int{&r.Width, &r.Height, &r.FPS, &r.Kbps} {
		text := []string{width, height, args[1], args[2]}[i]
		if *n, err = strconv.Atoi(text); err != nil || *n < 1 || *n > []int{16384, 16384, 240, 1_000_000}[i] {
			return r, fmt.Errorf("%q is no usable number", text)
		}
	}
	if r.Codec = "h264"; len(args) == 4 {
		r.Codec = args[3]
	}
	if !slices.Contains([]string{"h264", "h265", "av1"}, r.Codec) {
		return r, fmt.Errorf("%q is not h264, h265 or av1", r.Codec)
	}
	if r.Width%2+r.Height%2 > 0 {
		return r, errors.New("encoders want even numbers for width and height")
	}
	return r, nil
}

// Validate refuses ladders that no encoder could send.
func (c *MultitrackVideoConfig) Validate() error {
	ladder, err := c.Ladder()
	switch {
	case !c.Enabled:
		return nil
	case err != nil:
		return fmt.Errorf("multitrack_video: %w", err)
	case len(ladder) == 0:
		return errors.New("multitrack_video has no rung; write one as: rung 1280x720 30 2500;")
	case len(ladder) > 10:
		return errors.New("multitrack_video has more than 10 rungs, which is what OBS can send")
	case c.Ingest != "" && !strings.HasPrefix(c.Ingest, "rtmp://") && !strings.HasPrefix(c.Ingest, "rtmps://"):
		return errors.New("ingest of multitrack_video is no address of RTMP; write it as rtmp://live.example.com")
	case c.KeyInterval < 1 || c.KeyInterval > 20:
		return errors.New("key_interval of multitrack_video is not from 1 to 20 seconds")
	}
	return nil
}
