package blocks

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"weir/internal/config"
)

// HTTPAPIConfig is http_api: the HTTP API, by which programs ask what streams and
// clients there are, and end them.
type HTTPAPIConfig struct {
	// Enabled turns the API on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Listen is where the API listens: port, ip:port or [ip6]:port. If it is the
	// address of http_server, one port serves both.
	Listen []string `conf:"listen" default:"1985" reload:"now"`

	// CrossDomain lets pages of other sites call the API (CORS).
	CrossDomain bool `conf:"crossdomain" default:"on" reload:"now"`

	// History is for how long the API tells of who has published and played, and why
	// it ended, in seconds; 0 keeps nothing. It is a directive of weir.
	History time.Duration `conf:"history" default:"600" unit:"s" reload:"now" since:"weir"`

	// IngestAllow are the addresses that the API may have pulled (POST
	// /api/v1/ingests/start), each as scheme://host or scheme://host:port: rtmp, rtmps,
	// http, https or srt. A host of * is any, *.example.com any below it. Without any,
	// none may be. Files, devices and what needs a program never may.
	IngestAllow []string `conf:"ingest_allow" reload:"now" since:"weir"`

	// RawAPI is the part of the API that changes the server.
	RawAPI RawAPIConfig `conf:"raw_api"`

	// Auth is who may call the API.
	Auth APIAuthConfig `conf:"auth"`

	// HTTPS is the API over TLS.
	HTTPS APITLSConfig `conf:"https"`
}

// RawAPIConfig is http_api's raw_api.
type RawAPIConfig struct {
	// Enabled turns the raw API on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// AllowReload allows a reload of the configuration by rpc=reload.
	AllowReload bool `conf:"allow_reload" default:"off" reload:"now"`
}

// APIAuthConfig is http_api's auth.
type APIAuthConfig struct {
	// Enabled asks every caller of the API for a name and a password, or for a
	// token.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"5.0.152"`

	// Username is the name.
	Username string `conf:"username" default:"" reload:"now" since:"5.0.152"`

	// Password is the password.
	Password string `conf:"password" default:"" reload:"now" since:"5.0.152"`

	// Type is how it is asked: basic, for name and password, or bearer, for the
	// token.
	Type string `conf:"type" default:"basic" enum:"basic|bearer" reload:"now" since:"7.0.66"`

	// Token is what callers have in the header "Authorization: Bearer".
	Token string `conf:"token" default:"" reload:"now" since:"7.0.66"`

	// RTCBearer asks callers of WHIP and WHEP for the token too, where type is bearer.
	RTCBearer bool `conf:"rtc_bearer_enabled" default:"off" reload:"now" since:"7.0.66"`
}

// APITLSConfig is http_api's https.
type APITLSConfig struct {
	// Enabled turns HTTPS on, beside HTTP, which must be on too.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Listen is where HTTPS listens. If HTTP is shared with http_server, HTTPS is
	// too.
	Listen []string `conf:"listen" default:"1990" reload:"now"`

	// Key is the file of the private key, in PEM.
	Key string `conf:"key" default:"./conf/server.key" reload:"now"`

	// Cert is the file of the certificate chain, in PEM.
	Cert string `conf:"cert" default:"./conf/server.crt" reload:"now"`
}

// HTTPServerConfig is http_server: the HTTP server for streams and files.
type HTTPServerConfig struct {
	// Enabled turns the server on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Listen is where it listens: port, ip:port or [ip6]:port.
	Listen []string `conf:"listen" default:"8080" reload:"now"`

	// Dir is the directory of the files that are served. It is made if it is
	// missing.
	Dir string `conf:"dir" default:"./objs/nginx/html" reload:"now"`

	// CrossDomain lets pages of other sites play the streams (CORS).
	CrossDomain bool `conf:"crossdomain" default:"on" reload:"now"`

	// HTTPS is the same over TLS.
	HTTPS ServerTLSConfig `conf:"https"`
}

// ServerTLSConfig is http_server's https.
type ServerTLSConfig struct {
	// Enabled turns HTTPS on, beside HTTP, which must be on too.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Listen is where HTTPS listens.
	Listen []string `conf:"listen" default:"8088" reload:"now"`

	// Key is the file of the private key, in PEM.
	Key string `conf:"key" default:"./conf/server.key" reload:"now"`

	// Cert is the file of the certificate chain, in PEM.
	Cert string `conf:"cert" default:"./conf/server.crt" reload:"now"`
}

// OnePort reports whether API and HTTP server share their port: both are on, and
// listen at the same.
func OnePort(s *config.Snapshot) bool {
	api, web := HTTPAPI.In(s), HTTPServer.In(s)
	return api.Enabled && web.Enabled && slices.Equal(api.Listen, web.Listen)
}

// APITLSListen returns where the API's HTTPS listens, which is where http_server's
// does if they share their port.
func APITLSListen(s *config.Snapshot) []string {
	if web := HTTPServer.In(s); OnePort(s) && web.HTTPS.Enabled {
		return web.HTTPS.Listen
	}
	return HTTPAPI.In(s).HTTPS.Listen
}

// HTTPStaticConfig is http_static: files of a vhost under a path of their own.
type HTTPStaticConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Mount is the path under which the files are, where [vhost] stands for the
	// host that is asked for; for the default vhost it vanishes.
	Mount string `conf:"mount" default:"[vhost]/" reload:"now"`

	// Dir is the directory of the files.
	Dir string `conf:"dir" default:"./objs/nginx/html" reload:"now"`
}

// HTTPRemuxConfig is http_remux: live streams in one HTTP response, as FLV, MP4
// and more.
type HTTPRemuxConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// Mount is the path of a stream, with [vhost], [app] and [stream]. Its ending is
	// the format: .flv, .ts, .aac, .mp3 or .mp4. Where .flv is mounted, the same path
	// with .mp4 is the stream as MP4, while it is live. Each path is served to
	// WebSocket too. Several mounts in one vhost, as words one after the other, are
	// weir's own; SRS has one.
	Mount []string `conf:"mount" default:"[vhost]/[app]/[stream].flv" reload:"session"`

	// FastCache is how much sound is kept and sent at once to a new player of .mp3
	// and .aac.
	FastCache time.Duration `conf:"fast_cache" default:"0" unit:"s" reload:"session"`

	// DropIfNotMatch drops what the header of the stream says is not there.
	DropIfNotMatch bool `conf:"drop_if_not_match" default:"on" reload:"session" since:"5.0.109"`

	// HasAudio says in the header that there is sound.
	HasAudio bool `conf:"has_audio" default:"on" reload:"session" since:"5.0.109"`

	// HasVideo says in the header that there is a picture.
	HasVideo bool `conf:"has_video" default:"on" reload:"session" since:"5.0.109"`

	// GuessHasAV finds out from the stream's beginning whether it has sound and
	// picture, and goes before has_audio and has_video.
	GuessHasAV bool `conf:"guess_has_av" default:"on" reload:"session" since:"5.0.109"`

	// OnMissing is what a player gets that asks for a stream which nobody publishes:
	// wait keeps the request open until somebody does, as SRS 7.0.18, and 404
	// answers at once, as SRS 7.0.50 and later. It is a directive of weir.
	OnMissing string `conf:"on_missing" default:"wait" enum:"wait|404" reload:"session" since:"weir"`

	// WaitTimeout is how long such a player waits before it gets a 404; with 0 it
	// waits for ever. It is a directive of weir.
	WaitTimeout time.Duration `conf:"wait_timeout" default:"0" unit:"s" reload:"session" since:"weir"`
}

// LiveFormats are the endings of mounts.
var LiveFormats = []string{".flv", ".ts", ".aac", ".mp3", ".mp4"}

// Warnings tells of mounts that serve nothing.
func (c *HTTPRemuxConfig) Warnings() (all []string) {
	for _, m := range c.Mount {
		if ext := path.Ext(m); c.Enabled && !slices.Contains(LiveFormats, ext) {
			all = append(all, fmt.Sprintf("mount %s: nothing is served there, since %q is no format; end it with %s", m, ext, strings.Join(LiveFormats, ", ")))
		}
	}
	return all
}
