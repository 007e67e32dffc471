package config

import (
	"cmp"
	"os"
	"reflect"
	"slices"
	"strings"
)

// A Source is where a configuration comes from.
type Source struct {
	// File is the path of the file, or the name under which Text is spoken of.
	File string
	// Text, if not nil, is read in place of the file.
	Text []byte
	// ReadFile reads File and what it includes; nil reads the file system, names
	// relative to the working directory.
	ReadFile func(name string) ([]byte, error)
	// EnvOnly takes no file: one vhost, [DefaultVhost], and all else from the
	// environment. As in SRS the server then stays in the foreground and logs to
	// the console unless told otherwise; RTMP listens at 1935 unless told
	// otherwise.
	EnvOnly bool
	// Getenv asks the environment; nil asks that of the process.
	Getenv func(name string) string
	// Environ lists the environment as os.Environ does, to find misspelt names;
	// nil means that of the process if Getenv is nil too, else none.
	Environ []string
	// MaxOpenFiles is the limit of descriptors (RLIMIT_NOFILE) that
	// max_connections must fit under; 0 does not look.
	MaxOpenFiles uint64
	// Interfaces is the number of network interfaces' addresses that stats.network
	// counts; 0 does not look.
	Interfaces int
	// Container says that the process runs in a container, where SRS stays in the
	// foreground.
	Container bool
}

// Parse reads a configuration. The specs are all blocks that the server has.
// The error, if any, is an [Errors] with everything that SRS would refuse; what
// is merely strange is in [Snapshot.Warnings].
func Parse(src Source, specs []Spec) (*Snapshot, error) {
	s, errs, _ := load(src, specs)
	if len(errs) > 0 {
		return nil, errs
	}
	return s, nil
}

// Check reads a configuration and returns everything there is to say about it,
// in the order of the file.
func Check(src Source, specs []Spec) (Errors, []Warning) {
	_, errs, warns := load(src, specs)
	return errs, warns
}

func load(src Source, specs []Spec) (*Snapshot, Errors, []Warning) {
	prob := &problems{}
	getenv := src.env()
	root, files, ok := src.tree(prob)
	if !ok {
		return nil, prob.errs, nil
	}
	grammar := len(prob.errs) == 0
	empty := len(root.Children) == 0
	if empty && grammar {
		prob.fail(Pos{File: root.File}, "begin with conf/srs.conf", "conf is empty")
		return nil, prob.errs, nil
	}
	(&transform{prob: prob}).root(root)
	x := newIndex(specs)
	(&walker{index: x, prob: prob}).walk(root, x.root, "")
	c := &checker{root: root, index: x, getenv: getenv, prob: prob, src: &src}
	if grammar {
		c.all()
	}
	s := &Snapshot{File: root.File, Files: files, tree: root}
	s.decode(specs, &decoder{getenv: getenv, prob: prob})
	c.moot()
	used := x.environment(src, getenv, prob)
	s.digest = digest(root, used)
	prob.sort(files)
	s.Warnings = prob.warns
	return s, prob.errs, prob.warns
}

// tree reads the text and all that it includes. It returns false if there is
// nothing to look at.
func (src *Source) tree(prob *problems) (root *Directive, files []string, ok bool) {
	if src.EnvOnly {
		v := &Directive{Name: "vhost", Args: []string{DefaultVhost}, Block: true, File: "environment"}
		return &Directive{Block: true, File: "environment", Children: []*Directive{v}}, nil, true
	}
	read := src.ReadFile
	if read == nil {
		read = readFile
	}
	text := src.Text
	if text == nil {
		if src.File == "" {
			prob.fail(Pos{}, "name a file with -c, or take the environment alone with -e", "empty config")
			return nil, nil, false
		}
		var err error
		if text, err = read(src.File); err != nil {
			prob.fail(Pos{}, cause(err), "no config file at %s", src.File)
			return nil, nil, false
		}
	}
	p := &parser{read: read, prob: prob}
	root = p.file(src.File, text)
	return root, p.files, true
}

// env returns how the environment is asked.
func (src *Source) env() func(string) string {
	getenv := src.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	if !src.EnvOnly {
		return getenv
	}
	return func(name string) string {
		v := getenv(name)
		if v != "" {
			return v
		}
		switch name {
		case "SRS_LISTEN":
			return cmp.Or(getenv("SRS_RTMP_LISTEN"), "1935")
		case "SRS_DAEMON":
			return "off"
		case "SRS_SRS_LOG_TANK":
			return cmp.Or(getenv("SRS_LOG_TANK"), "console")
		}
		return ""
	}
}

// decode fills the blocks of the server and of every vhost.
func (s *Snapshot) decode(specs []Spec, d *decoder) {
	s.values = map[*core]any{}
	s.byName = map[string]*Vhost{}
	for _, sp := range specs {
		s.specs = append(s.specs, sp.spec())
	}
	for _, c := range s.specs {
		if c.scope == scopeServer {
			s.values[c] = d.one(c, s.tree, "")
		}
	}
	for _, dir := range s.tree.All("vhost") {
		name := dir.Arg(0)
		if s.byName[name] != nil || name == "" {
			continue
		}
		v := &Vhost{Name: name, Enabled: dir.Get("enabled").Arg(0) != "off", Pos: dir.Pos(), values: map[*core]any{}}
		for _, c := range s.specs {
			if c.scope == scopeVhost {
				v.values[c] = d.one(c, dir, name)
			}
		}
		s.byName[name] = v
		s.vhosts = append(s.vhosts, v)
	}
}

// one decodes a block, or the blocks of a list, of the scope dir, and has them
// say what they think of themselves.
func (d *decoder) one(c *core, dir *Directive, vhost string) any {
	if c.list {
		dirs := dir.All(c.name)
		list := d.blocks(c, dirs)
		for i := range dirs {
			d.validate(c, list.Index(i).Addr(), dirs[i], vhost)
		}
		return list.Interface()
	}
	if c.name != "" {
		dir = dir.Get(c.name)
	}
	v := d.block(c, dir)
	d.validate(c, v, dir, vhost)
	return v.Interface()
}

func (d *decoder) validate(c *core, v reflect.Value, dir *Directive, vhost string) {
	at := Pos{File: "environment"}
	if dir != nil {
		at = dir.Pos()
	}
	of := c.path
	if of != "" {
		of += ": "
	}
	if vhost != "" {
		of = c.path + " of " + clip(vhost) + ": "
	}
	if x, ok := v.Interface().(interface{ Validate() error }); ok {
		if err := x.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") { // errors.Join
				d.prob.fail(at, "", "%s%s", of, line)
			}
		}
	}
	if x, ok := v.Interface().(interface{ Warnings() []string }); ok {
		for _, text := range x.Warnings() {
			d.prob.warn(at, "", "%s%s", of, text)
		}
	}
}

// ownEnv are variables that are read elsewhere than by a directive.
var ownEnv = []string{"SRS_CONFIG_FILE", "SRS_ENV_ONLY", "SRS_DEVICE_IP", "SRS_PLATFORM", "SRS_REGION", "SRS_SOURCE"}

// environment returns the variables that say something, as NAME=value, and warns
// of those that look like a misspelt one. Others are none of our business: an
// orchestrator sets SRS_SERVICE_HOST and the like for a service called srs.
func (x *index) environment(src Source, getenv func(string) string, prob *problems) []string {
	var names, used []string
	for _, n := range x.order {
		for _, name := range n.env() {
			if v := getenv(name); v != "" {
				used = append(used, name+"="+v)
			}
			names = append(names, name)
		}
	}
	environ := src.Environ
	if environ == nil && src.Getenv == nil {
		environ = os.Environ()
	}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case !strings.HasPrefix(name, "SRS_"), slices.Contains(names, name), slices.Contains(ownEnv, name),
			strings.Contains(name, "_SERVICE_"), strings.Contains(name, "_PORT"):
			continue
		}
		if hint := suggest(name, names); hint != "" {
			prob.warn(Pos{File: "$" + clip(name)}, hint, "no directive reads this variable")
		}
	}
	slices.Sort(used)
	return slices.Compact(used)
}
