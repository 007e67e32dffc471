package blocks

import (
	"time"

	"weir/internal/config"
)

// The blocks of RTSP.
var (
	RTSPServer = config.NewServer[RTSPServerConfig]("rtsp_server")
	RTSP       = config.NewVhost[RTSPConfig]("rtsp")
)

// RTSPServerConfig is rtsp_server: where RTSP is spoken, with players.
type RTSPServerConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"7.0.47"`

	// Listen is where: one or more of port, ip:port or [ip6]:port.
	Listen []string `conf:"listen" default:"8554" reload:"now" since:"7.0.47"`
}

// RTSPConfig is rtsp of a vhost: who may play its streams by RTSP.
type RTSPConfig struct {
	// Enabled turns RTSP on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"session" since:"7.0.47"`

	// RTMPToRTSP lets RTSP play what is published, by whatever protocol. As in SRS there
	// is nothing to play without it.
	RTMPToRTSP bool `conf:"rtmp_to_rtsp" default:"off" reload:"session" since:"7.0.47"`

	// WaitTimeout is how long a player waits that asks for a stream which nobody
	// publishes yet, before it gets a 404. With 0 it gets that at once, as in SRS. It is
	// a directive of weir.
	WaitTimeout time.Duration `conf:"wait_timeout" default:"5" unit:"s" reload:"session" since:"weir"`
}
