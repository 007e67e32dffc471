package blocks

import "weir/internal/config"

// RTMPS is the block of RTMP over TLS.
var RTMPS = config.NewServer[RTMPSConfig]("rtmps")

// RTMPSConfig is rtmps: where RTMP is spoken over TLS.
type RTMPSConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"7.0.56"`

	// Listen is where: one or more of port, ip:port or [ip6]:port.
	Listen []string `conf:"listen" default:"1443" reload:"now" since:"7.0.56"`

	// Key is the file of the private key, in PEM. Files that change are read again.
	Key string `conf:"key" default:"./conf/server.key" reload:"now" since:"7.0.56"`

	// Cert is the file of the certificate and of those above it, in PEM.
	Cert string `conf:"cert" default:"./conf/server.crt" reload:"now" since:"7.0.56"`
}
