package blocks

import (
	"errors"
	"time"
)

// TimeShiftConfig is time_shift: what streams were is kept, so that players may begin so
// long behind live, or at a time of day, and stay that much behind. They say so by the
// parameter start of RTMP, HTTP-FLV, HTTP-TS and MP4, HLS and DASH, under the rules of
// playing: seconds behind live (start=-300), seconds since 1970, or a time as
// 2026-11-27T18:30:00Z. It is a block of weir.
type TimeShiftConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on for the vhost. Turned off again, files stay as they are.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Window is how far back players may go.
	Window time.Duration `conf:"window" default:"3600" unit:"s" reload:"now" since:"weir"`

	// Path is the folder of the files, which are fragmented MP4 of two minutes at most. It is
	// made if it is missing.
	Path string `conf:"path" default:"./objs/timeshift" reload:"now" since:"weir"`

	// Size is how many megabytes the vhost's streams may take there together: the oldest goes
	// first, so that the window is shorter. So it does where the disk is full before that.
	Size int `conf:"size" default:"10240" reload:"now" since:"weir"`

	// Fragment is the least duration of a segment; it ends at the next key frame.
	Fragment time.Duration `conf:"fragment" default:"2" unit:"s" reload:"now" since:"weir"`
}

// Validate refuses what would keep nothing.
func (c *TimeShiftConfig) Validate() error {
	switch {
	case !c.Enabled:
	case c.Window <= 0:
		return errors.New("window of time_shift is not above 0 seconds")
	case c.Size < 1:
		return errors.New("size of time_shift is below one megabyte")
	case c.Fragment <= 0:
		return errors.New("fragment of time_shift is not above 0 seconds")
	}
	return nil
}
