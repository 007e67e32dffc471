package blocks

import (
	"errors"
	"time"
)

// ThumbnailConfig is thumbnail: the newest key frame of a live stream as a JPEG, at the
// stream's path with .jpg, for everybody who may play it. It needs ffmpeg, which is started
// when somebody asks. It is a block of weir.
type ThumbnailConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Interval is how old a picture may become before another is made, if there is a newer key
	// frame by then.
	Interval time.Duration `conf:"interval" default:"10" unit:"s" reload:"now" since:"weir"`

	// Width is how wide pictures are, in pixels; with 0 as wide as the stream.
	Width int `conf:"width" default:"320" reload:"now" since:"weir"`

	// FFmpeg is the program; where it is not there the one in PATH is used.
	FFmpeg string `conf:"ffmpeg" default:"./objs/ffmpeg/bin/ffmpeg" reload:"now" since:"weir"`
}

// Validate refuses what would make no picture, or one for each request.
func (c *ThumbnailConfig) Validate() error {
	switch {
	case !c.Enabled:
	case c.Interval < time.Second:
		return errors.New("interval of thumbnail is below one second")
	case c.Width < 0 || c.Width > 4096 || c.Width > 0 && c.Width < 16:
		return errors.New("width of thumbnail is neither 0 nor from 16 to 4096 pixels")
	}
	return nil
}
