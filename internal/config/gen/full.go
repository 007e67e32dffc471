package gen

import (
	"fmt"
	"strings"

	"weir/internal/config"
)

const fullConf = "conf/full.conf"

// samples are the values that full.conf shows for directives which have no
// default, by path, as they are written; several are several lines. Blocks have
// the name that follows theirs.
var samples = map[string][]string{
	"listen":                              {"1935"},
	"http_server.listen":                  {"8080"},
	"srs_log_tank":                        {"file"},
	"srs_log_level_v2":                    {"info"},
	"server_id":                           {"my-server"},
	"http_api.auth.username":              {"admin"},
	"http_api.auth.password":              {"admin"},
	"http_api.auth.token":                 {"a-long-secret"},
	"rtc_server.black_hole.addr":          {"127.0.0.1:10000"},
	"rtc_server.dir":                      {"./conf"},
	"srt_server.passphrase":               {"at-least-ten-characters"},
	"srt_server.default_streamid":         {"'#!::r=live/livestream,m=request'"},
	"heartbeat.device_id":                 {"my-device"},
	"stats.disk":                          {"sda sdb"},
	"exporter.label":                      {"cn-beijing"},
	"exporter.tag":                        {"cn-edge"},
	"stream_caster.caster":                {"mpegts_over_udp"},
	"stream_caster.output":                {"rtmp://127.0.0.1/live/livestream"},
	"stream_caster.listen":                {"8935"},
	"vhost":                               {config.DefaultVhost},
	"vhost.chunk_size":                    {"60000"},
	"vhost.refer.all":                     {"github.com github.io"},
	"vhost.refer.publish":                 {"github.com github.io"},
	"vhost.refer.play":                    {"github.com github.io"},
	"vhost.security.allow":                {"play all", "publish 10.0.0.0/8"},
	"vhost.security.deny":                 {"publish 10.0.0.1"},
	"vhost.http_hooks.on_connect":         {"http://127.0.0.1:8085/api/v1/clients http://localhost:8085/api/v1/clients"},
	"vhost.http_hooks.on_close":           {"http://127.0.0.1:8085/api/v1/clients"},
	"vhost.http_hooks.on_publish":         {"http://127.0.0.1:8085/api/v1/streams"},
	"vhost.http_hooks.on_unpublish":       {"http://127.0.0.1:8085/api/v1/streams"},
	"vhost.http_hooks.on_play":            {"http://127.0.0.1:8085/api/v1/sessions"},
	"vhost.http_hooks.on_stop":            {"http://127.0.0.1:8085/api/v1/sessions"},
	"vhost.http_hooks.on_dvr":             {"http://127.0.0.1:8085/api/v1/dvrs"},
	"vhost.http_hooks.on_hls":             {"http://127.0.0.1:8085/api/v1/hls"},
	"vhost.http_hooks.on_hls_notify":      {"http://127.0.0.1:8085/api/v1/hls/[server_id]/[app]/[stream]/[ts_url][param]"},
	"vhost.cluster.origin":                {"127.0.0.1:19350 localhost:19351"},
	"vhost.cluster.coworkers":             {"127.0.0.1:9091 127.0.0.1:9092"},
	"vhost.forward.destination":           {"127.0.0.1:19350 127.0.0.1:19351"},
	"vhost.forward.backend":               {"http://127.0.0.1:8085/api/v1/forward"},
	"vhost.hls.hls_entry_prefix":          {"http://your-server"},
	"vhost.hls.hls_key_file_path":         {"./objs/nginx/html"},
	"vhost.hls.hls_key_url":               {"https://localhost:8080"},
	"vhost.exec.publish":                  {"./objs/ffmpeg/bin/ffmpeg -f flv -i [url] -c copy -y ./[stream].flv"},
	"vhost.ingest":                        {"livestream"},
	"vhost.ingest.input.url":              {"./doc/source.flv"},
	"vhost.ingest.engine.output":          {"rtmp://127.0.0.1:[port]/live?vhost=[vhost]/livestream"},
	"vhost.transcode.engine":              {"ff"},
	"vhost.transcode.engine.perfile":      {"re; rtsp_transport tcp"},
	"vhost.transcode.engine.vfilter":      {"i ./doc/logo.png; filter_complex 'overlay=10:10'"},
	"vhost.transcode.engine.vcodec":       {"libx264"},
	"vhost.transcode.engine.vbitrate":     {"1500"},
	"vhost.transcode.engine.vfps":         {"25"},
	"vhost.transcode.engine.vwidth":       {"768"},
	"vhost.transcode.engine.vheight":      {"320"},
	"vhost.transcode.engine.vthreads":     {"12"},
	"vhost.transcode.engine.vprofile":     {"main"},
	"vhost.transcode.engine.vpreset":      {"medium"},
	"vhost.transcode.engine.vparams":      {"t 100; coder 1"},
	"vhost.transcode.engine.acodec":       {"libfdk_aac"},
	"vhost.transcode.engine.abitrate":     {"70"},
	"vhost.transcode.engine.asample_rate": {"44100"},
	"vhost.transcode.engine.achannels":    {"2"},
	"vhost.transcode.engine.aparams":      {"profile:a aac_low"},
	"vhost.transcode.engine.output":       {"rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]"},
}

// full makes conf/full.conf: every directive with what it does and its default.
func full(specs []config.Spec) []byte {
	var b strings.Builder
	b.WriteString(marker("#") + "\n")
	comment(&b, 0, "Every directive, what it does, and its default or a sample. This file is to be read, not to be run: "+
		"is_full makes the server refuse it. Begin with srs.conf.")
	b.WriteString("\nis_full on;\n")
	all := config.Directives(specs)
	children := map[string][]config.Info{}
	for _, i := range all {
		up := ""
		if k := strings.LastIndexByte(i.Path, '.'); k >= 0 {
			up = i.Path[:k]
		}
		children[up] = append(children[up], i)
	}
	fullBlock(&b, children, "", 0)
	return []byte(b.String())
}

func fullBlock(b *strings.Builder, children map[string][]config.Info, path string, level int) {
	tab := strings.Repeat("    ", level)
	for _, i := range children[path] {
		if i.Path == "is_full" || i.Path == "rtmp" || i.Until != "" || i.Status == config.Moot {
			continue
		}
		b.WriteByte('\n')
		comment(b, level, i.Doc)
		values := samples[i.Path]
		if i.Block {
			name := i.Name
			if len(values) == 1 && len(children[i.Path]) > 0 {
				name += " " + values[0]
			}
			if len(children[i.Path]) > 0 {
				fmt.Fprintf(b, "%s%s {\n", tab, name)
				var in strings.Builder
				fullBlock(&in, children, i.Path, level+1)
				b.WriteString(strings.TrimPrefix(in.String(), "\n"))
				fmt.Fprintf(b, "%s}\n", tab)
			} else { // free words
				fmt.Fprintf(b, "%s%s {\n", tab, name)
				for _, v := range values {
					for line := range strings.SplitSeq(v, "; ") {
						fmt.Fprintf(b, "%s    %s;\n", tab, line)
					}
				}
				fmt.Fprintf(b, "%s}\n", tab)
			}
			continue
		}
		var facts []string
		if i.Default != "" {
			facts = append(facts, "Default: "+i.Default+".")
		}
		if len(i.Env) > 0 {
			facts = append(facts, "Environment: "+strings.Join(i.Env, " or ")+".")
		}
		comment(b, level, strings.Join(facts, " "))
		if len(values) == 0 && i.Value != "" {
			values = []string{i.Value}
		}
		if len(values) == 0 {
			fmt.Fprintf(b, "%s# %s ...;\n", tab, i.Name)
		}
		for _, v := range values {
			fmt.Fprintf(b, "%s%s %s;\n", tab, i.Name, v)
		}
	}
}

// comment writes text as a comment, wrapped, paragraphs kept.
func comment(b *strings.Builder, level int, text string) {
	const width = 92
	if text == "" {
		return
	}
	lead := strings.Repeat("    ", level) + "#"
	for para := range strings.SplitSeq(text, "\n\n") {
		line := lead
		for _, w := range strings.Fields(para) {
			if len(line)+1+len(w) > width && line != lead {
				b.WriteString(line + "\n")
				line = lead
			}
			line += " " + w
		}
		b.WriteString(line + "\n")
	}
}
