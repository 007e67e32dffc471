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
	// FLV as the body of an HTTP POST or PUT; gb28181, program streams in RTP of
	// devices that speak GB/T 28181.
	Caster string `conf:"caster" default:"" reload:"restart"`

	// Output is the RTMP address as which the stream is published. If it is one of
	// this server, the stream is published at once, without a connection. For flv,
	// [app] and [stream] are those of the request's path; for gb28181 [stream] is the
	// device's id, or what /gb/v1/publish/ was told.
	Output string `conf:"output" default:"" reload:"restart"`

	// Listen is the port, or address:port. A multicast address is joined. For gb28181
	// it is where media come, both by TCP and UDP.
	Listen []string `conf:"listen" default:"0" reload:"restart"`

	// Program is the number of the program that mpegts_over_udp takes where there are
	// several; 0 is the first one.
	Program int `conf:"program" default:"0" reload:"restart" since:"weir"`

	// SIP is how devices of gb28181 are spoken to.
	SIP CasterSIPConfig `conf:"sip" since:"5.0.74"`
}

// CasterSIPConfig is stream_caster's sip.
type CasterSIPConfig struct {
	// Enabled turns SIP on. Without it only what /gb/v1/publish/ announces is taken.
	Enabled bool `conf:"enabled" default:"on" reload:"restart" since:"5.0.74"`

	// Listen is the port of SIP, both of TCP and UDP.
	Listen []string `conf:"listen" default:"5060" reload:"restart" since:"5.0.74"`

	// Timeout is how long an answer, the media, or more of them, may be waited for.
	Timeout time.Duration `conf:"timeout" default:"60" unit:"s" reload:"restart" since:"5.0.74"`

	// Reinvite is the wait before a device whose media have ended is invited again.
	Reinvite time.Duration `conf:"reinvite" default:"5" unit:"s" reload:"restart" since:"5.0.74"`

	// Candidate is the address that devices are told to send media to. With * it is the
	// one at which they reach SIP; $NAME is taken from the environment.
	Candidate []string `conf:"candidate" default:"*" reload:"restart" since:"5.0.74"`

	// Password makes it that only devices that know it may register (digest).
	Password string `conf:"password" default:"" shown:"none: any device may register" reload:"restart" since:"weir"`

	// Media is how devices are asked to send: by tcp, or in datagrams with udp. Both
	// are taken.
	Media string `conf:"media" default:"tcp" enum:"tcp|udp" reload:"restart" since:"weir"`
}

// The kinds of caster that are served.
const (
	CasterTS  = "mpegts_over_udp"
	CasterFLV = "flv"
	CasterGB  = "gb28181"
)

// Warnings tells of casters that are not served.
func (c *StreamCasterConfig) Warnings() []string {
	switch {
	case !c.Enabled || c.Caster == CasterTS || c.Caster == CasterFLV || c.Caster == CasterGB:
		return nil
	}
	return []string{fmt.Sprintf("caster %q is not known, and nothing listens for it; mpegts_over_udp, flv and gb28181 are", c.Caster)}
}
