package blocks

import "time"

// HeartbeatConfig is heartbeat: another server that is told, again and again, that
// this one lives.
type HeartbeatConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Interval is how often it is told.
	Interval time.Duration `conf:"interval" default:"10" unit:"s" reload:"now"`

	// URL is where it is posted, as JSON.
	URL string `conf:"url" default:"http://127.0.0.1:8085/api/v1/servers" reload:"now"`

	// DeviceID is a name that is told along.
	DeviceID string `conf:"device_id" default:"" reload:"now"`

	// Summaries tells load and traffic too, as /api/v1/summaries has them.
	Summaries bool `conf:"summaries" default:"off" reload:"now"`

	// Ports tells where the server listens too, as srs-proxy wants to know.
	Ports bool `conf:"ports" default:"off" reload:"now" since:"7.0.15"`
}

// StatsConfig is stats: what the summaries count.
type StatsConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns on the samples from which loads and rates are made.
	Enabled bool `conf:"enabled" default:"on" reload:"now" since:"5.0"`

	// Network is the index, from 0, of the machine's address that the heartbeat
	// tells, unless the variable SRS_DEVICE_IP names one.
	Network int `conf:"network" default:"0" reload:"now"`

	// Disk names the disks that are counted, as sda or nvme0n1. Left out, every
	// whole disk is.
	Disk []string `conf:"disk" shown:"all" reload:"now"`
}

// ExporterConfig is exporter: metrics for Prometheus, at /metrics of its own port
// and of the API's.
type ExporterConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"5.0.67"`

	// Listen is where it listens: port, ip:port or [ip6]:port.
	Listen []string `conf:"listen" default:"9972" reload:"now" since:"5.0.67"`

	// Label and Tag are told of this server by srs_build_info.
	Label string `conf:"label" default:"" reload:"now" since:"5.0.67"`

	// Tag is told of this server by srs_build_info.
	Tag string `conf:"tag" default:"" reload:"now" since:"5.0.67"`

	// Streams is of how many streams there are metrics of their own; those beyond
	// are counted together. It is a directive of weir.
	Streams int `conf:"streams" default:"100" reload:"now" since:"weir"`
}
