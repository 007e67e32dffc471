package srt

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/session"
	wire "weir/internal/wire/srt"
)

// wish is what a stream id asks for.
type wish struct {
	publish bool
	host    string // "" if it names none
	app     string
	stream  string
	param   string
}

const prefix = "#!::"

// parseStreamID reads a stream id in SRS's spellings:
//
//	#!::r=app/stream,m=publish,h=host,k=v   pairs apart by , & && or ;
//	#!::h=[host/]app/stream,m=publish       the older one
//	app/stream or stream                    to play
//
// A ? counts as a comma. Pairs of other names become the parameters. The error is a
// refusal's code.
func parseStreamID(id string, conf *blocks.SRTServerConfig) (w wish, err error) {
	if id == "" {
		id = conf.DefaultStreamID
	}
	if strings.Contains(id, "%") && !strings.HasPrefix(id, prefix) {
		// ffmpeg and others send what stands in their URL as it is.
		if plain, err := url.PathUnescape(id); err == nil {
			id = plain
		}
	}
	w.publish = conf.DefaultMode == "publish"
	rest, ok := strings.CutPrefix(id, prefix)
	if !ok {
		w.publish = false
		name, param, _ := strings.Cut(id, "?")
		w.param = param
		return w, w.name(name, conf.DefaultApp)
	}
	resource, legacy := "", ""
	var params []string
	for pair := range strings.FieldsFuncSeq(rest, func(r rune) bool { return strings.ContainsRune(",&;?", r) }) {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return w, fmt.Errorf("%q is no pair of the stream id: %w", pair, wire.RejectBadRequest)
		}
		switch k {
		case "r":
			resource = v
		case "m":
			switch strings.ToLower(v) {
			case "publish":
				w.publish = true
			case "request":
				w.publish = false
			default:
				return w, fmt.Errorf("mode m=%s is neither publish nor request: %w", v, wire.RejectBadMode)
			}
		case "h":
			w.host, legacy = v, ""
			if parts := strings.Split(v, "/"); len(parts) == 2 {
				w.host, legacy = "", v
			} else if len(parts) > 2 {
				w.host, legacy, _ = strings.Cut(v, "/")
			}
			if w.host != "" {
				params = append(params, "vhost="+w.host)
			}
		default:
			params = append(params, pair)
		}
	}
	if resource == "" {
		resource = legacy
	}
	w.param = strings.Join(params, "&")
	return w, w.name(resource, conf.DefaultApp)
}

// name takes app/stream.
func (w *wish) name(s, defaultApp string) error {
	app, stream, ok := strings.Cut(strings.TrimPrefix(s, "/"), "/")
	if !ok {
		app, stream = defaultApp, app
	}
	if app == "" || stream == "" {
		return fmt.Errorf("the stream id names no stream: %w", wire.RejectBadRequest)
	}
	w.app, w.stream = app, stream
	return nil
}

// ask is the wish in the desk's words; local is the address that the peer reached.
func (w *wish) ask(local string) session.Ask {
	vhost := w.host
	if vhost == "" {
		vhost = local
	}
	a := session.Ask{
		Key:  hub.Key{Vhost: vhost, App: w.app, Stream: w.stream},
		Said: session.Said{Vhost: vhost, App: w.app, Stream: w.stream, Param: w.param},
		Type: "srt-play",
	}
	if w.publish {
		a.Type = "srt-publish"
	}
	return a
}

func (w *wish) tcURL(local string) string {
	if w.host != "" {
		local = w.host
	}
	return "srt://" + local + "/" + w.app
}

// program is the number of the program to take of a transport stream, from the parameter
// of that name; 0 is the first one.
func (w *wish) program() uint16 {
	for pair := range strings.SplitSeq(w.param, "&") {
		if v, ok := strings.CutPrefix(pair, "program="); ok {
			n, _ := strconv.ParseUint(v, 10, 16)
			return uint16(n)
		}
	}
	return 0
}
