package process

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/child"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// A planner finds out what should run under one configuration.
type planner struct {
	tools *tools
	log   *slog.Logger
	snap  *config.Snapshot
	house house
	out   map[string]want
	made  map[hub.Key]bool // what engines publish here
	// demanded reports whether somebody plays a stream, or did so within a time.
	demanded func(key hub.Key, keep time.Duration) bool
	// elsewhere reports whether another process of an upgrade has a stream; some says that
	// this matters.
	elsewhere func(key hub.Key) bool
	some      bool
}

// house is where this server is, and where programs log.
type house struct {
	Host, Port string // of RTMP
	Dir, Level string
	port       int
	ports      map[int]bool
}

// local reads the house.
func (p *planner) local() {
	root := blocks.Root.In(p.snap)
	h := house{Host: "127.0.0.1", Dir: root.FFLogDir, Level: root.FFLogLevel, ports: map[int]bool{}}
	for i, l := range root.Listen {
		host, port := config.SplitListen(l)
		h.ports[port] = true
		if i > 0 {
			continue
		}
		h.Port, h.port = strconv.Itoa(port), port
		if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
			h.Host = ip.String()
		}
	}
	p.house = h
}

// add adds a program.
func (p *planner) add(w want) { p.out[w.id] = w }

// ingests adds what is pulled in.
// ingests adds those of the configuration; without all only those on demand, of streams
// that no other process of an upgrade has.
func (p *planner) ingests(all bool) {
	p.some = !all
	for _, v := range p.snap.Vhosts() {
		if !v.Enabled {
			continue
		}
		for _, in := range blocks.Ingest.Of(v) {
			if !in.Enabled {
				continue
			}
			for i := range in.Engines {
				p.ingest(v, &in, i)
			}
			if len(in.Engines) == 0 {
				p.tools.once("ingest " + in.ID + " of " + v.Name + " has no engine, so no output; write engine { output rtmp://...; }")
			}
		}
	}
}

func (p *planner) ingest(v *config.Vhost, in *blocks.IngestConfig, i int) {
	h, tools, engine := p.house, p.tools, &in.Engines[i]
	vals := &values{house: h, vhost: v.Name}
	output := vals.text(engine.Output)
	target, err := rtmp.ParseURL(output)
	name := "ffmpeg-ingest-" + v.Name + "-" + in.ID
	key := hub.Key{Vhost: v.Name}
	if err == nil {
		key.App, key.Stream = target.App, target.Stream
		name = "ffmpeg-ingest-" + v.Name + "-" + target.App + "-" + target.Stream
	}
	w := want{id: fmt.Sprintf("ingest/%s/%s/%d", v.Name, in.ID, i), kind: "ingest", name: in.ID, key: key}
	own, here := p.here(output)
	if p.some && (!in.OnDemand || !here || p.elsewhere(own)) {
		return
	}
	if in.OnDemand {
		switch {
		case !here:
			tools.once("ingest " + in.ID + " of " + v.Name + " is on demand, but its output is not a stream of this server, so it runs always")
		case !p.demanded(own, in.OnDemandKeep):
			return
		}
	}
	input := *in
	if p.native(in, engine, here) {
		w.key, w.url, w.target = own, in.Input.URL, target
		w.made = []any{"native", in.Input, own, target}
		p.add(w)
		return
	}
	w.made = []any{input, h.Host, h.Port, h.Dir, h.Level}
	w.spec = func() (child.Spec, error) {
		path, err := tools.ffmpeg(input.FFmpeg)
		if err != nil {
			return child.Spec{}, err
		}
		argv, err := ingestArgs(path, &input, engine, h.Level, vals.now().text(engine.Output), tools)
		return child.Spec{Path: path, Argv: argv, LogDir: h.Dir, LogName: logName(name), Hide: session.Mask}, err
	}
	p.add(w)
}

// native reports whether an input is had without a program.
func (p *planner) native(in *blocks.IngestConfig, e *blocks.EngineConfig, here bool) bool {
	if in.Native == "off" {
		return false
	}
	err := canPull(in, e)
	if err == nil && !here {
		err = fmt.Errorf("ingest %s: an output that is not a stream of this server needs ffmpeg", in.ID)
	}
	if in.Native == "on" {
		if err != nil {
			p.tools.once(err.Error() + ", which is used although native is on")
		}
		return err == nil
	}
	if err != nil || child.Runs(in.FFmpeg) {
		return false
	}
	if _, err := child.Find("ffmpeg"); err == nil {
		return false
	}
	p.tools.once("there is no ffmpeg: ingest " + in.ID + " does without")
	return true
}

// inScope reports whether a transcode block is about a stream.
func inScope(scope string, key hub.Key) bool {
	return scope == "" || scope == key.App || scope == key.App+"/"+key.Stream
}

// engines calls f with each engine that is for a stream.
func engines(v *config.Vhost, key hub.Key, f func(t *blocks.TranscodeConfig, e *blocks.EngineConfig, id string)) {
	all := blocks.Transcode.Of(v)
	for i := range all {
		t := &all[i]
		if !t.Enabled || !inScope(t.Scope, key) {
			continue
		}
		for j := range t.Engines {
			if t.Engines[j].Enabled {
				f(t, &t.Engines[j], fmt.Sprintf("%s/%d-%s", t.Scope, j, t.Engines[j].Name))
			}
		}
	}
}

// outputs notes what the engines publish to this server, which must not be
// transcoded again.
func (p *planner) outputs(live map[*session.Session]session.Ask) {
	p.made = map[hub.Key]bool{}
	for _, ask := range live {
		v, ok := p.snap.Vhost(ask.Key.Vhost)
		if !ok {
			continue
		}
		engines(v, ask.Key, func(_ *blocks.TranscodeConfig, e *blocks.EngineConfig, _ string) {
			out, err := valuesOf(p.house, nil, ask).engine(e.Name).fill(e.Output)
			if err != nil {
				return
			}
			if key, ok := p.here(out); ok {
				p.made[key] = true
			}
		})
	}
}

// here returns the stream of an address, if it is one of this server.
func (p *planner) here(url string) (hub.Key, bool) {
	t, err := rtmp.ParseURL(url)
	if err != nil || !p.house.ports[t.Port] || !p.ours(t.Host) {
		return hub.Key{}, false
	}
	v, ok := p.snap.Vhost(t.Vhost)
	if !ok {
		return hub.Key{}, false
	}
	return hub.Key{Vhost: v.Name, App: t.App, Stream: t.Stream}, true
}

// ours reports whether a host is this machine.
func (p *planner) ours(host string) bool {
	if host == "localhost" || host == p.house.Host {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.String() == ip.Unmap().String() {
			return true
		}
	}
	return false
}

// transcodes adds the engines of a stream.
func (p *planner) transcodes(v *config.Vhost, x *session.Session, ask session.Ask) {
	key, h, tools := ask.Key, p.house, p.tools
	engines(v, key, func(t *blocks.TranscodeConfig, e *blocks.EngineConfig, id string) {
		if p.made[key] {
			return // the output of an engine
		}
		if t.OnDemand {
			switch own, here := p.output(x, ask, e); {
			case !here:
				tools.once("engine " + e.Name + " of " + v.Name + " is on demand, but its output is not a stream of this server, so it runs always")
			case !p.demanded(own, t.OnDemandKeep):
				return
			}
		}
		ffmpeg, vals := t.FFmpeg, valuesOf(h, x, ask).engine(e.Name)
		name := "ffmpeg-encoder-" + key.Vhost + "-" + key.App + "-" + key.Stream
		if e.Name != "" {
			name += "-" + e.Name
		}
		p.add(want{id: "transcode/" + key.String() + "/" + id, kind: "transcode", name: e.Name, key: key, made: []any{*e, ffmpeg, x.ID, h.Host, h.Port, h.Dir, h.Level},
			spec: func() (child.Spec, error) {
				path, err := tools.ffmpeg(ffmpeg)
				if err != nil {
					return child.Spec{}, err
				}
				out, err := vals.now().fill(e.Output)
				if err != nil {
					return child.Spec{}, err
				}
				argv, err := transcodeArgs(path, e, h.Level, vals.input(), out, tools)
				return child.Spec{Path: path, Argv: argv, LogDir: h.Dir, LogName: logName(name), Hide: session.Mask}, err
			}})
	})
}

// execs adds the programs of exec for a stream.
func (p *planner) execs(v *config.Vhost, x *session.Session, ask session.Ask) {
	conf := blocks.Exec.Of(v)
	if !conf.Enabled {
		return
	}
	key, h, tools := ask.Key, p.house, p.tools
	vals := valuesOf(h, x, ask)
	for i, rule := range conf.Publish {
		if len(rule.Args) == 0 {
			continue
		}
		p.add(want{id: fmt.Sprintf("exec/%s/%d", key, i), kind: "exec", name: strconv.Itoa(i), key: key, made: []any{rule, x.ID, h.Host, h.Port, h.Dir},
			spec: func() (child.Spec, error) {
				s, err := execSpec(rule.Args, vals.now(), tools)
				s.LogDir, s.LogName, s.Hide = h.Dir, logName(fmt.Sprintf("exec-%s-%s-%s-%d", key.Vhost, key.App, key.Stream, i)), session.Mask
				return s, err
			}})
	}
}

// execSpec makes a program and its arguments of the words of publish.
func execSpec(words []string, v *values, tools *tools) (child.Spec, error) {
	path, err := tools.program(words[0])
	if err != nil {
		return child.Spec{}, err
	}
	s := child.Spec{Path: path, Argv: []string{words[0]}}
	for i := 1; i < len(words); i++ {
		w := words[i]
		if isScript(words, i) && clients.MatchString(w) {
			return child.Spec{}, fmt.Errorf("exec: a shell would read %.100q, in which a client's words stand: write '$1' there, and the variable as an argument of its own after the script's name", w)
		}
		file := &s.Stdout
		name, redirects := strings.CutPrefix(w, ">")
		if !redirects {
			name, redirects = strings.CutPrefix(w, "1>")
		}
		if !redirects {
			name, redirects = strings.CutPrefix(w, "2>")
			file = &s.Stderr
		}
		if redirects && name == "" && i+1 < len(words) { // "> file"
			i++
			name = words[i]
		}
		if !redirects {
			name = w
		}
		filled, err := v.fill(name)
		if err != nil {
			return child.Spec{}, err
		}
		if redirects {
			*file = filled
		} else {
			s.Argv = append(s.Argv, filled)
		}
	}
	return s, nil
}

// clients are the variables whose values clients choose.
var clients = regexp.MustCompile(`\[(app|stream|param|url|tcUrl|swfUrl|pageUrl)\]`)

// isScript reports whether a word is what a shell is to run: sh -c WORD.
func isScript(words []string, i int) bool {
	if o := words[i-1]; i < 2 || o[:min(1, len(o))] != "-" || !strings.HasSuffix(o, "c") || strings.HasPrefix(o, "--") {
		return false
	}
	return slices.ContainsFunc(words[:i-1], func(w string) bool {
		return slices.Contains([]string{"sh", "bash", "dash", "ash", "zsh", "ksh"}, filepath.Base(w))
	})
}

// longest is how long the name of a log may be.
const longest = 180

// logName makes a name of a file of what a client may have said.
func logName(s string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@=", r) {
			return r
		}
		return '_'
	}, s)
	if safe != s || len(safe) > longest {
		sum := fnv.New32a()
		sum.Write([]byte(s))
		safe = fmt.Sprintf("%s~%08x", safe[:min(len(safe), longest)], sum.Sum32())
	}
	return safe + ".log"
}
