package process

import (
	"fmt"
	"net"
	"strings"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
	"weir/internal/store"
)

// values are what the variables of the configuration stand for.
type values struct {
	house house
	vhost string
	key   hub.Key
	param string // "?token=abc"
	name  string // of the engine
	// tcURL, swfURL and pageURL are what the client said.
	tcURL, swfURL, pageURL string
	at                     time.Time
}

// valuesOf are the values of a stream that is published; x may be nil.
func valuesOf(h house, x *session.Session, ask session.Ask) *values {
	v := &values{house: h, vhost: ask.Key.Vhost, key: ask.Key, param: ask.Said.Param}
	if x != nil {
		v.tcURL, v.swfURL, v.pageURL = x.TcURL, x.SwfURL, x.PageURL
		if ask.Said.TcURL != "" {
			v.tcURL = ask.Said.TcURL
		}
	}
	return v
}

func (v *values) engine(name string) *values { c := *v; c.name = name; return &c }

// now returns the values with the present time.
func (v *values) now() *values { c := *v; c.at = time.Now(); return &c }

// input is the address of the stream at this server, as SRS tells it to ffmpeg.
func (v *values) input() string {
	return "rtmp://" + net.JoinHostPort(v.house.Host, v.house.Port) + "/" + v.key.App + "?vhost=" + v.vhost + "/" + v.key.Stream
}

// url is the same with the publisher's parameters.
func (v *values) url() string {
	u := "rtmp://" + net.JoinHostPort(v.house.Host, v.house.Port) + "/" + v.key.App + "/" + v.key.Stream
	sep := "?"
	if v.vhost != hub.DefaultVhost {
		u += "?vhost=" + v.vhost
		sep = "&"
	}
	if param := strings.TrimPrefix(v.param, "?"); param != "" {
		u += sep + param
	}
	return u
}

// text fills in what the configuration alone decides: vhost, port and time. As in SRS
// the default vhost need not be named.
func (v *values) text(template string) string {
	s := strings.NewReplacer("[vhost]", v.vhost, "[port]", v.house.Port).Replace(template)
	s = strings.NewReplacer("?vhost="+hub.DefaultVhost+"/", "/", "&vhost="+hub.DefaultVhost, "", "?vhost="+hub.DefaultVhost, "").Replace(s)
	return store.Expand(s, noKey, v.at)
}

// noKey leaves the names of a stream as they are.
var noKey = hub.Key{Vhost: "[vhost]", App: "[app]", Stream: "[stream]"}

// fill replaces the variables of one argument. The error says which value of a client
// could be read as an option, a path or an address of its own.
func (v *values) fill(template string) (string, error) {
	var out strings.Builder
	for {
		end := strings.IndexByte(template, ']')
		open := strings.LastIndexByte(template[:max(end, 0)], '[')
		if end < 0 {
			out.WriteString(template)
			return out.String(), nil
		}
		if open < 0 {
			out.WriteString(template[:end+1])
			template = template[end+1:]
			continue
		}
		out.WriteString(template[:open])
		name := template[open : end+1]
		template = template[end+1:]
		value, err := v.value(name, out.Len() == 0)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
	}
}

// value is what one variable stands for; first says that an argument begins with it.
func (v *values) value(name string, first bool) (string, error) {
	switch name {
	case "[vhost]":
		return v.vhost, nil
	case "[port]":
		return v.house.Port, nil
	case "[engine]":
		return v.name, nil
	case "[url]":
		return v.url(), sound(name, v.url(), false)
	case "[tcUrl]":
		return address(name, v.tcURL)
	case "[swfUrl]":
		return address(name, v.swfURL)
	case "[pageUrl]":
		return address(name, v.pageURL)
	case "[app]":
		return v.key.App, sound(name, v.key.App, first)
	case "[stream]":
		return v.key.Stream, sound(name, v.key.Stream, first)
	case "[param]":
		return v.param, sound(name, v.param, first)
	}
	return store.Expand(name, noKey, v.at), nil // the time, or no variable
}

// sound tells what is wrong with a value that a client chose.
func sound(name, value string, first bool) error {
	refuse := func(why string) error {
		return fmt.Errorf("the client's %s is %.100q, which %s: no program is given that", name, value, why)
	}
	for part := range strings.SplitSeq(value, "/") {
		if part == ".." {
			return refuse("leaves its folder")
		}
	}
	switch {
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return refuse("cannot be printed")
	case strings.HasPrefix(value, "/"):
		return refuse("is a path from the root")
	case first && strings.HasPrefix(value, "-"):
		return refuse("would be an option")
	case first && strings.Contains(value, ":"):
		return refuse("would be an address")
	}
	return nil
}

// schemes are how the addresses begin that clients tell of themselves.
var schemes = []string{"rtmp://", "rtmps://", "rtmpt://", "http://", "https://", "srt://", "webrtc://", "rtsp://"}

// address is an address that a client told; what is none is left out.
func address(name, value string) (string, error) {
	for _, s := range schemes {
		if strings.HasPrefix(value, s) {
			return value, sound(name, value, false)
		}
	}
	return "", nil
}
