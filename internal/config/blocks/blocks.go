// Package blocks declares the blocks of the configuration that several parts of
// the server read.
//
// The idea: a block with one user is declared beside that user; one that RTMP,
// HTTP and SRT all ask (play, publish, http_hooks, security) is declared here,
// once, as a plain struct with its directives' names, defaults and units.
//
// The promise: names, defaults and units are those of SRS 7.0.18's running code.
// Directives that are not SRS's say so. The doc comment of a field is what
// "weir explain" and docs/reference print.
//
// The limits: the structs hold words and numbers; what they mean is decided by
// those who read them.
package blocks

import "weir/internal/config"

// The blocks. Each is read by its In (server) or Of (vhost).
var (
	Root       = config.NewRoot[RootConfig]()
	HTTPAPI    = config.NewServer[HTTPAPIConfig]("http_api")
	HTTPServer = config.NewServer[HTTPServerConfig]("http_server")
	ACME       = config.NewServer[ACMEConfig]("acme")
	Traces     = config.NewServer[TracesConfig]("traces")
	Heartbeat  = config.NewServer[HeartbeatConfig]("heartbeat")
	Stats      = config.NewServer[StatsConfig]("stats")
	Exporter   = config.NewServer[ExporterConfig]("exporter")
	Breaker    = config.NewServer[CircuitBreakerConfig]("circuit_breaker")
	Pprof      = config.NewServer[PprofConfig]("pprof")
	Casters    = config.NewServerList[StreamCasterConfig]("stream_caster")

	VhostRoot       = config.NewVhostRoot[VhostRootConfig]()
	Publish         = config.NewVhost[PublishConfig]("publish")
	Play            = config.NewVhost[PlayConfig]("play")
	Refer           = config.NewVhost[ReferConfig]("refer")
	Security        = config.NewVhost[SecurityConfig]("security")
	HTTPHooks       = config.NewVhost[HTTPHooksConfig]("http_hooks")
	HTTPStatic      = config.NewVhost[HTTPStaticConfig]("http_static")
	HTTPRemux       = config.NewVhost[HTTPRemuxConfig]("http_remux")
	HLS             = config.NewVhost[HLSConfig]("hls")
	DASH            = config.NewVhost[DASHConfig]("dash")
	DVR             = config.NewVhost[DVRConfig]("dvr")
	Thumbnail       = config.NewVhost[ThumbnailConfig]("thumbnail")
	TimeShift       = config.NewVhost[TimeShiftConfig]("time_shift")
	HDS             = config.NewVhost[HDSConfig]("hds")
	Bandcheck       = config.NewVhost[BandcheckConfig]("bandcheck")
	Exec            = config.NewVhost[ExecConfig]("exec")
	Ingest          = config.NewVhostList[IngestConfig]("ingest")
	Transcode       = config.NewVhostList[TranscodeConfig]("transcode")
	Limits          = config.NewVhost[LimitsConfig]("limits")
	SignedURL       = config.NewVhost[SignedURLConfig]("signed_url")
	JWT             = config.NewVhost[JWTConfig]("jwt")
	PlayCookie      = config.NewVhost[PlayCookieConfig]("play_cookie")
	MultitrackVideo = config.NewVhost[MultitrackVideoConfig]("multitrack_video")
	Forward         = config.NewVhost[ForwardConfig]("forward")
	Cluster         = config.NewVhost[ClusterConfig]("cluster")
	Slate           = config.NewVhost[SlateConfig]("slate")
)

// All returns every block of this package, in the order of the documents.
func All() []config.Spec {
	return []config.Spec{
		Root, HTTPAPI, HTTPServer, Heartbeat, Traces, ACME, Stats, Exporter, Breaker, Pprof, Casters, SRTServer, RTCServer, RTMPS, RTSPServer,
		VhostRoot, Publish, Play, Refer, Security, HTTPHooks, HTTPStatic, HTTPRemux, HLS,
		DASH, HDS, DVR, TimeShift, Thumbnail, Ingest, Transcode, Exec, Bandcheck, Limits, SignedURL, JWT, PlayCookie, MultitrackVideo, Forward, Cluster, Slate, SRT, RTC, RTSP,
	}
}
