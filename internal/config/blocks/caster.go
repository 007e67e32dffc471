package blocks

import (
	"fmt"
	"time"
)

// StreamCasterConfig is stream_caster: a door for streams that come as something
// else than RTMP. There may be several.
type StreamCasterConfig struct {
	// Enabled opens the door.
	Enabled bool `conf:"enabled" default:"off" reload:"restart"`

	// Caster is what comes: mpegts_over_udp, a transport stream in datagrams; flv,
	// FLV as the body of an HTTP POST or PUT; gb28181, which is not served yet.
	Caster string `conf:"caster" default:"" reload:"restart"`

	// Output is the RTMP address as which the stream is published. If it is one of
	// this server, the stream is published at once, without a connection. For flv,
	// [app] and [stream] are those of the request's path.
	Output string `conf:"output" default:"" reload:"restart"`

	// Listen is the port, or address:port. A multicast address is joined.
	Listen []string `conf:"listen" default:"0" reload:"restart"`

	// SIP is how devices of gb28181 are spoken to.
	SIP CasterSIPConfig `conf:"sip" since:"5.0.74"`
}

// CasterSIPConfig is stream_caster's sip.
type CasterSIPConfig struct {
	// Enabled turns SIP on.
	Enabled bool `conf:"enabled" default:"on" reload:"restart" since:"5.0.74" pending:"ignored"`

	// Listen is the port of SIP.
	Listen []string `conf:"listen" default:"5060" reload:"restart" since:"5.0.74" pending:"ignored"`

	// Timeout is the longest time for media to come.
	Timeout time.Duration `conf:"timeout" default:"60" unit:"s" reload:"restart" since:"5.0.74" pending:"ignored"`

	// Reinvite is the wait before a device is invited again.
	Reinvite time.Duration `conf:"reinvite" default:"5" unit:"s" reload:"restart" since:"5.0.74" pending:"ignored"`

	// Candidate is the address that devices are told.
	Candidate []string `conf:"candidate" default:"*" reload:"restart" since:"5.0.74" pending:"ignored"`
}

// The kinds of caster that are served.
const (
	CasterTS  = "mpegts_over_udp"
	CasterFLV = "flv"
)

// Warnings tells of casters that are not served.
func (c *StreamCasterConfig) Warnings() []string {
	switch {
	case !c.Enabled || c.Caster == CasterTS || c.Caster == CasterFLV:
		return nil
	case c.Caster == "gb28181":
		return []string{"caster gb28181 is not implemented yet, and nothing listens for it; mpegts_over_udp and flv are"}
	}
	return []string{fmt.Sprintf("caster %q is not known, and nothing listens for it; mpegts_over_udp and flv are", c.Caster)}
}
