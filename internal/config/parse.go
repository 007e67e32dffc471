package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Limits of a configuration; SRS has none.
const (
	maxFile         = 16 << 20 // bytes of one file
	maxTotal        = 64 << 20 // bytes of a file and all it includes
	maxNesting      = 64       // blocks within blocks
	maxIncludeDepth = 16       // files within files
	maxDirectives   = 200_000
)

// A Directive is one statement of a configuration: "name args;" or "name args {
// children }". Words are as written, without their quotes.
type Directive struct {
	Name     string
	Args     []string
	Children []*Directive
	Block    bool // written with braces
	File     string
	Line     int
	Col      int
}

// Pos returns where the directive's name stands.
func (d *Directive) Pos() Pos { return Pos{File: d.File, Line: d.Line, Col: d.Col} }

// Arg returns the i-th value, or "".
func (d *Directive) Arg(i int) string {
	if d == nil || i >= len(d.Args) {
		return ""
	}
	return d.Args[i]
}

// Get returns the first child of that name, which is the one that counts, or
// nil.
func (d *Directive) Get(name string) *Directive {
	if d == nil {
		return nil
	}
	for _, c := range d.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// All returns every child of that name.
func (d *Directive) All(name string) []*Directive {
	if d == nil {
		return nil
	}
	var out []*Directive
	for _, c := range d.Children {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// getOrAdd returns the first child block of that name, made if missing.
func (d *Directive) getOrAdd(name string, at *Directive) *Directive {
	if c := d.Get(name); c != nil {
		c.Block = true
		return c
	}
	c := &Directive{Name: name, Block: true, File: at.File, Line: at.Line, Col: at.Col}
	d.Children = append(d.Children, c)
	return c
}

// ParseTree reads text in SRS's grammar into a tree whose root has neither name
// nor values. Files named by include are read by read, with their names as
// written (SRS takes them relative to the working directory); a nil read makes
// include an error. The tree is never nil; the error, if any, is an [Errors]
// with all that was wrong.
func ParseTree(file string, text []byte, read func(name string) ([]byte, error)) (*Directive, error) {
	p := &parser{read: read, prob: &problems{}}
	root := p.file(file, text)
	if len(p.prob.errs) > 0 {
		p.prob.sort(p.files)
		return root, p.prob.errs
	}
	return root, nil
}

// A parser reads a file and what it includes.
type parser struct {
	read  func(name string) ([]byte, error)
	prob  *problems
	files []string // in the order in which they were met
	total int      // bytes so far
	count int      // directives so far
}

func (p *parser) file(file string, text []byte) *Directive {
	root := &Directive{Block: true, File: file}
	root.Children = p.include(file, text, Pos{File: file}, 0, 0)
	return root
}

// include parses one file, at a level of blocks and files.
func (p *parser) include(file string, text []byte, at Pos, nesting, depth int) []*Directive {
	p.files = append(p.files, file)
	if len(text) > maxFile {
		p.prob.fail(at, "", "%s has %d bytes, more than the %d allowed", file, len(text), maxFile)
		return nil
	}
	if p.total += len(text); p.total > maxTotal {
		p.prob.fail(at, "does a file include itself?", "the included files have more than %d bytes together", maxTotal)
		return nil
	}
	b := fileParser{parser: p, lex: newLexer(file, text, p.prob), depth: depth}
	return b.children(nesting, nil)
}

// A fileParser parses the blocks of one file.
type fileParser struct {
	*parser
	lex   *lexer
	depth int
}

// children reads up to the "}" that closes open, or to the file's end if open is
// nil.
func (b *fileParser) children(nesting int, open *Directive) []*Directive {
	var out []*Directive
	for {
		s := b.lex.next()
		if len(s.words) > 0 {
			out = b.statement(out, s, nesting)
		} else if s.end == endOpen {
			b.nested(&Directive{File: s.pos.File, Line: s.pos.Line, Col: s.pos.Col}, nesting) // a block without a name was reported: drop it
		}
		switch {
		case s.end == endFile || b.lex.broken:
			if open != nil && !b.lex.broken {
				b.prob.fail(b.lex.pos(b.lex.at), fmt.Sprintf("the block opened at line %d is not closed", open.Line),
					`line %d: unexpected end of file, expecting "}"`, b.lex.line)
			}
			return out
		case s.end == endClose && open != nil:
			return out
		case s.end == endClose:
			b.prob.fail(s.pos, "no block is open here; remove it", `line %d: unexpected "}"`, s.pos.Line)
		}
	}
}

// statement adds the directive of s, or the files that it includes, to out.
func (b *fileParser) statement(out []*Directive, s statement, nesting int) []*Directive {
	if b.count++; b.count > maxDirectives {
		b.prob.fail(s.pos, "", "more than %d directives", maxDirectives)
		b.lex.broken = true
		return out
	}
	d := &Directive{Name: s.words[0], Args: s.words[1:len(s.words):len(s.words)], File: s.pos.File, Line: s.pos.Line, Col: s.pos.Col}
	if s.end == endOpen {
		d.Block = true
		d.Children = b.nested(d, nesting)
	}
	if d.Name != "include" {
		return append(out, d)
	}
	if len(d.Args) == 0 {
		b.prob.fail(s.pos, "name the files to include", "line %d: include is empty directive", s.pos.Line)
	}
	for _, name := range d.Args {
		out = append(out, b.included(name, s.pos, nesting)...)
	}
	return out
}

func (b *fileParser) nested(d *Directive, nesting int) []*Directive {
	if nesting >= maxNesting {
		b.prob.fail(d.Pos(), "", "more than %d blocks within each other", maxNesting)
		b.lex.broken = true
		return nil
	}
	return b.children(nesting+1, d)
}

func (b *fileParser) included(name string, at Pos, nesting int) []*Directive {
	if b.depth >= maxIncludeDepth {
		b.prob.fail(at, "does a file include itself?", "more than %d files include each other", maxIncludeDepth)
		b.lex.broken = true
		return nil
	}
	if b.read == nil {
		b.prob.fail(at, "", "include is not possible here")
		return nil
	}
	text, err := b.read(name)
	if err != nil {
		hint := "files are found from the working directory, not from the including file"
		if !errors.Is(err, fs.ErrNotExist) {
			hint = cause(err)
		}
		b.prob.failCode(CodeFileOpen, at, hint, "open file %s failed", clip(name))
		return nil
	}
	out := b.parser.include(name, text, at, nesting, b.depth+1)
	if b.total > maxTotal || b.count > maxDirectives {
		b.lex.broken = true
	}
	return out
}

// cause is what an error of the file system says, without the path.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// readFile reads a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	return text, nil
}

// Format writes a tree as text that [ParseTree] reads back to the same tree,
// positions aside. The root itself is not written.
func Format(root *Directive) string {
	var b strings.Builder
	format(&b, root.Children, 0)
	return b.String()
}

func format(b *strings.Builder, dirs []*Directive, level int) {
	for _, d := range dirs {
		b.WriteString(strings.Repeat("    ", level))
		b.WriteString(quote(d.Name))
		for _, a := range d.Args {
			b.WriteByte(' ')
			b.WriteString(quote(a))
		}
		if !d.Block {
			b.WriteString(";\n")
			continue
		}
		b.WriteString(" {\n")
		format(b, d.Children, level+1)
		b.WriteString(strings.Repeat("    ", level))
		b.WriteString("}\n")
	}
}

// quote puts a word in quotes where it would not be read back as it is. A word
// that needs them holds at most one kind of quote, or it could not have been
// written.
func quote(word string) string {
	if !strings.ContainsAny(word, " \t\r\n;{") && !slices.Contains([]byte("'\"#}"), word[0]) {
		return word
	}
	if strings.Contains(word, `"`) {
		return "'" + word + "'"
	}
	return `"` + word + `"`
}
