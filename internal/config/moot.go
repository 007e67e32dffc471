package config

import "strings"

// mootFinder warns of what a tree and the environment say that has no meaning here.
type mootFinder struct {
	*checker
	seen map[string]bool
}

// moot warns once of each directive, or of the whole block, that says anything.
func (c *checker) moot() {
	f := &mootFinder{checker: c, seen: map[string]bool{}}
	f.block(c.root, c.index.root)
	f.environment()
}

func (f *mootFinder) add(at Pos, path string) {
	if f.seen[path] {
		return
	}
	f.seen[path] = true
	f.prob.warn(at, "", "%s has no meaning here and is ignored", path)
}

// block looks at what stands in dir, which is on.
func (f *mootFinder) block(dir *Directive, n *node) {
	done := map[string]bool{}
	for _, d := range dir.Children {
		c := n.children[d.Name]
		if c == nil || done[c.name] {
			continue
		}
		done[c.name] = !c.repeat
		switch {
		case !c.block:
			if c.moot() && c.says(d.Arg(0)) {
				f.add(d.Pos(), c.path)
			}
		case !f.running(d, c):
		case c.moot():
			f.add(d.Pos(), c.path)
		default:
			f.block(d, c)
		}
	}
}

// environment looks at what only the environment sets.
func (f *mootFinder) environment() {
	for _, n := range f.index.order {
		if n.block || !n.moot() {
			continue
		}
		name, value := lookup(f.getenv, n.env())
		if name == "" || !n.says(value) {
			continue
		}
		at, path := Pos{File: "$" + name}, n.path
		if up, _, _ := strings.Cut(n.path, "."); f.index.byPath[up].moot() {
			if path = up; !f.running(f.root.Get(up), f.index.byPath[up]) {
				continue
			}
		}
		f.add(at, path)
	}
}

// says reports whether a value is another than the default.
func (n *node) says(value string) bool {
	if n.isBool() {
		return isOn(value, n.def()) != (n.def() == "on")
	}
	return value != "" && value != n.def()
}

// running reports whether a block that has a directive "enabled" is on.
func (f *mootFinder) running(d *Directive, n *node) bool {
	e := n.children["enabled"]
	if e == nil {
		return true
	}
	value := d.Get("enabled").Arg(0)
	if name, v := lookup(f.getenv, e.env()); name != "" {
		value = v
	}
	if value == "" {
		value = e.def()
	}
	return isOn(value, e.def())
}
