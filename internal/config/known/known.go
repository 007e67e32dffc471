// Package known is the table of every directive that SRS 4 to 7 understands,
// whether this server implements it or not.
//
// The idea: a file that SRS runs must not be met with "unknown directive". Every
// directive is read by a block of this server, or it is moot: it only ever had a
// meaning in SRS's own process, and is ignored with one warning. A test holds that
// there is no third kind (see config.Unread), since to ignore one that restricts,
// authenticates, encrypts or routes would quietly open what an operator closed.
//
// The promise: what a block says of a directive goes before what is said here.
//
// The limits: types, defaults and names of the environment are those of SRS
// 7.0.18's running code; rows with a later or earlier "since" or "until" say so.
// The package holds data and imports nothing.
package known

// The types of directives.
const (
	Block        = "block"          // name { ... }
	Blocks       = "repeated block" // name [arg] { ... }, any number of them
	Bool         = "on or off"      //
	Int          = "whole number"   //
	Float        = "number"         //
	String       = "text"           // one word
	List         = "list"           // several words
	Seconds      = "seconds"        // may be fractional
	Milliseconds = "milliseconds"   // may be fractional
	Rules        = "repeated list"  // several words, any number of them
)

// When a change of a directive takes effect.
const (
	Now     = "now"     // at once, for running sessions too
	Session = "session" // for sessions and streams that begin after it
	Restart = "restart" // after a restart of the server
)

// NoEnv says that the environment cannot set a directive.
const NoEnv = "-"

// An Entry is one directive or block.
type Entry struct {
	// Path is the block's names and the directive's, with dots: "vhost.hls.hls_path".
	Path string
	// Type is one of the type constants.
	Type string
	// Default is what holds when the directive is missing, as it would be written.
	Default string
	// Env is empty if the name in the environment is the regular one (SRS_ and
	// the path in capitals, dots as underscores), NoEnv if there is none, else the
	// names without SRS_, with commas.
	Env string
	// Reload is when a change takes effect in SRS before 7.0.67.
	Reload string
	// Since is the version that brought it, empty for 4.0 and before; "-7.0.52"
	// is one that was removed after that version.
	Since string
	// Doc is what it does, in one line.
	Doc string
}

// Open reports whether SRS accepts any name within the block at path, because it
// never looks.
func Open(path string) bool { return open[path] }

// Moot reports whether the directive at path, or the block that holds it, has
// no meaning outside SRS's own process.
func Moot(path string) bool {
	for {
		if moot[path] {
			return true
		}
		i := lastDot(path)
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

func lastDot(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '.' {
			return i
		}
	}
	return -1
}

// All returns every directive, a block before what stands in it.
func All() []Entry {
	var out []Entry
	for _, part := range [][]Entry{root, services, vhost, vhostMedia, vhostProcess} {
		out = append(out, part...)
	}
	return out
}

var open = map[string]bool{
	"circuit_breaker":                true,
	"threads":                        true,
	"tencentcloud_cls":               true,
	"tencentcloud_apm":               true,
	"http_api.https":                 true,
	"http_server.https":              true,
	"rtc_server.tcp":                 true,
	"rtc_server.black_hole":          true,
	"vhost.bandcheck":                true,
	"vhost.ingest.input":             true,
	"vhost.ingest.engine":            true,
	"vhost.ingest.engine.perfile":    true,
	"vhost.ingest.engine.vfilter":    true,
	"vhost.ingest.engine.vparams":    true,
	"vhost.ingest.engine.aparams":    true,
	"vhost.transcode.engine.perfile": true,
	"vhost.transcode.engine.vfilter": true,
	"vhost.transcode.engine.vparams": true,
	"vhost.transcode.engine.aparams": true,
	"vhost.hds":                      true,
}

var moot = map[string]bool{
	"tcmalloc_release_rate":         true,
	"query_latest_version":          true,
	"first_wait_for_qlv":            true,
	"threads":                       true,
	"tencentcloud_cls":              true,
	"tencentcloud_apm":              true,
	"vhost.hls.hls_storage":         true,
	"vhost.hls.hls_mount":           true,
	"vhost.http_remux.hstrs":        true,
	"rtc_server.dir":                true,
	"rtc_server.rtp_timeout":        true,
	"srt_server.mix_correct":        true,
	"srt_server.sei_filter":         true,
	"http_api.raw_api.allow_query":  true,
	"http_api.raw_api.allow_update": true,
}
