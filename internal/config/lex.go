package config

import (
	"strings"
	"unicode/utf8"
)

// maxToken bounds one word; SRS has no bound, and no word that it understands
// comes near.
const maxToken = 64 << 10

// maxArgs bounds the words of one directive.
const maxArgs = 4096

// An ending is how a statement ended.
type ending uint8

const (
	endSemicolon ending = iota // name args ;
	endOpen                    // name args {
	endClose                   // }
	endFile
)

// A statement is what stands before a ";" or "{", or a "}" or the file's end. A
// "}" that ends words which lack their ";" has words too.
type statement struct {
	words []string
	pos   Pos // of the first word, or of the mark
	end   ending
	ok    bool // no error was found in it
}

// A lexer cuts one file into statements. It reports what is wrong and goes on
// with what was most probably meant.
type lexer struct {
	src       []byte
	file      string
	at        int // index of the next byte
	line      int
	lineStart int // index of the line's first byte
	prob      *problems
	broken    bool // nothing sensible can follow
}

func newLexer(file string, src []byte, prob *problems) *lexer {
	return &lexer{src: src, file: file, line: 1, prob: prob}
}

func (l *lexer) pos(at int) Pos {
	return Pos{File: l.file, Line: l.line, Col: at - l.lineStart + 1}
}

func (l *lexer) newline() {
	l.line++
	l.lineStart = l.at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// skip moves over spaces, tabs and CRs, and over newlines if lines is true.
// Comments go with them: a "#" begins one wherever a word could begin.
func (l *lexer) skip(lines bool) {
	for l.at < len(l.src) {
		switch c := l.src[l.at]; {
		case c == '\n':
			if !lines {
				return
			}
			l.at++
			l.newline()
		case isSpace(c):
			l.at++
		case c == '#':
			for l.at < len(l.src) && l.src[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

// next returns the next statement.
func (l *lexer) next() statement {
	l.skip(true)
	s := statement{pos: l.pos(l.at), ok: true}
	for {
		l.skip(false)
		if l.broken || l.at >= len(l.src) {
			if len(s.words) > 0 {
				l.prob.fail(l.pos(l.at), `end the directive with ";"`,
					`line %d: unexpected end of file, expecting ; or "}"`, l.line)
				s.ok = false
				s.end = endSemicolon // the file's end comes with the next call
				return s
			}
			s.end = endFile
			return s
		}
		at := l.pos(l.at)
		switch c := l.src[l.at]; c {
		case '\n':
			// Only reached with words pending: SRS wants them on one line.
			return l.brokenLine(s)
		case ';':
			l.at++
			s.end = endSemicolon
			if len(s.words) == 0 {
				l.prob.fail(at, "remove it", "line %d: unexpected ';'", l.line)
				s.ok = false
			}
			return s
		case '{':
			l.at++
			s.end = endOpen
			if len(s.words) == 0 {
				l.prob.fail(at, "a block needs a name before its brace", "line %d: unexpected '{'", l.line)
				s.ok = false
			}
			return s
		case '}':
			l.at++
			s.end = endClose
			if len(s.words) > 0 {
				l.prob.fail(at, `end the directive with ";" before the brace`, "line %d: unexpected '}'", l.line)
				s.ok = false
			}
			return s
		case '\'', '"':
			if done := l.quoted(&s, c); done {
				return s
			}
		default:
			l.bare(&s)
		}
		if len(s.words) > maxArgs {
			l.prob.fail(s.pos, "", "line %d: %s has more than %d values", s.pos.Line, s.words[0], maxArgs)
			l.broken = true
			s.words = s.words[:maxArgs]
		}
	}
}

// bare reads an unquoted word: anything up to a space, ";" or "{".
func (l *lexer) bare(s *statement) {
	start := l.at
	for l.at < len(l.src) {
		c := l.src[l.at]
		if isSpace(c) || c == ';' || c == '{' {
			break
		}
		l.at++
	}
	l.add(s, start, l.at)
}

// quoted reads a quoted word. There is no escape; the same quote ends it, and
// only a space, ";" or "{" may follow. An empty one adds no word. It returns
// true when s is finished, because what followed was not understood.
func (l *lexer) quoted(s *statement, quote byte) bool {
	open := l.pos(l.at)
	l.at++
	start := l.at
	for l.at < len(l.src) && l.src[l.at] != quote && l.src[l.at] != '\n' {
		l.at++
	}
	if l.at >= len(l.src) {
		l.prob.fail(open, "close the quote", `line %d: unexpected end of file, expecting ; or "}"`, l.line)
		l.add(s, start, l.at)
		s.ok, s.end = false, endSemicolon
		return true
	}
	if l.src[l.at] == '\n' {
		name := "quote"
		if len(s.words) > 0 {
			name = s.words[0]
		}
		l.prob.fail(open, "close the quote on the same line",
			"line %d: unexpected end of line to parse token %s", l.line, clip(name))
		// Whatever the word was, the directive's ";" is inside the quote.
		l.add(s, start, l.at)
		s.ok, s.end = false, endSemicolon
		return true
	}
	l.add(s, start, l.at)
	l.at++
	if l.at >= len(l.src) || isSpace(l.src[l.at]) || l.src[l.at] == ';' || l.src[l.at] == '{' {
		return false
	}
	r, _ := utf8.DecodeRune(l.src[l.at:])
	l.prob.fail(l.pos(l.at), "only a space, ; or { may follow a closing quote",
		"line %d: unexpected '%c'", l.line, r)
	s.ok = false
	for l.at < len(l.src) && !isSpace(l.src[l.at]) && l.src[l.at] != ';' && l.src[l.at] != '{' {
		l.at++
	}
	return false
}

func (l *lexer) add(s *statement, from, to int) {
	if to-from > maxToken {
		l.prob.fail(s.pos, "", "line %d: a word of %d bytes is longer than the %d allowed", l.line, to-from, maxToken)
		l.broken, s.ok = true, false
		return
	}
	if from < to {
		s.words = append(s.words, string(l.src[from:to]))
	}
}

// brokenLine reports a directive whose line ended before its ";", and finishes
// it: with the brace if the next line begins with one, else as if the ";" were
// there.
func (l *lexer) brokenLine(s statement) statement {
	at, line := l.pos(l.at), l.line
	s.ok = false
	if len(s.words) == 0 { // an empty quoted word and nothing else
		l.prob.fail(at, "", "line %d: empty directive", line)
		s.end = endSemicolon
		return s
	}
	l.skip(true)
	s.end = endSemicolon
	hint := `end the directive with ";" on the same line`
	if l.at < len(l.src) {
		switch l.src[l.at] {
		case '{':
			l.at++
			s.end = endOpen
			hint = `put the "{" on the same line`
		case ';':
			l.at++
			hint = `put the ";" on the same line`
		}
	}
	l.prob.fail(at, hint, "line %d: unexpected end of line to parse token %s", line, clip(s.words[0]))
	return s
}

// clip shortens a word for a message.
func clip(word string) string {
	const most = 64
	if len(word) > most {
		word = word[:most] + "..."
	}
	return strings.ToValidUTF8(word, "?")
}
