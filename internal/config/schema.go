package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// A Rule is a directive that is kept as it was written: its name and its values.
// Blocks use it where directives repeat and their order matters (security's
// allow and deny), or where any name may stand (the parameters of an engine).
type Rule struct {
	Name string
	Args []string
}

type kind uint8

const (
	kindBool kind = iota + 1
	kindInt
	kindFloat
	kindString
	kindList     // []string: all the values of one directive
	kindDuration // time.Duration, with a unit
	kindBlock    // a struct: a nested block
	kindBlocks   // a slice of structs: a nested block that may repeat
	kindRules    // []Rule: every directive of some names
	kindAny      // []Rule: every directive that stands in the block
	kindArg      // string: the value of the block itself, as in "ingest ID { }"
)

func (k kind) block() bool { return k == kindBlock || k == kindBlocks }

// A field is one directive of a block, as its struct field and tags declare it.
type field struct {
	index  int
	kind   kind
	names  []string // the directive's name, then other spellings
	path   string   // "vhost.hls.hls_fragment"
	unit   time.Duration
	def    string
	shown  string   // default for documents, where def does not tell it
	env    []string // whole names; empty if the environment cannot set it
	enum   []string
	reload string
	doc    string // key of its doc comment: "weir/internal/config/blocks.Root.Listen"
	since  string
	elem   reflect.Type
	fields []field // of a nested block
}

// rule is where a name belongs that is only one of several of a field.
func (f *field) name() string { return f.names[0] }

var (
	durationType = reflect.TypeFor[time.Duration]()
	rulesType    = reflect.TypeFor[[]Rule]()
	listType     = reflect.TypeFor[[]string]()
)

// fieldsOf reads the tags of a struct. It panics on a tag that makes no sense:
// blocks are declared in package variables, so that every start of the program
// and every test proves that they do make sense.
//
// path is the block's place ("vhost.hls"), env the prefix of its names in the
// environment ("SRS_VHOST_HLS_"), "" if it has none.
func fieldsOf(t reflect.Type, path, env string) []field {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("BUG: config block %q is a %v, not a struct", path, t))
	}
	var out []field
	for i := range t.NumField() {
		sf := t.Field(i)
		if sf.Name == "_" { // a mark for the whole block
			if sf.Tag.Get("env") == "-" {
				env = ""
			}
			continue
		}
		tag, ok := sf.Tag.Lookup("conf")
		if !ok {
			continue
		}
		f := parseField(sf, tag, path, env)
		f.index = i
		f.doc = t.PkgPath() + "." + t.Name() + "." + sf.Name
		out = append(out, f)
	}
	return out
}

func parseField(sf reflect.StructField, tag, path, env string) field {
	bug := func(format string, args ...any) {
		panic("BUG: config block " + path + ", field " + sf.Name + ": " + fmt.Sprintf(format, args...))
	}
	f := field{
		names:  strings.Split(tag, ","),
		def:    sf.Tag.Get("default"),
		shown:  sf.Tag.Get("shown"),
		reload: sf.Tag.Get("reload"),
		since:  sf.Tag.Get("since"),
		elem:   sf.Type,
	}
	if alias := sf.Tag.Get("alias"); alias != "" {
		f.names = append(f.names, strings.Split(alias, ",")...)
	}
	if f.reload == "" {
		f.reload = "session"
	}
	if f.reload != "now" && f.reload != "session" && f.reload != "restart" {
		bug("reload is %q", f.reload)
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, "|")
	}
	f.path = join(path, f.names[0])

	switch {
	case tag == "$arg":
		f.kind, f.path = kindArg, path
	case sf.Type == rulesType && tag == "*":
		f.kind = kindAny
	case sf.Type == rulesType:
		f.kind = kindRules
	case sf.Type == durationType:
		f.kind = kindDuration
		switch sf.Tag.Get("unit") {
		case "s":
			f.unit = time.Second
		case "ms":
			f.unit = time.Millisecond
		default:
			bug(`a duration needs unit:"s" or unit:"ms"`)
		}
	case sf.Type == listType:
		f.kind = kindList
	case sf.Type.Kind() == reflect.Bool:
		f.kind = kindBool
		if f.def != "on" && f.def != "off" {
			bug(`a bool needs default:"on" or default:"off"`)
		}
	case sf.Type.Kind() == reflect.Int || sf.Type.Kind() == reflect.Int64:
		f.kind = kindInt
	case sf.Type.Kind() == reflect.Float64:
		f.kind = kindFloat
	case sf.Type.Kind() == reflect.String:
		f.kind = kindString
	case sf.Type.Kind() == reflect.Struct:
		f.kind = kindBlock
		f.fields = fieldsOf(sf.Type, f.path, envPrefix(env, f.names[0]))
	case sf.Type.Kind() == reflect.Slice && sf.Type.Elem().Kind() == reflect.Struct:
		f.kind = kindBlocks
		f.elem = sf.Type.Elem()
		f.fields = fieldsOf(f.elem, f.path, "")
	default:
		bug("the type %v cannot be configured", sf.Type)
	}
	if f.enum != nil && f.kind != kindString {
		bug("enum is for strings")
	}
	f.env = envNames(sf.Tag.Get("env"), env, f)
	return f
}

// envNames applies SRS's rule, SRS_ and the path in capitals, or what the tag
// says instead: "-" for none, else names without SRS_, the first that is set
// wins.
func envNames(tag, prefix string, f field) []string {
	switch f.kind {
	case kindBlock, kindBlocks, kindRules, kindAny, kindArg:
		return nil
	}
	if tag == "-" || tag == "" && prefix == "" {
		return nil
	}
	if tag == "" {
		return []string{prefix + strings.ToUpper(f.names[0])}
	}
	names := strings.Split(tag, ",")
	for i := range names {
		names[i] = "SRS_" + names[i]
	}
	return names
}

func envPrefix(prefix, name string) string {
	if prefix == "" {
		return ""
	}
	return prefix + strings.ToUpper(name) + "_"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
