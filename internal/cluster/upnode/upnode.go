// Package upnode is what those have in common who speak to other servers for a
// stream: how we say who we are, and what the other one can take.
package upnode

import (
	"strings"

	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// Args are the arguments of connect: with tell who we are and for which session we
// come, as SRS's debug_srs_upnode does, and always the servers that the stream came
// through.
func Args(env service.Env, s *session.Session, tell bool) amf.Object {
	var o amf.Object
	if tell {
		o = amf.Object{
			{Key: "srs_sig", Value: "SRS"},
			{Key: "srs_server", Value: env.Server},
			{Key: "srs_license", Value: "MIT"},
			{Key: "srs_url", Value: "https://github.com/ossrs/srs"},
			{Key: "srs_version", Value: env.Level},
			{Key: "srs_pid", Value: env.PID},
			{Key: "srs_id", Value: s.ID},
			{Key: "srs_server_ip", Value: s.Local.Addr().String()},
		}
	}
	via := env.Service
	if s.Via != "" {
		via = s.Via + "," + via
	}
	return append(o, amf.Property{Key: service.Via, Value: via})
}

// Circle reports whether a visitor's stream has come through this server, or goes
// through it, already.
func Circle(env service.Env, s *session.Session) bool {
	for id := range strings.SplitSeq(s.Via, ",") {
		if id == env.Service {
			return true
		}
	}
	return false
}

// Takes returns which tracks a server takes. One that says nothing of Enhanced RTMP
// takes what plain RTMP has, and the pictures of its first version (HEVC, AV1, VP9),
// whose servers had nothing to say; the sound of the second, and more than one track
// of a kind, only who says so.
func Takes(c rtmp.Capabilities) func(*media.Track) bool {
	return func(t *media.Track) bool {
		if t.ID != 0 && !c.Knows("*") && c.Ex&rtmp.CapsMultitrack == 0 {
			return false
		}
		switch t.Codec {
		case media.H264, media.AAC, media.MP3, media.AMF0:
			return true
		}
		cc, ok := flv.FourCCOf(t.Codec)
		if !ok {
			return !c.Has
		}
		return c.Knows(cc.String()) || !c.Has && t.Kind == media.Video
	}
}

// StripVhost returns parameters without the one that names a vhost.
func StripVhost(param string) string {
	mark, rest := "?", strings.TrimPrefix(param, "?")
	if rest == param {
		mark = ""
	}
	kept := ""
	for pair := range strings.SplitSeq(rest, "&") {
		if pair == "" || strings.HasPrefix(pair, "vhost=") {
			continue
		}
		if kept != "" {
			kept += "&"
		}
		kept += pair
	}
	if kept == "" {
		return ""
	}
	return mark + kept
}

// Host returns an address with the vhost in the host's place, as other servers know
// which is meant; the default vhost has no name that others would know.
func Host(t rtmp.Target, vhost string) *rtmp.Target {
	if vhost != "" && vhost != rtmp.DefaultVhost {
		t.Host = vhost
	}
	return &t
}
