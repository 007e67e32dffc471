package blocks

import (
	"fmt"
	"path"
	"time"
)

// DVRConfig is dvr: recording of streams into files.
type DVRConfig struct {
	// Enabled turns recording on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Apply are the streams that are recorded, as app/stream, or all. Patterns with
	// *, ? and [...], such as live/cam*, are weir's own; * stops at a slash.
	Apply []string `conf:"dvr_apply" default:"all" env:"-" reload:"now"`

	// Plan is what a file holds: with session a whole publication, with segment
	// dvr_duration of it.
	Plan string `conf:"dvr_plan" default:"session" enum:"session|segment" reload:"now"`

	// Path is the name of a file, with [vhost], [app], [stream], [timestamp] (in ms),
	// the parts of date and time [2006] [01] [02] [15] [04] [05] [999], and [duration]
	// (in ms, known at the end). It ends in .flv or .mp4; any other name is a folder
	// for [stream].[timestamp].flv. While it is recorded .tmp follows.
	Path string `conf:"dvr_path" default:"./objs/nginx/html/[app]/[stream].[timestamp].flv" reload:"now"`

	// Duration is how long a segment is at least.
	Duration time.Duration `conf:"dvr_duration" default:"30" unit:"s" reload:"now"`

	// WaitKeyframe begins segments at key frames only.
	WaitKeyframe bool `conf:"dvr_wait_keyframe" default:"on" reload:"now"`

	// TimeJitter is the time in the file: with full and zero it begins at 0 and is
	// the stream's, which is repaired; with off it is the publisher's own.
	TimeJitter string `conf:"time_jitter" default:"full" enum:"full|zero|off" reload:"now"`

	// KeepAge is after how long a finished recording is deleted; with 0 it is kept.
	// It is a directive of weir.
	KeepAge time.Duration `conf:"dvr_keep_age" default:"0" unit:"s" reload:"now" since:"weir"`

	// KeepSize is how many megabytes the finished recordings of the vhost may take
	// together: the oldest are deleted first. With 0 there is no bound. It is a
	// directive of weir.
	KeepSize int `conf:"dvr_keep_size" default:"0" reload:"now" since:"weir"`
}

// Warnings tells of patterns that match nothing.
func (c *DVRConfig) Warnings() (all []string) {
	for _, p := range c.Apply {
		if _, err := path.Match(p, ""); err != nil {
			all = append(all, fmt.Sprintf("dvr_apply %s: a pattern that is not sound, and matches nothing: close the [ or write it as \\[", p))
		}
	}
	return all
}

// Applies reports whether a stream is to be recorded.
func (c *DVRConfig) Applies(app, stream string) bool {
	if !c.Enabled {
		return false
	}
	name := app + "/" + stream
	for _, p := range c.Apply {
		if p == "all" || p == name {
			return true
		}
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}
