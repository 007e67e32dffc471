package blocks

import (
	"fmt"
	"net/netip"
	"time"

	"weir/internal/config"
)

// RootConfig holds the directives that stand directly in the file: where RTMP
// listens, how the process runs, where it logs.
type RootConfig struct {
	// Listen is where RTMP is spoken: one or more of port, ip:port or [ip6]:port. A
	// port alone listens at every address, IPv6 included. There is no default; a
	// file without it is refused.
	Listen []string `conf:"listen" shown:"none, required" env:"LISTEN,RTMP_LISTEN" reload:"now"`

	// ChunkSize is the size in bytes of the RTMP chunks that the server sends, from
	// 128 to 65536. Beyond these bounds there is a warning, and the nearest is used.
	ChunkSize int `conf:"chunk_size" default:"60000" env:"VHOST_CHUNK_SIZE,RTMP_CHUNK_SIZE" reload:"session"`

	// PID is the file that holds the process id. It is locked while the server
	// runs, so that a second start says who is there already.
	PID string `conf:"pid" default:"./objs/srs.pid" reload:"restart"`

	// ServerID is the server's identity in API and hooks. Left out, it is made
	// once and kept beside the pid file, in a file that ends in .id.
	ServerID string `conf:"server_id" default:"" shown:"made once and kept" reload:"restart"`

	// MaxConnections is the most sessions at one time, all protocols together.
	// What comes beyond it is turned away. It must leave 128 of the process's
	// descriptors free.
	MaxConnections int `conf:"max_connections" default:"1000" reload:"now"`

	// Daemon runs the server in the background.
	Daemon bool `conf:"daemon" default:"on" shown:"on; off in a container" reload:"restart"`

	// WorkDir is the directory to which the server changes after it has read its
	// configuration; relative paths begin there.
	WorkDir string `conf:"work_dir" default:"./" reload:"restart"`

	// AsProcess makes the server quit when its parent process is gone. It cannot
	// be combined with daemon.
	AsProcess bool `conf:"asprocess" default:"off" reload:"restart"`

	// UTCTime uses UTC, not local time, in log lines and in the names of files.
	UTCTime bool `conf:"utc_time" default:"off" reload:"restart"`

	// PithyPrint is how often the log tells how running sessions go: of one that publishes
	// and one that plays, all in turn.
	PithyPrint time.Duration `conf:"pithy_print_ms" default:"10000" unit:"ms" reload:"now"`

	// LogTank is where the log goes: a file, or the console.
	LogTank string `conf:"srs_log_tank" default:"" shown:"file; console in a container" enum:"file|console" env:"SRS_LOG_TANK,LOG_TANK" reload:"restart"`

	// LogLevel is the least level of what is logged, in SRS's older words, where
	// trace is the usual level and lies between info and warn.
	LogLevel string `conf:"srs_log_level" default:"trace" enum:"verbose|info|trace|warn|error" env:"SRS_LOG_LEVEL,LOG_LEVEL" reload:"now"`

	// LogLevelV2 is the least level of what is logged, in the usual words, where
	// trace is the lowest. It goes before srs_log_level.
	LogLevelV2 string `conf:"srs_log_level_v2" default:"" shown:"not set" enum:"trace|debug|info|warn|error" env:"SRS_LOG_LEVEL_V2,LOG_LEVEL_V2" reload:"now" since:"5.0.83"`

	// LogFile is the log file. SIGUSR1 opens it anew, for log rotation.
	LogFile string `conf:"srs_log_file" default:"./objs/srs.log" env:"SRS_LOG_FILE,LOG_FILE" reload:"restart"`

	// LogFormat is how lines are written: text, in SRS's shape, or json, an object
	// for each line. It is a directive of weir.
	LogFormat string `conf:"srs_log_format" default:"text" enum:"text|json" reload:"restart" since:"weir"`

	// TrustedProxies are the addresses and networks of proxies in front of the server,
	// whose word for where a client comes from counts: X-Forwarded-For, X-Real-IP, the
	// PROXY header, and go-oryx's for RTMP. Others' words count for nothing. With any
	// everybody's count, and the first address of X-Forwarded-For, as in SRS. It is a
	// directive of weir.
	TrustedProxies []string `conf:"trusted_proxies" shown:"this machine and private networks" reload:"now" since:"weir"`

	// ProxyProtocol says that trusted proxies begin each connection with a PROXY
	// header, version 1 or 2; one without it is closed. It is a directive of weir.
	ProxyProtocol bool `conf:"proxy_protocol" default:"off" reload:"now" since:"weir"`

	// FFLogDir is the directory of the logs of ffmpeg and of other programs, each of at most 8 MB
	// and one older of that size; /dev/null keeps none.
	FFLogDir string `conf:"ff_log_dir" default:"./objs" reload:"session"`

	// FFLogLevel is the level at which ffmpeg logs, in its own words: of ingests, and of transcoders if
	// it is not info.
	FFLogLevel string `conf:"ff_log_level" default:"info" reload:"session"`

	// EmptyIPOK accepts connections whose address is gone before it was asked for,
	// as those of a load balancer that only looks whether the port is open. It is
	// always as if on.
	EmptyIPOK bool `conf:"empty_ip_ok" default:"on" reload:"session"`

	// InDocker makes the server behave as in a container even if it detects none.
	InDocker bool `conf:"in_docker" default:"off" shown:"detected" reload:"restart" since:"4.0.216"`

	// DisableDaemonForDocker keeps the server in the foreground in a container,
	// whatever daemon says.
	DisableDaemonForDocker bool `conf:"disable_daemon_for_docker" default:"on" reload:"restart"`

	// InotifyAutoReload reloads the configuration when its file changes.
	InotifyAutoReload bool `conf:"inotify_auto_reload" default:"off" reload:"now"`

	// AutoReloadForDocker does so in a container.
	AutoReloadForDocker bool `conf:"auto_reload_for_docker" default:"on" reload:"now"`

	// GraceStartWait is how long a graceful quit (SIGQUIT) waits before the
	// listeners close, so that a load balancer can notice.
	GraceStartWait time.Duration `conf:"grace_start_wait" default:"2300" unit:"ms" reload:"now"`

	// GraceFinalWait is how long a graceful quit, and the old process of an upgrade, waits
	// after the last session.
	GraceFinalWait time.Duration `conf:"grace_final_wait" default:"3200" unit:"ms" reload:"now"`

	// GraceMoveTo is where a graceful quit asks those RTMP clients to go that said they
	// can (Enhanced RTMP's reconnect request): rtmp://host[:port][/app], without an app
	// the client's own; empty for the address that they came by, where another server is
	// expected to answer by then.
	GraceMoveTo string `conf:"grace_move_to" default:"" reload:"now" since:"weir"`

	// UpgradeDrain is how long the old process of an upgrade (weir upgrade, SIGUSR2) goes on
	// with clients that came before it; then it ends theirs. 0 is without end. It is a
	// directive of weir.
	UpgradeDrain time.Duration `conf:"upgrade_drain" default:"3600" unit:"s" reload:"now" since:"weir"`

	// ForceGraceQuit makes SIGTERM quit gracefully too.
	ForceGraceQuit bool `conf:"force_grace_quit" default:"off" reload:"now"`
}

// InContainer reports whether the server should behave as in a container, which
// detected says of the process.
func (c *RootConfig) InContainer(detected bool) bool { return c.InDocker || detected }

// Background reports whether the server is to run in the background. detected
// says that the process was found to run in a container.
func (c *RootConfig) Background(detected bool) bool {
	return c.Daemon && !(c.InContainer(detected) && c.DisableDaemonForDocker)
}

// LogToConsole reports whether the log goes to the console.
func (c *RootConfig) LogToConsole(detected bool) bool {
	if c.LogTank == "" {
		return c.InContainer(detected)
	}
	return c.LogTank == "console"
}

// privateNetworks are the trusted proxies by default.
var privateNetworks = []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"}

// Proxies returns the networks whose word for a client's address counts; any says
// that everybody's does.
func (c *RootConfig) Proxies() (nets []netip.Prefix, any bool) {
	words := c.TrustedProxies
	if len(words) == 0 {
		words = privateNetworks
	}
	for _, w := range words {
		if w == "any" {
			return nil, true
		}
		if p, err := network(w); err == nil {
			nets = append(nets, p)
		}
	}
	return nets, false
}

// network reads an address or a network in CIDR.
func network(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), err
}

// Validate refuses what would trust nobody that was meant to be trusted.
func (c *RootConfig) Validate() error {
	for _, w := range c.TrustedProxies {
		if _, err := network(w); err != nil && w != "any" && w != "none" {
			return fmt.Errorf("trusted_proxies %s is neither an address, nor a network, nor any, nor none", w)
		}
	}
	return nil
}

// Warnings tells what is accepted and probably not meant.
func (c *RootConfig) Warnings() []string {
	if c.PithyPrint <= 0 {
		return []string{"pithy_print_ms is not above 0: running sessions are logged of ten times a second"}
	}
	return nil
}

// VhostRootConfig holds the directives that stand directly in a vhost.
type VhostRootConfig struct {
	// Enabled is off for a vhost that refuses everybody.
	Enabled bool `conf:"enabled" default:"on" env:"-" reload:"now"`

	// ChunkSize is the size in bytes of the RTMP chunks that are sent to the
	// clients of this vhost, if it is not that of the file.
	ChunkSize int `conf:"chunk_size" default:"" shown:"that of the file" env:"VHOST_CHUNK_SIZE" reload:"session"`

	// MinLatency sends each message at once, in place of gathering a few. It costs
	// processor time and saves up to mw_latency.
	MinLatency bool `conf:"min_latency" default:"off" reload:"session"`

	// TCPNoDelay sets TCP_NODELAY on the connections of RTMP, so that the system
	// does not wait for more to send either.
	TCPNoDelay bool `conf:"tcp_nodelay" default:"off" reload:"session"`

	// InAckSize is the number of bytes after which a client must acknowledge what
	// it received. With 0 the client decides.
	InAckSize int `conf:"in_ack_size" default:"0" reload:"session"`

	// OutAckSize is the acknowledgement window in bytes that clients are told.
	OutAckSize int `conf:"out_ack_size" default:"2500000" reload:"session"`
}

// The bounds of RTMP's chunk size in bytes.
const (
	MinChunkSize = 128
	MaxChunkSize = 65536
)

// ChunkSize returns the size in bytes of the RTMP chunks for clients of v, which
// may be nil before it is known: the vhost's, else the file's, within its bounds.
func ChunkSize(s *config.Snapshot, v *config.Vhost) int {
	n := VhostRoot.Of(v).ChunkSize
	if n == 0 {
		n = Root.In(s).ChunkSize
	}
	return max(MinChunkSize, min(MaxChunkSize, n))
}
