package blocks

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
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

	// Clips lets everybody who may play a stream fetch a range of time of what was
	// recorded of it, as one MP4, from /api/v1/recordings/APP/STREAM/clip?start=&end= of
	// the HTTP server and the API. It is a directive of weir.
	Clips bool `conf:"dvr_clips" default:"off" reload:"now" since:"weir"`

	// ClipMost is how long a clip may be. It is a directive of weir.
	ClipMost time.Duration `conf:"dvr_clip_most" default:"3600" unit:"s" reload:"now" since:"weir"`

	// S3 is where finished recordings are sent.
	S3 DVRS3Config `conf:"s3"`
}

// DVRS3Config is s3 of dvr: finished recordings are sent to object storage that speaks S3
// (Amazon's, MinIO, Ceph, R2 and others). on_dvr is told when that is done, and carries
// the object's url beside the file. A store that is away or refuses is tried again, after
// a restart too; a large file goes on where it broke off. It is a block of weir.
type DVRS3Config struct {
	_ struct{} `env:"-"`

	// Enabled turns it on. What was recorded before is not sent.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Endpoint is the http or https address of the store, without the bucket.
	Endpoint string `conf:"endpoint" default:"https://s3.amazonaws.com" reload:"now" since:"weir"`

	// Region is the bucket's region.
	Region string `conf:"region" default:"" shown:"what the store says" reload:"now" since:"weir"`

	// Bucket is where objects go. It must be there.
	Bucket string `conf:"bucket" default:"" shown:"none, required" reload:"now" since:"weir"`

	// Name is an object's name, with [vhost], [app], [stream] and [file], which is the
	// part of dvr_path from its first variable on.
	Name string `conf:"name" default:"[file]" reload:"now" since:"weir"`

	// AccessKey and SecretKey are who may write there. Without them AWS_ACCESS_KEY_ID
	// and AWS_SECRET_ACCESS_KEY of the environment count, then ~/.aws/credentials, then
	// the role of the machine.
	AccessKey string `conf:"access_key" default:"" shown:"of the environment" reload:"now" since:"weir"`

	// SecretKey belongs to access_key.
	SecretKey string `conf:"secret_key" default:"" shown:"of the environment" reload:"now" since:"weir"`

	// URL is where objects are found, for on_dvr and the API: the address of a CDN perhaps.
	URL string `conf:"url" default:"" shown:"endpoint and bucket" reload:"now" since:"weir"`

	// KeepLocal keeps the file that was sent; with off it is deleted, and the API's list
	// has it no more.
	KeepLocal bool `conf:"keep_local" default:"on" reload:"now" since:"weir"`
}

// Validate refuses what no recording could be sent to.
func (c *DVRS3Config) Validate() error {
	u, err := url.Parse(c.Endpoint)
	switch {
	case !c.Enabled:
		return nil
	case c.Bucket == "":
		return errors.New("s3 of dvr is on and has no bucket; write bucket NAME;")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("endpoint of s3: %q is not an address like https://s3.example.com", c.Endpoint)
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("s3 of dvr needs both access_key and secret_key, or neither")
	case !strings.Contains(c.Name, "[file]"):
		return errors.New("name of s3 has no [file], so that each recording would replace another")
	}
	return nil
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
