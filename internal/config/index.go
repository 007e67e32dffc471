package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weir/internal/config/known"
)

// A node is one directive or block that may stand in a file, from a declared
// block, from the table of known ones, or from both.
type node struct {
	name     string
	path     string
	entry    *known.Entry // nil if only we know it
	field    *field       // nil if no block declares it
	core     *core        // set on the node of a declared block
	block    bool
	repeat   bool             // may stand several times
	open     bool             // SRS accepts any name in it
	children map[string]*node // other spellings included
	inOrder  []*node          // without them
}

// An index is everything that may stand in a file.
type index struct {
	root   *node
	byPath map[string]*node
	order  []*node // blocks before what stands in them
}

func newIndex(specs []Spec) *index {
	x := &index{root: &node{block: true, children: map[string]*node{}}, byPath: map[string]*node{}}
	x.byPath[""] = x.root
	entries := known.All()
	for i := range entries {
		e := &entries[i]
		n := x.at(e.Path)
		n.entry = e
		n.block = e.Type == known.Block || e.Type == known.Blocks
		n.repeat = e.Type == known.Blocks || e.Type == known.Rules
		n.open = known.Open(e.Path)
	}
	for _, s := range specs {
		c := s.spec()
		n := x.at(c.path)
		n.block = true
		if c.name != "" {
			if n.core != nil {
				panic("BUG: config block " + c.path + " is declared twice")
			}
			n.core, n.repeat = c, c.list
		}
		x.fields(n, c.fields)
	}
	return x
}

// at returns the node of a path, made if missing, and those above it.
func (x *index) at(path string) *node {
	if n, ok := x.byPath[path]; ok {
		return n
	}
	up, name := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		up, name = path[:i], path[i+1:]
	}
	n := &node{name: name, path: path, children: map[string]*node{}}
	above := x.at(up)
	above.children[name] = n
	above.inOrder = append(above.inOrder, n)
	x.byPath[path] = n
	x.order = append(x.order, n)
	return n
}

func (x *index) fields(in *node, fields []field) {
	for i := range fields {
		f := &fields[i]
		switch f.kind {
		case kindArg:
			continue
		case kindAny:
			in.open = true
			continue
		case kindRules:
			for _, name := range f.names {
				n := x.at(join(in.path, name))
				n.field, n.repeat = f, true
			}
			continue
		}
		n := x.at(join(in.path, f.name()))
		if n.field != nil {
			panic("BUG: config directive " + n.path + " is declared twice")
		}
		n.field = f
		for _, alias := range f.names[1:] {
			in.children[alias] = n
		}
		if f.kind.block() {
			n.block, n.repeat = true, f.kind == kindBlocks
			x.fields(n, f.fields)
		}
	}
}

// names returns what may stand in a block, sorted.
func (n *node) names() []string {
	out := make([]string, 0, len(n.children))
	for name := range n.children {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// read reports whether a block of ours reads a directive, or anything in a block.
func (n *node) read() bool {
	if top, _, _ := strings.Cut(n.path, "."); ownRead[top] {
		return true
	}
	if !n.block {
		return n.field != nil
	}
	if len(n.children) == 0 {
		return n.field != nil || n.core != nil
	}
	for _, c := range n.children {
		if c.read() {
			return true
		}
	}
	return false
}

// ownRead are directives that the reading of a configuration sees to: full.conf's mark,
// and a block that is rewritten to the root's directives.
var ownRead = map[string]bool{"is_full": true, "rtmp": true}

// moot reports whether a directive, or all that is in a block, has no meaning here.
func (n *node) moot() bool { return known.Moot(n.path) && !n.read() }

// def returns the directive's default as it would be written.
func (n *node) def() string {
	if n.field != nil {
		return n.field.def
	}
	if n.entry != nil {
		return n.entry.Default
	}
	return ""
}

func (n *node) isBool() bool {
	if n.field != nil {
		return n.field.kind == kindBool
	}
	return n.entry != nil && n.entry.Type == known.Bool
}

// list reports whether more than one value is right.
func (n *node) list() bool {
	if n.field != nil {
		return n.field.kind == kindList || n.field.kind == kindRules
	}
	return n.entry != nil && (n.entry.Type == known.List || n.entry.Type == known.Rules)
}

// env returns the names of the environment, whole.
func (n *node) env() []string {
	if n.field != nil {
		return n.field.env
	}
	if n.entry == nil || n.block || n.entry.Env == known.NoEnv {
		return nil
	}
	if n.entry.Env == "" {
		return []string{"SRS_" + strings.ToUpper(strings.ReplaceAll(n.path, ".", "_"))}
	}
	names := strings.Split(n.entry.Env, ",")
	for i := range names {
		names[i] = "SRS_" + names[i]
	}
	return names
}

// A walker looks at the name of every directive of a tree.
type walker struct {
	*index
	prob *problems
}

// walk checks what stands in dir, whose node is n, within vhost.
func (w *walker) walk(dir *Directive, n *node, vhost string) {
	seen := map[string]*Directive{}
	for _, d := range dir.Children {
		c := n.children[d.Name]
		if c == nil {
			w.unknown(d, n, vhost)
			continue
		}
		switch {
		case c.block && !d.Block:
			w.prob.warn(d.Pos(), "write "+d.Name+" { ... }", "%s is a block and does nothing without braces", c.path)
		case !c.block && d.Block:
			w.prob.warn(d.Pos(), "", "%s takes no block; what stands in it is ignored", c.path)
		}
		if !c.block && !c.list() && len(d.Args) > 1 {
			w.prob.warn(d.Pos(), "", "%s takes one value; %s is ignored", c.path, clip(strings.Join(d.Args[1:], " ")))
		}
		key := c.name
		if c.path == "vhost" {
			key += " " + d.Arg(0)
		}
		if before := seen[key]; before == nil {
			seen[key] = d
		} else if c.path == "vhost" {
			w.prob.warn(d.Pos(), fmt.Sprintf("the one at %s is used", before.Pos()), "vhost %s is there twice", clip(d.Arg(0)))
		} else if !c.repeat {
			w.prob.warn(d.Pos(), fmt.Sprintf("the one at %s is used", before.Pos()), "%s is set twice", c.path)
		}
		if c.block {
			v := vhost
			if c.path == "vhost" {
				v = d.Arg(0)
			}
			w.walk(d, c, v)
		}
	}
}

// unknown reports a name that may not stand where it stands, as SRS does.
func (w *walker) unknown(d *Directive, in *node, vhost string) {
	hint := suggest(d.Name, in.names())
	if hint == "" {
		hint = w.elsewhere(d.Name)
	}
	name := clip(d.Name)
	if in.open {
		if len(in.children) > 0 {
			w.prob.warn(d.Pos(), hint, "%s.%s is not known and is ignored", in.path, name)
		}
		return
	}
	switch path := in.path; {
	case path == "":
		w.prob.fail(d.Pos(), hint, "illegal directive %s", name)
	case path == "vhost":
		w.prob.fail(d.Pos(), hint, "illegal vhost.%s", name)
	case strings.HasPrefix(path, "vhost."):
		w.prob.fail(d.Pos(), hint, "illegal %s.%s of %s", path, name, clip(vhost))
	case path == "http_server": // SRS says its older name
		w.prob.fail(d.Pos(), hint, "illegal http_stream.%s", name)
	default:
		w.prob.fail(d.Pos(), hint, "illegal %s.%s", path, name)
	}
}

// elsewhere tells where a name that stands in the wrong place would be right.
func (w *walker) elsewhere(name string) string {
	var at []string
	for _, n := range w.order {
		if n.name == name {
			at = append(at, cmp.Or(strings.TrimSuffix(n.path, "."+name), "the file itself"))
			if n.path == name {
				at[len(at)-1] = "the file itself"
			}
		}
	}
	if len(at) == 0 || len(at) > 3 {
		return ""
	}
	return "it belongs in " + strings.Join(at, " or ")
}
