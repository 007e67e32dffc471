package config

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A decoder fills the struct of a block from the tree and the environment.
type decoder struct {
	getenv func(string) string // nil: no environment
	prob   *problems
}

// block decodes one block. dir is the block's directive, nil if there is none.
func (d *decoder) block(c *core, dir *Directive) reflect.Value {
	v := reflect.New(c.typ)
	d.fields(c.fields, dir, v.Elem())
	return v
}

// blocks decodes a block that may repeat, as a []T.
func (d *decoder) blocks(c *core, dirs []*Directive) reflect.Value {
	out := reflect.MakeSlice(reflect.SliceOf(c.typ), len(dirs), len(dirs))
	for i, dir := range dirs {
		d.fields(c.fields, dir, out.Index(i))
	}
	return out
}

func (d *decoder) fields(fields []field, dir *Directive, out reflect.Value) {
	for i := range fields {
		f := &fields[i]
		v := out.Field(f.index)
		switch f.kind {
		case kindBlock:
			d.fields(f.fields, first(dir, f.names), v)
		case kindBlocks:
			dirs := dir.All(f.names[0])
			if len(dirs) == 0 {
				continue
			}
			list := reflect.MakeSlice(v.Type(), len(dirs), len(dirs))
			for j, sub := range dirs {
				d.fields(f.fields, sub, list.Index(j))
			}
			v.Set(list)
		case kindRules, kindAny:
			if rules := rulesOf(f, dir); rules != nil {
				v.Set(reflect.ValueOf(rules))
			}
		case kindArg:
			v.SetString(dir.Arg(0))
		default:
			words, at := d.words(f, dir)
			d.leaf(f, words, at, v)
		}
	}
}

// first returns the first child that has one of the names.
func first(dir *Directive, names []string) *Directive {
	if dir == nil {
		return nil
	}
	for _, c := range dir.Children {
		if slices.Contains(names, c.Name) {
			return c
		}
	}
	return nil
}

func rulesOf(f *field, dir *Directive) []Rule {
	if dir == nil {
		return nil
	}
	var out []Rule
	for _, c := range dir.Children {
		if f.kind == kindAny || slices.Contains(f.names, c.Name) {
			out = append(out, Rule{Name: c.Name, Args: c.Args})
		}
	}
	return out
}

// words returns what a directive says and where: the environment first, then the
// file, then the default. A directive without a value says nothing.
func (d *decoder) words(f *field, dir *Directive) ([]string, Pos) {
	if name, value := lookup(d.getenv, f.env); name != "" {
		if words := strings.Fields(value); f.kind == kindList && len(words) > 0 {
			return words, Pos{File: "$" + name}
		}
		return []string{value}, Pos{File: "$" + name}
	}
	if c := first(dir, f.names); c != nil && len(c.Args) > 0 {
		return c.Args, c.Pos()
	}
	return defaultWords(f), Pos{File: "default of " + f.path}
}

func defaultWords(f *field) []string {
	if f.kind == kindList {
		return strings.Fields(f.def)
	}
	return []string{f.def}
}

// lookup returns the first of the names that is set to something, and its value.
func lookup(getenv func(string) string, names []string) (name, value string) {
	if getenv == nil {
		return "", ""
	}
	for _, n := range names {
		if v := getenv(n); v != "" {
			return n, v
		}
	}
	return "", ""
}

// leaf sets v from words, of which there is at least one unless it is a list.
func (d *decoder) leaf(f *field, words []string, at Pos, v reflect.Value) {
	if f.kind == kindList {
		if len(words) > 0 {
			v.Set(reflect.ValueOf(slices.Clone(words)))
		}
		return
	}
	word := words[0]
	switch f.kind {
	case kindBool:
		on := isOn(word, f.def)
		if word != "on" && word != "off" {
			d.prob.warn(at, "write on or off", "%s %s is read as %s", f.path, clip(word), onOff(on))
		}
		v.SetBool(on)
	case kindInt:
		n, whole := atoi(word)
		if !whole && word != "" {
			d.prob.warn(at, "write a whole number", "%s %s is read as %d", f.path, clip(word), n)
		}
		v.SetInt(n)
	case kindFloat:
		v.SetFloat(d.number(f, word, at))
	case kindDuration:
		v.SetInt(int64(duration(d.number(f, word, at), f.unit)))
	case kindString:
		if f.enum != nil && !slices.Contains(f.enum, word) && word != f.def {
			d.prob.warn(at, suggest(word, f.enum), "%s %s is not one of %s and is read as %s",
				f.path, clip(word), strings.Join(f.enum, ", "), orNothing(f.def))
			word = f.def
		}
		v.SetString(word)
	}
}

func orNothing(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}

func (d *decoder) number(f *field, word string, at Pos) float64 {
	n, whole := atof(word)
	if !whole && word != "" {
		hint := "write a number"
		switch f.unit {
		case time.Second:
			hint = "write a number of seconds, without a unit"
		case time.Millisecond:
			hint = "write a number of milliseconds, without a unit"
		}
		d.prob.warn(at, hint, "%s %s is read as %s", f.path, clip(word), strconv.FormatFloat(n, 'f', -1, 64))
	}
	return n
}

// isOn is SRS's rule: what is off by default is on only for the exact word "on",
// what is on by default is off only for the exact word "off".
func isOn(word, def string) bool {
	if def == "on" {
		return word != "off"
	}
	return word == "on"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// duration is n units, at most 100 years either way.
func duration(n float64, unit time.Duration) time.Duration {
	const most = float64(100 * 365 * 24 * time.Hour)
	return time.Duration(math.Round(max(-most, min(most, n*float64(unit)))))
}

// atoi reads a whole number as C's atoi does: spaces, a sign, digits, and the
// rest does not count. No digits are 0. Beyond 32 bits, where C leaves it open,
// the nearest number is taken. It says whether the word was a number as a whole.
func atoi(word string) (n int64, whole bool) {
	s := strings.TrimLeft(word, " \t\r\n\v\f")
	digits := strings.TrimLeft(s[signLen(s):], "0123456789")
	s = s[:len(s)-len(digits)]
	n, err := strconv.ParseInt(s, 10, 32) // on overflow the nearest
	return n, err == nil && len(s) == len(word)
}

// atof reads a decimal number as C's atof does; see [atoi]. Names of infinity
// and hexadecimal numbers are not numbers here.
func atof(word string) (n float64, whole bool) {
	s := strings.TrimLeft(word, " \t\r\n\v\f")
	end, digits := signLen(s), 0
	count := func() {
		for end < len(s) && s[end] >= '0' && s[end] <= '9' {
			end++
			digits++
		}
	}
	count()
	if end < len(s) && s[end] == '.' {
		end++
		count()
	}
	if digits == 0 {
		return 0, false
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		mantissa := end
		end++
		end += signLen(s[end:])
		from := end
		count()
		if end == from {
			end = mantissa
		}
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil { // out of range
		n = max(-math.MaxFloat32, min(math.MaxFloat32, n))
	}
	return n, err == nil && end == len(word)
}

func signLen(s string) int {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return 1
	}
	return 0
}
