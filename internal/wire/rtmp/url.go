package rtmp

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Names with a meaning of their own.
const (
	DefaultVhost = "__defaultVhost__"
	DefaultApp   = "__defaultApp__"
)

// The ports of an address that names none: of rtmps, and of all else.
const (
	DefaultPort    = 1935
	DefaultTLSPort = 443
)

func defaultPort(schema string) int {
	if schema == "rtmps" {
		return DefaultTLSPort
	}
	return DefaultPort
}

// MaxName is the longest part of a name: a host, a vhost, an element of the
// app, a stream, in bytes.
const MaxName = 255

// maxURL is the longest tcUrl and stream name together, in bytes. It leaves
// room for tokens.
const maxURL = 8 << 10

// A Target is what a tcUrl and a stream name point to.
type Target struct {
	Schema string // "rtmp"
	Host   string // without brackets
	Port   int
	// Vhost is what the client named, be it as a parameter or as the host. It
	// is not looked up in any configuration.
	Vhost  string
	App    string // may have slashes
	Stream string
	// Param is what came behind "?" and "#", both included, or "".
	Param string
}

// Resolve returns what a client means that connected with tcURL and then
// published or played a stream, as SRS does:
//
//  1. "...vhost..." in tcURL stands for "?vhost=".
//  2. The full address is tcURL, a slash unless the stream begins with one, and
//     the stream with its parameters.
//  3. Parameters before the last slash, as encoders write them that know one
//     field for "server?key=1" and one for the stream, move behind the stream.
//     They come after the stream's own, as if they had been written there. A
//     slash in the stream's own parameters is none, unlike in SRS.
//  4. "/_definst_" goes.
//  5. The last element of the path is the stream, those before it the app, less
//     slashes at its ends. The
//     port is 1935 unless it is said, 443 for rtmps.
//  6. The vhost is the parameter vhost, else domain, else the host. A parameter
//     that names [DefaultVhost] is as if it were not there, and if it is the
//     only one, there are none.
//
// Errors wrap [ErrTcURL].
func Resolve(tcURL, stream string) (Target, error) {
	full := strings.ReplaceAll(tcURL, "...vhost...", "?vhost=")
	if !strings.HasPrefix(stream, "/") {
		full += "/"
	}
	name := strings.IndexAny(stream, "?#")
	if name <= 0 {
		name = len(stream)
	}
	return parse(full+stream, len(full)+name)
}

// ParseURL is Resolve for an address in one piece: "rtmp://host/app/stream".
func ParseURL(full string) (Target, error) {
	full = strings.ReplaceAll(full, "...vhost...", "?vhost=")
	return parse(full, len(full))
}

// parse does the rest of [Resolve]. No slash at or behind end divides names.
func parse(full string, end int) (Target, error) {
	if len(full) > maxURL {
		return Target{}, fmt.Errorf("%w: %d bytes long", ErrTcURL, len(full))
	}
	schema, rest, ok := strings.Cut(full, "://")
	if !ok || schema == "" || strings.ContainsAny(schema, "/?#") {
		return Target{}, fmt.Errorf("%w: no schema in %.64q", ErrTcURL, full)
	}
	t := Target{Schema: schema}

	query := strings.IndexAny(rest, "?#")
	end -= len(full) - len(rest)
	if slash := strings.LastIndexByte(rest[:max(end, 0)], '/'); query >= 0 && query < slash {
		early, late := rest[query:slash], rest[slash:]
		rest = rest[:query] + join(late, early)
	}
	rest = strings.ReplaceAll(rest, "/_definst_", "")

	path := rest
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		path, t.Param = rest[:i], strings.TrimSuffix(rest[i:], "#")
		if t.Param == "?" || strings.HasPrefix(t.Param, "?#") {
			t.Param = t.Param[1:]
		}
	}
	host, path, _ := strings.Cut(path, "/")
	if err := t.setHost(host); err != nil {
		return Target{}, err
	}
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		t.App, t.Stream = path[:i], path[i+1:]
		// A slash too many at the end of "server" is an encoder's setting that
		// its viewers do not repeat.
		t.App = strings.TrimRight(strings.TrimPrefix(t.App, "/"), "/")
	} else {
		t.Stream = path
	}
	if t.App == "" {
		t.App = DefaultApp
	}

	named := t.Value("vhost")
	if named == "" {
		named = t.Value("domain")
	}
	t.Vhost = t.Host
	if named != "" && named != DefaultVhost {
		t.Vhost = named
	}
	if named == DefaultVhost && !strings.ContainsRune(t.Param, '&') {
		t.Param = ""
	}
	if err := t.check(); err != nil {
		return Target{}, err
	}
	return t, nil
}

// join puts the parameters early, which begin with "?" or "#", behind those
// that late may have. A fragment stays last.
func join(late, early string) string {
	if len(early) <= 1 {
		return late
	}
	fragment := ""
	if i := strings.IndexByte(late, '#'); i >= 0 {
		late, fragment = late[:i], late[i:]
	}
	if early[0] == '?' && strings.ContainsRune(late, '?') {
		early = "&" + early[1:]
	}
	return late + early + fragment
}

// setHost takes "host", "host:port" or "[::1]:port".
func (t *Target) setHost(s string) error {
	t.Host, t.Port = s, defaultPort(t.Schema)
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, rest, ok := strings.Cut(inner, "]")
		if !ok || rest != "" && rest[0] != ':' {
			return fmt.Errorf("%w: host %.64q", ErrTcURL, s)
		}
		t.Host, s = host, rest
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return nil
	}
	if s[0] != ':' {
		t.Host = s[:i]
	}
	if s[i+1:] == "" {
		return nil
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("%w: port %.64q", ErrTcURL, s[i+1:])
	}
	t.Port = int(port)
	return nil
}

// Value returns the parameter with the given key, as it was written, or "".
// Clients that join parameters carelessly write a second "?" for "&".
func (t *Target) Value(key string) string {
	query, _, _ := strings.Cut(t.Param, "#")
	for query != "" {
		pair := query
		if i := strings.IndexAny(query, "?&"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		if k, v, _ := strings.Cut(pair, "="); k == key && v != "" {
			return v
		}
	}
	return ""
}

func (t *Target) check() error {
	for _, s := range [...]string{t.Schema, t.Host, t.Vhost, t.Stream} {
		if len(s) > MaxName {
			return fmt.Errorf("%w: a name of %d bytes", ErrTcURL, len(s))
		}
	}
	for s := range strings.SplitSeq(t.App, "/") {
		if len(s) > MaxName {
			return fmt.Errorf("%w: a name of %d bytes", ErrTcURL, len(s))
		}
	}
	for _, s := range [...]string{t.Host, t.Vhost, t.App, t.Stream} {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%w: a control character in %.64q", ErrTcURL, s)
		}
	}
	return nil
}

// Addr returns host and port for dialling.
func (t *Target) Addr() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// TcURL returns the address without stream and parameters. The default port is
// left out.
func (t *Target) TcURL() string {
	host := t.Host
	if strings.ContainsRune(host, ':') {
		host = "[" + host + "]"
	}
	if t.Port != defaultPort(t.Schema) {
		host += ":" + strconv.Itoa(t.Port)
	}
	return t.Schema + "://" + host + "/" + t.App
}
