package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The numbers by which SRS calls what can be wrong with a configuration. The
// exit code of the process is the number's low byte, see [ExitCode].
const (
	// CodeConfigInvalid is SRS's ERROR_SYSTEM_CONFIG_INVALID: exit code 255.
	CodeConfigInvalid = 1023
	// CodeFileOpen is SRS's ERROR_SYSTEM_FILE_OPENE: exit code 18.
	CodeFileOpen = 1042
	// CodePidLocked is SRS's "another process holds the pid file": exit code 11.
	CodePidLocked = 1035
)

// A Pos is a place in a configuration file. Line and Col count from 1, Col in
// bytes. A Line of 0 means that the whole source is meant, which for a variable
// of the environment is its name with a leading "$".
type Pos struct {
	File string
	Line int
	Col  int
}

// String returns "file:line:col", or less where less is known.
func (p Pos) String() string {
	switch {
	case p.Line > 0 && p.Col > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	case p.Line > 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return p.File
	}
}

// An Error is one thing that is wrong with a configuration, so wrong that SRS
// would not start with it either.
type Error struct {
	Pos        Pos
	Text       string // what is wrong; SRS's wording where SRS has one
	Suggestion string // what to do about it, may be empty
	Code       int    // SRS's number, see the Code constants
}

// Error returns "file:line:col: text (suggestion)".
func (e Error) Error() string { return compose(e.Pos, e.Text, e.Suggestion) }

// SRSCode returns the number by which SRS calls this error.
func (e Error) SRSCode() int { return cmp.Or(e.Code, CodeConfigInvalid) }

// A Warning is something that SRS would silently accept, and that probably does
// not do what was meant.
type Warning struct {
	Pos        Pos
	Text       string
	Suggestion string
}

// String returns "file:line:col: text (suggestion)".
func (w Warning) String() string { return compose(w.Pos, w.Text, w.Suggestion) }

func compose(p Pos, text, suggestion string) string {
	var b strings.Builder
	if at := p.String(); at != "" {
		b.WriteString(at)
		b.WriteString(": ")
	}
	b.WriteString(text)
	if suggestion != "" {
		b.WriteString(" (")
		b.WriteString(suggestion)
		b.WriteString(")")
	}
	return b.String()
}

// Errors are all the errors of a configuration, in the order of the file.
type Errors []Error

// Error returns one line per error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single [Error].
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i := range e {
		out[i] = e[i]
	}
	return out
}

// ExitCode returns the exit code of the process for err, by SRS's rule: the low
// byte of the error's number. An error that says its number has a method
// SRSCode() int, as [Error] does; any other error is 1, and nil is 0.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	return cmp.Or(SRSCode(err)&0xff, 1)
}

// SRSCode returns the number by which SRS calls err, 0 if it says none.
func SRSCode(err error) int {
	var coded interface {
		error
		SRSCode() int
	}
	if errors.As(err, &coded) {
		return coded.SRSCode()
	}
	return 0
}

// maxErrors bounds what one run tells; who has more than this many has another
// kind of file at hand.
const maxErrors = 100

// problems gathers what is wrong while a configuration is read.
type problems struct {
	errs  Errors
	warns []Warning
	full  bool
}

func (p *problems) fail(at Pos, suggestion, format string, args ...any) {
	p.failCode(CodeConfigInvalid, at, suggestion, format, args...)
}

func (p *problems) failCode(code int, at Pos, suggestion, format string, args ...any) {
	if len(p.errs) >= maxErrors {
		if !p.full {
			p.full = true
			p.errs = append(p.errs, Error{Pos: Pos{File: at.File}, Text: "too many errors, the rest is not shown", Code: CodeConfigInvalid})
		}
		return
	}
	p.errs = append(p.errs, Error{Pos: at, Text: fmt.Sprintf(format, args...), Suggestion: suggestion, Code: code})
}

func (p *problems) warn(at Pos, suggestion, format string, args ...any) {
	if len(p.warns) >= 10*maxErrors {
		return
	}
	p.warns = append(p.warns, Warning{Pos: at, Text: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

// sort puts errors and warnings in the order of the file, main file first;
// includes says in which order files were met.
func (p *problems) sort(files []string) {
	order := make(map[string]int, len(files))
	for i, f := range files {
		if _, ok := order[f]; !ok {
			order[f] = i
		}
	}
	by := func(a, b Pos) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	}
	slices.SortStableFunc(p.errs, func(a, b Error) int { return by(a.Pos, b.Pos) })
	slices.SortStableFunc(p.warns, func(a, b Warning) int { return by(a.Pos, b.Pos) })
	// The environment speaks to every vhost, and is wrong once.
	p.warns = slices.Compact(p.warns)
}

// suggest returns "did you mean X?" for the candidate nearest to name, or "".
func suggest(name string, candidates []string) string {
	best, bestDist := "", maxDistance(name)+1
	for _, c := range candidates {
		if d := distance(name, c, bestDist+1); d < bestDist || d == bestDist && best != "" && c < best {
			best, bestDist = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// maxDistance is how many slips of the pen a word of this length may have and
// still be recognised.
func maxDistance(name string) int {
	switch n := len(name); {
	case n <= 3:
		return 1
	case n <= 7:
		return 2
	case n <= 64:
		return 3
	default:
		return -1 // not a directive, and not worth the time
	}
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that make a into b (optimal string alignment), or limit if it is
// that much or more.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return min(prev[len(b)], limit)
}
