package blocks

import (
	"fmt"
	"strings"
)

// ForwardConfig is forward: a copy of each stream is sent to other servers, over
// RTMP. A destination that cannot be reached is tried again, later each time, for as
// long as the stream lasts.
type ForwardConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Destination are the servers, each as host or host:port; the copy has the
	// stream's vhost, app, name and parameters. A whole address,
	// rtmp://host/app/name or rtmps://..., in which [vhost], [app] and [stream] may
	// stand, is weir's own; and so is srt://host:port?streamid=...&passphrase=..., whose
	// streamid may hold them (without one it is #!::r=[app]/[stream],m=publish).
	Destination []string `conf:"destination" reload:"now"`

	// Backend is a URL that is asked by HTTP, as on_forward, for the addresses to
	// send a stream to. If it does not answer so, the publisher is refused.
	Backend string `conf:"backend" default:"" shown:"none" reload:"session"`

	// RTMPS sends to destinations over TLS.
	RTMPS bool `conf:"rtmps" default:"off" reload:"now"`

	// TLSVerify says what becomes of a destination whose certificate cannot be
	// trusted: with off it is sent to all the same, as in SRS, with warn too and that
	// is told, with on it is not. It is a directive of weir.
	TLSVerify string `conf:"tls_verify" default:"warn" enum:"off|warn|on" reload:"now" since:"weir"`
}

// Warnings tells what is accepted and probably not meant.
func (c *ForwardConfig) Warnings() (all []string) {
	if c.Enabled && len(c.Destination) == 0 && c.Backend == "" {
		all = append(all, "forward is on and has neither destination nor backend: nothing is sent")
	}
	for _, d := range c.Destination {
		if schema, _, ok := strings.Cut(d, "://"); ok && schema != "rtmp" && schema != "rtmps" && schema != "srt" {
			all = append(all, fmt.Sprintf("forward destination %s is not an address of RTMP or SRT; write host:port, rtmp://host/app/name or srt://host:port?streamid=...", d))
		}
	}
	return all
}

// ClusterConfig is cluster: what a server is to others, an origin or an edge that has
// its streams from origins.
type ClusterConfig struct {
	_ struct{} `env:"-"`

	// Mode is local for a server of its own, or remote for an edge: what is played is
	// had from an origin, and what is published is passed on to one.
	Mode string `conf:"mode" default:"local" enum:"local|remote" reload:"session"`

	// Origin are the origins of an edge, each as host or host:port, that are tried in
	// turn.
	Origin []string `conf:"origin" reload:"session"`

	// TokenTraverse has an edge ask the origin before it lets a client in: it connects
	// as the client did, and the origin accepts or refuses.
	TokenTraverse bool `conf:"token_traverse" default:"off" reload:"session"`

	// Vhost is the vhost that an edge names to the origin; [vhost] stands for the
	// client's.
	Vhost string `conf:"vhost" default:"[vhost]" reload:"session"`

	// DebugSRSUpnode tells other servers, in the arguments of connect, who we are and
	// for which client we come.
	DebugSRSUpnode bool `conf:"debug_srs_upnode" default:"on" reload:"session"`

	// Protocol is how an edge has streams from the origin: rtmp, or over HTTP as flv,
	// or flvs with TLS.
	Protocol string `conf:"protocol" default:"rtmp" enum:"rtmp|flv|flvs" reload:"session"`

	// FollowClient has an edge ask over the protocol of the client that came first.
	FollowClient bool `conf:"follow_client" default:"off" reload:"session"`

	// OriginCluster has players of RTMP told which of the coworkers has the stream, if
	// it is not here.
	OriginCluster bool `conf:"origin_cluster" default:"off" reload:"session"`

	// Coworkers are the other origins' APIs, each as host:port.
	Coworkers []string `conf:"coworkers" reload:"session"`
}

// Transform returns the vhost that an edge names to its origin for one of ours.
func (c *ClusterConfig) Transform(vhost string) string {
	return strings.ReplaceAll(c.Vhost, "[vhost]", vhost)
}

// Warnings tells what is accepted and probably not meant.
func (c *ClusterConfig) Warnings() []string {
	if c.Mode == "remote" && len(c.Origin) == 0 {
		return []string{"cluster mode is remote and no origin is named: nothing can be had, and nothing passed on"}
	}
	return nil
}
