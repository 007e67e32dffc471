package config

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/config/known"
)

// An Unimplemented is a directive that a configuration turns on and that nothing
// here implements.
type Unimplemented struct {
	Pos     Pos
	Path    string // of the directive, or of the whole block: "vhost.rtc"
	Vhost   string // the first vhost that has it, empty outside
	Refuses bool   // to ignore it would open a door: the server must not start
	Moot    bool   // it only ever had a meaning in SRS's own process
}

// String returns what is not implemented and what that means.
func (u Unimplemented) String() string {
	of := ""
	if u.Vhost != "" {
		of = " of " + clip(u.Vhost)
	}
	switch {
	case u.Refuses:
		return fmt.Sprintf("%s%s is not implemented yet, and the server does not start without it", u.Path, of)
	case u.Moot:
		return fmt.Sprintf("%s has no meaning here and is ignored", u.Path)
	default:
		return fmt.Sprintf("%s is not implemented yet and is ignored", u.Path)
	}
}

// A finder lists what a tree turns on and nothing implements.
type finder struct {
	*checker
	out  []Unimplemented
	seen map[string]bool
}

func (c *checker) unimplemented() []Unimplemented {
	f := &finder{checker: c, seen: map[string]bool{}}
	f.block(c.root, c.index.root, "")
	f.environment()
	return f.out
}

func (f *finder) add(at Pos, path, vhost string, refuses bool) {
	key := path
	if refuses {
		key += " of " + vhost // each is named
	}
	if f.seen[key] {
		return
	}
	f.seen[key] = true
	f.out = append(f.out, Unimplemented{Pos: at, Path: path, Vhost: vhost, Refuses: refuses, Moot: known.Moot(path)})
}

// block looks at what stands in dir, which is on.
func (f *finder) block(dir *Directive, n *node, vhost string) {
	done := map[string]bool{}
	for _, d := range dir.Children {
		c := n.children[d.Name]
		if c == nil || done[c.name] {
			continue
		}
		done[c.name] = !c.repeat
		if !c.block {
			f.leaf(d.Pos(), c, d.Arg(0), vhost)
			continue
		}
		v := vhost
		if c.path == "vhost" {
			v = d.Arg(0)
		}
		if !f.running(d, c) {
			continue
		}
		if c.path != "vhost" && !c.implemented() {
			f.whole(d, c, v)
			continue
		}
		f.block(d, c, v)
	}
}

// whole adds a block of which nothing is implemented: once for itself, and once
// for each directive in it that must not be ignored.
func (f *finder) whole(d *Directive, n *node, vhost string) {
	before := len(f.out)
	for _, c := range d.Children {
		in := n.children[c.Name]
		switch {
		case in == nil:
		case in.block:
			if f.running(c, in) {
				f.whole(c, in, vhost)
			}
		case f.refuses(in, c.Arg(0)):
			path := in.path
			if in.name == "enabled" {
				path = n.path
			}
			f.add(c.Pos(), path, vhost, true)
		}
	}
	refused := slices.ContainsFunc(f.out[before:], func(u Unimplemented) bool { return u.Path == n.path })
	if !refused && n.path == topBlock(n.path) {
		f.add(d.Pos(), n.path, vhost, false)
	}
}

// topBlock is the outermost block of a path, vhost aside.
func topBlock(path string) string {
	rest, inVhost := strings.CutPrefix(path, "vhost.")
	name, _, _ := strings.Cut(rest, ".")
	if inVhost {
		return "vhost." + name
	}
	return name
}

// leaf adds a directive that is not implemented and does not say its default.
func (f *finder) leaf(at Pos, n *node, value, vhost string) {
	switch n.pending() {
	case "":
		return
	case "refused":
		if f.refuses(n, value) {
			f.add(at, n.path, vhost, true)
			return
		}
	}
	if n.isBool() {
		if isOn(value, n.def()) == isOn(n.def(), n.def()) {
			return
		}
	} else if value == "" || value == n.def() {
		return
	}
	f.add(at, n.path, vhost, false)
}

// refuses reports whether a directive that must not be ignored is turned on by
// this value.
func (f *finder) refuses(n *node, value string) bool {
	if n.pending() != "refused" {
		return false
	}
	cond := known.IfSet
	if n.isBool() {
		cond = known.IfOn
	}
	if n.entry != nil && n.entry.Refuse != "" {
		cond = n.entry.Refuse
	}
	switch cond {
	case known.IfOn:
		return isOn(value, n.def())
	case known.IfSet:
		return value != "" && value != n.def()
	default:
		return "="+value == cond
	}
}

// running reports whether a block that has a directive "enabled" is on.
func (f *finder) running(d *Directive, n *node) bool {
	e := n.children["enabled"]
	if e == nil {
		return true
	}
	if name, v := lookup(f.getenv, e.env()); name != "" {
		return isOn(v, e.def())
	}
	value := d.Get("enabled").Arg(0)
	if value == "" {
		value = e.def()
	}
	return isOn(value, e.def())
}

// environment adds what only the environment turns on.
func (f *finder) environment() {
	for _, n := range f.index.order {
		if n.block || n.pending() == "" {
			continue
		}
		name, value := lookup(f.getenv, n.env())
		if name == "" {
			continue
		}
		at := Pos{File: "$" + name}
		up := f.index.byPath[strings.TrimSuffix(strings.TrimSuffix(n.path, n.name), ".")]
		if n.name == "enabled" && !up.implemented() {
			if f.refuses(n, value) {
				f.add(at, up.path, "", true)
			} else if isOn(value, n.def()) && up.path == topBlock(up.path) {
				f.add(at, up.path, "", false)
			}
			continue
		}
		if !f.somewhereRunning(up) {
			continue
		}
		if up.path == "" || up.path == "vhost" || up.implemented() || f.refuses(n, value) {
			f.leaf(at, n, value, "")
		}
	}
}

// somewhereRunning reports whether the block at n is on in the server or in any
// vhost.
func (f *finder) somewhereRunning(n *node) bool {
	if n.path == "" || n.path == "vhost" {
		return true
	}
	dirs := []*Directive{f.root}
	for name := range strings.SplitSeq(n.path, ".") {
		var next []*Directive
		for _, d := range dirs {
			next = append(next, d.All(name)...)
		}
		dirs = next
	}
	return slices.ContainsFunc(append(dirs, &Directive{}), func(d *Directive) bool { return f.running(d, n) })
}
