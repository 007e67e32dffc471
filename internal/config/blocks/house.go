package blocks

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"weir/internal/config"
)

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

// TracesConfig is traces: spans of OpenTelemetry, sent to a collector over HTTP (OTLP),
// of what it takes to begin to publish and to play, callbacks included; these are told
// the span in their header traceparent. It is a block of weir.
type TracesConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns them on.
	Enabled bool `conf:"enabled" default:"off" reload:"restart" since:"weir"`

	// Endpoint is where they are posted.
	Endpoint string `conf:"endpoint" default:"http://127.0.0.1:4318/v1/traces" reload:"restart" since:"weir"`

	// Ratio is the share of them that is sent, 0 to 1.
	Ratio float64 `conf:"ratio" default:"1" reload:"restart" since:"weir"`

	// Service is the name under which the collector has them.
	Service string `conf:"service" default:"weir" reload:"restart" since:"weir"`
}

// Validate refuses what cannot be an address.
func (c *TracesConfig) Validate() error {
	u, err := url.Parse(c.Endpoint)
	switch {
	case !c.Enabled:
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("endpoint of traces: %q is no address of HTTP, such as http://127.0.0.1:4318/v1/traces", c.Endpoint)
	case c.Ratio < 0 || c.Ratio > 1:
		return fmt.Errorf("ratio of traces: %v is not from 0 to 1", c.Ratio)
	}
	return nil
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

// CircuitBreakerConfig is circuit_breaker: what is left undone while the processor
// is busy. Thresholds are percent of all processors that the process may use, a
// quota of its control group included; SRS's are of one core.
type CircuitBreakerConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"on" reload:"now" since:"4.0.103"`

	// HighThreshold is from where on what viewers do not see is left undone:
	// on_hls_notify and bandwidth tests.
	HighThreshold int `conf:"high_threshold" default:"90" reload:"now" since:"4.0.103"`

	// HighPulse is for how many seconds that must last.
	HighPulse int `conf:"high_pulse" default:"2" reload:"now" since:"4.0.103"`

	// CriticalThreshold is from where on WebRTC does without retransmission. Nothing
	// else is left undone yet.
	CriticalThreshold int `conf:"critical_threshold" default:"95" reload:"now" since:"4.0.103"`

	// CriticalPulse is for how many seconds that must last.
	CriticalPulse int `conf:"critical_pulse" default:"1" reload:"now" since:"4.0.103"`

	// DyingThreshold is from where on new players are refused; those who are there
	// stay.
	DyingThreshold int `conf:"dying_threshold" default:"99" reload:"now" since:"4.0.103"`

	// DyingPulse is for how many seconds more than one that must last.
	DyingPulse int `conf:"dying_pulse" default:"5" reload:"now" since:"4.0.103"`
}

// PprofConfig is pprof: Go's profiles of the process, for its developers, at
// /debug/pprof/. It is a block of weir.
type PprofConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Listen is where it listens, which must be on the loopback interface.
	Listen []string `conf:"listen" default:"127.0.0.1:6060" reload:"now" since:"weir"`
}

// Validate refuses a listener that others could reach.
func (c *PprofConfig) Validate() error {
	for _, l := range c.Listen {
		host, _ := config.SplitListen(l)
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			return fmt.Errorf("listen %s is not on the loopback interface; write 127.0.0.1 and a port", l)
		}
	}
	return nil
}

// BandcheckConfig is bandcheck: a vhost whose clients measure the bandwidth between
// them and the server, by RTMP as SRS up to 5.0.51 did it, or by HTTP.
type BandcheckConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on. Who connects to the vhost by RTMP is measured then and
	// can do nothing else there.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// Key is what clients must send, as the parameter key. Without one everybody may
	// measure.
	Key string `conf:"key" default:"" reload:"session"`

	// Interval is the least time between two tests.
	Interval time.Duration `conf:"interval" default:"30" unit:"s" reload:"session"`

	// LimitKbps is the most that a test uses, in kbit/s.
	LimitKbps int `conf:"limit_kbps" default:"4000" reload:"session"`
}

// Warnings tells what is accepted and probably not meant.
func (c *BandcheckConfig) Warnings() []string {
	if c.Enabled && c.Key == "" {
		return []string{"it has no key: anybody may put the load of a test on the server"}
	}
	return nil
}
