package config

import (
	"slices"
)

// A transform rewrites what older versions of SRS wrote in other places, in
// place and with a warning each, as SRS itself does at load. What it adds stands
// behind what is there, so that a directive in its right place wins.
type transform struct {
	prob *problems
}

func (t *transform) tell(d *Directive, from, to, vhost string) {
	of := ""
	if vhost != "" {
		of = " of " + clip(vhost)
	}
	t.prob.warn(d.Pos(), "write "+to, "transform: %s to %s%s", from, to, of)
}

func (t *transform) drop(d *Directive, what string) {
	t.prob.warn(d.Pos(), "remove it", "transform: %s is ignored, it has no meaning any more", what)
}

// take removes the children of the given names from dir and returns them.
func take(dir *Directive, names ...string) []*Directive {
	var out []*Directive
	dir.Children = slices.DeleteFunc(dir.Children, func(c *Directive) bool {
		if slices.Contains(names, c.Name) {
			out = append(out, c)
			return true
		}
		return false
	})
	return out
}

// leaf is a new directive in the place of old.
func leaf(old *Directive, name string, args ...string) *Directive {
	return &Directive{Name: name, Args: args, File: old.File, Line: old.Line, Col: old.Col}
}

func (t *transform) root(root *Directive) {
	for _, d := range root.Children {
		if d.Name == "http_stream" {
			t.tell(d, "http_stream", "http_server", "")
			d.Name = "http_server"
		}
	}
	// 7.0.64 moved these into a block of their own; here they live in the root,
	// where every version before has them.
	for _, d := range take(root, "rtmp") {
		for _, c := range d.Children {
			if c.Name == "listen" || c.Name == "chunk_size" {
				root.Children = append(root.Children, c)
			} else {
				root.Children = append(root.Children, &Directive{Name: "rtmp", Block: true, Children: []*Directive{c}, File: c.File, Line: c.Line, Col: c.Col})
			}
		}
	}
	for _, d := range root.Children {
		switch d.Name {
		case "rtc_server":
			for _, c := range take(d, "perf_stat", "queue_length", "sendmmsg", "gso", "padding") {
				t.drop(c, "rtc_server."+c.Name)
			}
		case "srt_server":
			t.respell(d, "srt_server", "tlpkdrop", "tlpktdrop", "")
		case "stream_caster":
			t.caster(d)
		case "vhost":
			t.vhost(d)
		}
	}
}

func (t *transform) respell(d *Directive, path, from, to, vhost string) {
	for _, c := range d.Children {
		if c.Name == from {
			t.tell(c, path+"."+from, path+"."+to, vhost)
			c.Name = to
		}
	}
}

// oldCaster are the directives of the gb28181 caster before 5.0.74, which was
// another program.
var oldCaster = []string{
	"tcp_enable", "rtp_port_min", "rtp_port_max", "rtp_idle_timeout", "wait_keyframe", "audio_enable",
	"auto_create_channel", "print_sip_message", "jitterbuffer_enable", "ack_timeout", "keepalive_timeout", "auto_play",
	"invite_port_fixed", "query_catalog_interval",
}

var oldSIP = []string{
	"serial", "realm", "ack_timeout", "keepalive_timeout", "auto_play", "invite_port_fixed",
	"query_catalog_interval", "print_sip_message",
}

func (t *transform) caster(d *Directive) {
	for _, c := range take(d, oldCaster...) {
		t.drop(c, "stream_caster."+c.Name)
	}
	for _, c := range take(d, "host") {
		t.tell(c, "stream_caster.host", "stream_caster.sip.candidate", "")
		sip := d.getOrAdd("sip", c)
		sip.Children = append(sip.Children, leaf(c, "candidate", c.Args...))
	}
	if sip := d.Get("sip"); sip != nil {
		for _, c := range take(sip, oldSIP...) {
			t.drop(c, "stream_caster.sip."+c.Name)
		}
	}
}

// vhostMoves are directives that stood in the vhost before they got a block.
var vhostMoves = []struct {
	block string
	names map[string]string
}{
	{"play", map[string]string{
		"time_jitter": "time_jitter", "mix_correct": "mix_correct", "atc": "atc", "atc_auto": "atc_auto",
		"mw_latency": "mw_latency", "gop_cache": "gop_cache", "gop_cache_max_frames": "gop_cache_max_frames",
		"queue_length": "queue_length", "send_min_interval": "send_min_interval",
		"reduce_sequence_header": "reduce_sequence_header",
	}},
	{"publish", map[string]string{
		"publish_1stpkt_timeout": "firstpkt_timeout", "publish_normal_timeout": "normal_timeout",
	}},
	{"cluster", map[string]string{
		"mode": "mode", "origin": "origin", "token_traverse": "token_traverse", "vhost": "vhost",
		"debug_srs_upnode": "debug_srs_upnode",
	}},
}

func (t *transform) vhost(v *Directive) {
	name := v.Arg(0)
	for _, d := range v.Children {
		if d.Name == "http" {
			t.tell(d, "vhost.http", "vhost.http_static", name)
			d.Name = "http_static"
		}
	}
	for _, move := range vhostMoves {
		for _, d := range slices.Clone(v.Children) {
			to, ok := move.names[d.Name]
			if !ok || d.Block {
				continue
			}
			v.Children = slices.DeleteFunc(v.Children, func(c *Directive) bool { return c == d })
			t.tell(d, "vhost."+d.Name, "vhost."+move.block+"."+to, name)
			b := v.getOrAdd(move.block, d)
			d.Name = to
			b.Children = append(b.Children, d)
		}
	}
	t.refer(v, name)
	t.forward(v, name)
	for _, d := range take(v, "mr") {
		t.tell(d, "vhost.mr", "vhost.publish.mr", name)
		t.unfold(v, d, "publish", map[string]string{"enabled": "mr", "latency": "mr_latency"})
	}
	for _, d := range take(v, "nack") {
		t.tell(d, "vhost.nack", "vhost.rtc.nack", name)
		t.unfold(v, d, "rtc", map[string]string{"enabled": "nack", "no_copy": "nack_no_copy"})
	}
	for _, d := range take(v, "twcc") {
		t.tell(d, "vhost.twcc", "vhost.rtc.twcc", name)
		t.unfold(v, d, "rtc", map[string]string{"enabled": "twcc"})
	}
	for _, d := range v.Children {
		switch d.Name {
		case "rtc":
			t.rtc(d, name)
		case "srt":
			for _, c := range take(d, "mix_correct", "tlpkdrop", "tlpktdrop") {
				t.drop(c, "vhost.srt."+c.Name)
			}
		}
	}
}

// unfold moves the children of the old block d, under new names, to the block to
// of v.
func (t *transform) unfold(v, d *Directive, to string, names map[string]string) {
	b := v.getOrAdd(to, d)
	for _, c := range d.Children {
		if name, ok := names[c.Name]; ok {
			b.Children = append(b.Children, leaf(c, name, c.Args...))
		} else {
			b.Children = append(b.Children, c) // unknown there too, and told so
		}
	}
}

// refer turns "refer a b;", "refer_play" and "refer_publish" into a block.
func (t *transform) refer(v *Directive, name string) {
	for _, d := range slices.Clone(v.Children) {
		to := map[string]string{"refer": "all", "refer_play": "play", "refer_publish": "publish"}[d.Name]
		if to == "" || d.Block || len(d.Args) == 0 {
			continue
		}
		v.Children = slices.DeleteFunc(v.Children, func(c *Directive) bool { return c == d })
		t.tell(d, "vhost."+d.Name, "vhost.refer."+to, name)
		var b *Directive
		for _, c := range v.Children {
			if c.Name == "refer" && c.Block {
				b = c
			}
		}
		if b == nil {
			b = &Directive{Name: "refer", Block: true, File: d.File, Line: d.Line, Col: d.Col,
				Children: []*Directive{leaf(d, "enabled", "on")}}
			v.Children = append(v.Children, b)
		}
		b.Children = append(b.Children, leaf(d, to, d.Args...))
	}
}

// forward turns "forward a b;" into a block.
func (t *transform) forward(v *Directive, name string) {
	for _, d := range v.Children {
		if d.Name == "forward" && !d.Block && len(d.Args) > 0 {
			t.tell(d, "vhost.forward", "vhost.forward.destination", name)
			d.Children = []*Directive{leaf(d, "enabled", "on"), leaf(d, "destination", d.Args...)}
			d.Args, d.Block = nil, true
		}
	}
}

func (t *transform) rtc(d *Directive, vhost string) {
	for _, c := range take(d, "aac", "bframe") {
		switch {
		case c.Name == "aac" && c.Arg(0) == "transcode":
			t.tell(c, "vhost.rtc.aac", "vhost.rtc.rtmp_to_rtc", vhost)
			d.Children = append(d.Children, leaf(c, "rtmp_to_rtc", "on"))
		case c.Name == "bframe" && c.Arg(0) == "keep":
			t.tell(c, "vhost.rtc.bframe", "vhost.rtc.keep_bframe", vhost)
			d.Children = append(d.Children, leaf(c, "keep_bframe", "on"))
		default:
			t.drop(c, "vhost.rtc."+c.Name)
		}
	}
}
