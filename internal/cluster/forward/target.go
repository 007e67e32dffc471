package forward

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"weir/internal/cluster/upnode"
	"weir/internal/hub"
	"weir/internal/link/srt"
	"weir/internal/wire/rtmp"
)

// A target is where a stream is sent.
type target struct {
	word   string // as it was written: two targets are one if it is the same
	host   string
	dial   string // schema, host and port, with a path that says nothing
	tcURL  string
	app    string
	stream string // with parameters

	// srt says that it is an address of SRT: then the word is, and stream is the
	// stream id to ask with.
	srt bool
}

// url is how the API and the log call it.
func (t target) url() string {
	if t.srt {
		return t.tcURL + "?streamid=" + t.stream
	}
	return t.tcURL + "/" + t.stream
}

// static makes a target of a word of the configuration: a server alone, which gets the
// stream under its own name, or a whole address with variables.
func static(word string, tls bool, key hub.Key, param string) (target, error) {
	schema := "rtmp://"
	if tls {
		schema = "rtmps://"
	}
	full := word
	if !strings.Contains(word, "://") {
		full = schema + word
	}
	if strings.HasPrefix(full, "srt://") {
		return listener(word, key)
	}
	_, rest, _ := strings.Cut(full, "://")
	if _, path, ok := strings.Cut(rest, "/"); ok && path != "" {
		return address(word, full, key)
	}
	at, err := rtmp.ParseURL(strings.TrimSuffix(full, "/") + "/app/stream")
	if err != nil {
		return target{}, err
	}
	at.App, at.Stream, at.Param = key.App, key.Stream, upnode.StripVhost(param)
	return newTarget(word, at, key.Vhost)
}

// address makes a target of a whole address, whose variables are filled in after it
// was taken apart, so that a name cannot become a host.
func address(word, full string, key hub.Key) (target, error) {
	if strings.HasPrefix(full, "srt://") {
		return listener(word, key)
	}
	at, err := rtmp.ParseURL(full)
	if err != nil {
		return target{}, err
	}
	if at.Stream == "" {
		return target{}, fmt.Errorf("%.100q names no stream; write rtmp://host/app/name", word)
	}
	fill := strings.NewReplacer("[vhost]", key.Vhost, "[app]", key.App, "[stream]", key.Stream)
	vhost := fill.Replace(at.Vhost)
	at.App, at.Stream, at.Param = fill.Replace(at.App), fill.Replace(at.Stream), upnode.StripVhost(fill.Replace(at.Param))
	return newTarget(word, at, vhost)
}

// listener makes a target of an address of SRT, whose stream id may have variables, which
// are filled in after it was taken apart. Without a stream id it is that of SRS.
func listener(word string, key hub.Key) (target, error) {
	t, err := srt.ParseURL(word)
	if err != nil {
		return target{}, err
	}
	if t.StreamID == "" {
		t.StreamID = "#!::r=[app]/[stream],m=publish"
	}
	host, _, _ := net.SplitHostPort(t.Addr)
	fill := strings.NewReplacer("[vhost]", key.Vhost, "[app]", key.App, "[stream]", key.Stream)
	return target{word: word, host: host, tcURL: "srt://" + t.Addr, app: key.App, stream: fill.Replace(t.StreamID), srt: true}, nil
}

func newTarget(word string, at rtmp.Target, vhost string) (target, error) {
	if at.Schema != "rtmp" && at.Schema != "rtmps" {
		return target{}, fmt.Errorf("%.100q is not an address of RTMP", word)
	}
	if at.Host == "" || at.Host[0] == ':' && net.ParseIP(at.Host) == nil {
		return target{}, fmt.Errorf("%.100q names no host", word)
	}
	said := upnode.Host(at, vhost)
	return target{
		word:   word,
		host:   at.Host,
		dial:   at.Schema + "://" + net.JoinHostPort(at.Host, strconv.Itoa(at.Port)) + "/app/stream",
		tcURL:  said.TcURL(),
		app:    at.App,
		stream: at.Stream + at.Param,
	}, nil
}
