package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/internal/config/known"
)

// The doc comments come first: the second run finds them in the binary.
//
//go:generate go run weir/internal/config/gen/write
//go:generate go run weir/internal/config/gen/write

// The states of a directive.
const (
	Works = "works"
	Moot  = "no effect" // it never had a meaning outside SRS's own process; accepted, with a warning
)

// An Info is what there is to say about a directive or a block.
type Info struct {
	Path    string // "vhost.hls.hls_fragment"
	Name    string // "hls_fragment"
	Block   bool   // it has directives of its own
	Repeat  bool   // it may stand several times
	Type    string // "seconds", "on or off", "full, zero or off"
	Default string // as it is written, or in words; empty if there is none
	Value   string // the default as it is written; empty if there is none
	Env     []string
	Reload  string // "now", "session" or "restart"
	Since   string // SRS's version, "weir", or "" for 4.0 and before
	Until   string // SRS's last version that had it, or ""
	Status  string // Works or Moot; of a block, whether anything in it works
	Doc     string // paragraphs
}

// Directives lists everything that may stand in a file, a block before what
// stands in it.
func Directives(specs []Spec) []Info {
	var out []Info
	var add func(n *node)
	add = func(n *node) {
		out = append(out, n.info())
		for _, c := range n.inOrder {
			add(c)
		}
	}
	for _, c := range newIndex(specs).root.inOrder {
		add(c)
	}
	return out
}

// Undocumented lists the fields of blocks that have no doc comment in the
// generated table, as "package.Type.Field". It must be empty.
func Undocumented(specs []Spec) []string {
	var out []string
	var look func(fields []field)
	look = func(fields []field) {
		for i := range fields {
			if fields[i].kind != kindArg && fields[i].kind != kindAny && fieldDocs[fields[i].doc] == "" {
				out = append(out, fields[i].doc)
			}
			look(fields[i].fields)
		}
	}
	for _, s := range specs {
		look(s.spec().fields)
	}
	return out
}

func (n *node) info() Info {
	i := Info{
		Path: n.path, Name: n.name, Block: n.block, Repeat: n.repeat, Env: n.env(), Reload: "session",
		Type: n.typeName(), Default: n.def(), Value: n.def(), Status: n.status(), Doc: n.doc(),
	}
	if e := n.entry; e != nil {
		i.Reload, i.Since = e.Reload, e.Since
		if until, ok := strings.CutPrefix(e.Since, "-"); ok {
			i.Since, i.Until = "", until
		}
	}
	if f := n.field; f != nil {
		i.Default = cmp.Or(f.shown, f.def)
		i.Reload = f.reload
		i.Since = cmp.Or(f.since, i.Since)
	}
	return i
}

func (n *node) status() string {
	if n.moot() {
		return Moot
	}
	return Works
}

// Unread lists the directives that SRS knows, that none of the specs reads and that
// are not moot either. With those of the server it must be empty: what it lists would
// be ignored without a word.
func Unread(specs []Spec) []string {
	var out []string
	for _, n := range newIndex(specs).order {
		if !n.read() && !n.moot() {
			out = append(out, n.path)
		}
	}
	return out
}

func (n *node) typeName() string {
	if n.field == nil {
		if n.entry == nil {
			return known.Block
		}
		return n.entry.Type
	}
	f := n.field
	switch f.kind {
	case kindBool:
		return known.Bool
	case kindInt:
		return known.Int
	case kindFloat:
		return known.Float
	case kindList:
		return known.List
	case kindDuration:
		if f.unit == time.Second {
			return known.Seconds
		}
		return known.Milliseconds
	case kindBlock:
		return known.Block
	case kindBlocks:
		return known.Blocks
	case kindRules:
		return known.Rules
	}
	if f.enum != nil {
		return strings.Join(f.enum[:len(f.enum)-1], ", ") + " or " + f.enum[len(f.enum)-1]
	}
	return known.String
}

// doc returns the doc comment of the field or struct that declares n, with the
// names of the file in place of Go's.
func (n *node) doc() string {
	if n.field != nil {
		if text := fieldDocs[n.field.doc]; text != "" {
			goName := n.field.doc[strings.LastIndexByte(n.field.doc, '.')+1:]
			name := n.name
			if n.field.kind == kindRules && len(n.field.names) > 1 {
				name = strings.Join(n.field.names, " and ")
			}
			return rename(text, goName, name)
		}
	}
	if n.core != nil {
		if text := fieldDocs[n.core.doc]; text != "" {
			goName := n.core.doc[strings.LastIndexByte(n.core.doc, '.')+1:]
			text = strings.TrimPrefix(text, goName+" is "+n.name+": ")
			return capital(rename(text, goName, n.name))
		}
	}
	if n.entry != nil {
		return n.entry.Doc
	}
	return ""
}

func rename(text, goName, name string) string {
	if rest, ok := strings.CutPrefix(text, goName+" "); ok {
		return name + " " + rest
	}
	return text
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// When says when a change takes effect, for a value of [Info.Reload].
func When(reload string) string {
	switch reload {
	case "now":
		return "at once, on reload"
	case "restart":
		return "after a restart"
	default:
		return "on reload, for what begins after it"
	}
}

// Explain tells what a directive is: type, default, name in the environment, when
// a change takes effect, and what it does. The directive is named as in a file
// ("hls_fragment"), by its path ("vhost.hls.hls_fragment"), by a part of that
// ("hls.enabled"), or by its name in the environment. Blocks tell what stands in
// them. A name that several blocks know lists them.
func Explain(specs []Spec, name string) (string, error) {
	all := Directives(specs)
	var found, same []Info
	for _, i := range all {
		switch {
		case i.Path == name || slices.Contains(i.Env, name):
			found = append(found, i)
		case strings.HasSuffix(i.Path, "."+name):
			same = append(same, i)
		}
	}
	if len(found) == 0 {
		found = same
	}
	switch {
	case len(found) == 0:
		names := make([]string, 0, len(all))
		for _, i := range all {
			names = append(names, i.Name, i.Path)
		}
		hint := suggest(name, names)
		if hint != "" {
			hint = ": " + hint
		}
		return "", fmt.Errorf("there is no directive %s%s", clip(name), hint)
	case len(found) > 1 && !found[0].Block && len(found) > 3:
		var b strings.Builder
		fmt.Fprintf(&b, "%s stands in several blocks; ask for one of:\n", name)
		for _, i := range found {
			fmt.Fprintf(&b, "  %-40s %s\n", i.Path, strings.TrimPrefix(firstSentence(i.Doc), i.Name+" "))
		}
		return b.String(), nil
	}
	var b strings.Builder
	for k, i := range found {
		if k > 0 {
			b.WriteByte('\n')
		}
		explain(&b, i, all)
	}
	return b.String(), nil
}

func explain(b *strings.Builder, i Info, all []Info) {
	fmt.Fprintf(b, "%s (%s)\n", i.Path, i.Type)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %-14s%s\n", name, text)
		}
	}
	if !i.Block {
		row("default", cmp.Or(i.Default, "none"))
		row("environment", cmp.Or(strings.Join(i.Env, " or "), "none"))
		row("takes effect", When(i.Reload))
	}
	switch {
	case i.Since == "weir":
		row("since", "a directive of weir, SRS does not know it")
	case i.Since != "":
		row("since", "SRS "+i.Since)
	case i.Until != "":
		row("until", "SRS "+i.Until)
	}
	if i.Status == Moot {
		row("status", "no effect: accepted, and means nothing here")
	}
	if i.Doc != "" {
		fmt.Fprintf(b, "\n%s\n", indent(i.Doc))
	}
	if !i.Block {
		return
	}
	b.WriteByte('\n')
	for _, c := range all {
		if rest, ok := strings.CutPrefix(c.Path, i.Path+"."); ok && !strings.Contains(rest, ".") {
			fmt.Fprintf(b, "  %-28s %s\n", c.Name, strings.TrimPrefix(firstSentence(c.Doc), c.Name+" "))
		}
	}
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\n  "), "\n  \n", "\n\n")
}

// firstSentence is the beginning of a doc comment, on one line.
func firstSentence(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if i := strings.Index(doc, ". "); i >= 0 {
		return doc[:i+1]
	}
	return doc
}
