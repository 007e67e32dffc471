package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree returns a tree on one line, for tables.
func tree(d *Directive) string {
	return strings.Join(strings.Fields(Format(d)), " ")
}

func TestParseTree(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"empty", "", ""},
		{"comment only", "# nothing\n  # more", ""},
		{"words", "listen 1935 1936;", "listen 1935 1936;"},
		{"no value", "srs_log_file ;", "srs_log_file;"},
		{"several on a line", "a 1;b 2; c{d 3;}e 4;", `a 1; b 2; c { d 3; } e 4;`},
		{"brace touches the name", "vhost a{ }", "vhost a { }"},
		{"hash within a word", "server_id a#b;", "server_id a#b;"},
		{"hash after a mark", "a 1;# b\nc{# d\n}#e\nf 2;", "a 1; c { } f 2;"},
		{"quotes keep marks", `a 'x;y{z #w' "it's";`, `a "x;y{z #w" it's;`},
		{"empty quotes add nothing", `a '' "" b;`, "a b;"},
		{"quote inside a word", `a b'c d"e;`, `a b'c d"e;`},
		{"closing brace inside a word", "a b};", "a b};"},
		{"crlf", "listen 1935;\r\nvhost a {\r\n}\r\n", "listen 1935; vhost a { }"},
		{"tabs", "a\t1\t;", "a 1;"},
		{"space between words and mark", "a 1   ;", "a 1;"},
		{"line feeds before a name", "\n\n a 1;\n\n", "a 1;"},
		{"nested", "a { b { c { d 1; } } }", "a { b { c { d 1; } } }"},
		{"a BOM is part of the first word", "\ufefflisten 1;", "\ufefflisten 1;"},
		{"quoted brace directly after", `vhost "a"{ }`, "vhost a { }"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, err := ParseTree("x.conf", []byte(tt.text), nil)
			if err != nil {
				t.Fatalf("ParseTree(%q) = %v", tt.text, err)
			}
			if got := tree(root); got != tt.want {
				t.Errorf("ParseTree(%q)\n got %s\nwant %s", tt.text, got, tt.want)
			}
		})
	}
}

func TestParseTreeErrors(t *testing.T) {
	tests := []struct {
		name, text string
		errs       []string // "line:col: text", in order
		tree       string   // what is read all the same
	}{
		{"missing semicolon", "a 1;\nb 2\nc 3;",
			[]string{"2:4: line 2: unexpected end of line to parse token b"}, "a 1; b 2; c 3;"},
		{"words over lines", "a\n b;",
			[]string{"1:2: line 1: unexpected end of line to parse token a"}, "a; b;"},
		{"brace on the next line", "vhost a\n{\n b 1;\n}",
			[]string{"1:8: line 1: unexpected end of line to parse token vhost"}, "vhost a { b 1; }"},
		{"semicolon on the next line", "a 1\n;b 2;",
			[]string{"1:4: line 1: unexpected end of line to parse token a"}, "a 1; b 2;"},
		{"comment among words", "a 1 # b\n;",
			[]string{"1:8: line 1: unexpected end of line to parse token a"}, "a 1;"},
		{"missing brace", "a 1;\nvhost a {\n b 2;\n",
			[]string{`4:1: line 4: unexpected end of file, expecting "}"`}, "a 1; vhost a { b 2; }"},
		{"extra brace", "a 1;\n}\nb 2;",
			[]string{`2:1: line 2: unexpected "}"`}, "a 1; b 2;"},
		{"lonely semicolon", "a 1;\n;b 2;",
			[]string{"2:1: line 2: unexpected ';'"}, "a 1; b 2;"},
		{"lonely brace", "a 1;\n{ x 1; }\nb 2;",
			[]string{"2:1: line 2: unexpected '{'"}, "a 1; b 2;"},
		{"end within a directive", "a 1",
			[]string{`1:4: line 1: unexpected end of file, expecting ; or "}"`}, "a 1;"},
		{"brace within a directive", "vhost a { b 1 }\nc 2;",
			[]string{"1:15: line 1: unexpected '}'"}, "vhost a { b 1; } c 2;"},
		{"open quote", "a 1;\nb 'c;\nd 2;",
			[]string{"2:3: line 2: unexpected end of line to parse token b"}, `a 1; b "c;"; d 2;`},
		{"open quote at the end", "a 'b",
			[]string{`1:3: line 1: unexpected end of file, expecting ; or "}"`}, "a b;"},
		{"character after a quote", "a 'b'd;c 1;",
			[]string{"1:6: line 1: unexpected 'd'"}, "a b; c 1;"},
		{"quotes alone", "'';a 1;",
			[]string{"1:3: line 1: unexpected ';'"}, "a 1;"},
		{"include without a name", "a 1;\ninclude;",
			[]string{"2:1: line 2: include is empty directive"}, "a 1;"},
		{"several", "a 1\nb 'c'd;\n}\n;e 1;", []string{
			"1:4: line 1: unexpected end of line to parse token a",
			"2:6: line 2: unexpected 'd'",
			`3:1: line 3: unexpected "}"`,
			"4:1: line 4: unexpected ';'",
		}, "a 1; b c; e 1;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, err := ParseTree("x.conf", []byte(tt.text), nil)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("ParseTree(%q) = %v, want Errors", tt.text, err)
			}
			var got []string
			for _, e := range errs {
				got = append(got, fmt.Sprintf("%d:%d: %s", e.Pos.Line, e.Pos.Col, e.Text))
				if e.Pos.File != "x.conf" || e.SRSCode() != CodeConfigInvalid {
					t.Errorf("error %v is of file %q with code %d", e, e.Pos.File, e.SRSCode())
				}
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tt.errs, "\n"); g != w {
				t.Errorf("errors of %q\n got %s\nwant %s", tt.text, g, w)
			}
			if g := tree(root); g != tt.tree {
				t.Errorf("tree of %q\n got %s\nwant %s", tt.text, g, tt.tree)
			}
		})
	}
}

func TestDirectiveKnowsItsPlace(t *testing.T) {
	root, err := ParseTree("x.conf", []byte("a 1;\n  vhost b {\n\tc 2;\n}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := root.Get("vhost").Pos().String(), "x.conf:2:3"; got != want {
		t.Errorf("vhost is at %s, want %s", got, want)
	}
	if got, want := root.Get("vhost").Get("c").Pos().String(), "x.conf:3:2"; got != want {
		t.Errorf("c is at %s, want %s", got, want)
	}
}

// files is a file system for include.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	if text, ok := f[name]; ok {
		return []byte(text), nil
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}

func TestInclude(t *testing.T) {
	fs := files{
		"root.conf":    "b 2; vhost v { include conf/in.conf; }",
		"conf/in.conf": "c 3;\nd 4;",
		"empty.conf":   "# nothing\n",
	}
	root, err := ParseTree("x.conf", []byte("a 1; include root.conf empty.conf; e 5;"), fs.read)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tree(root), "a 1; b 2; vhost v { c 3; d 4; } e 5;"; got != want {
		t.Errorf("tree is %s, want %s", got, want)
	}
	if got, want := root.Get("vhost").Get("d").Pos().String(), "conf/in.conf:2:1"; got != want {
		t.Errorf("d is at %s, want %s", got, want)
	}
}

func TestIncludeErrors(t *testing.T) {
	deep := files{"self.conf": "a 1; include self.conf;"}
	for _, tt := range []struct {
		name, text string
		fs         files
		want       string
		code       int
	}{
		{"missing", "a 1;\ninclude nosuch.conf;", files{}, "x.conf:2:1: open file nosuch.conf failed", 18},
		{"itself", "include self.conf;", deep, "more than 16 files include each other", 255},
		{"broken", "include bad.conf;", files{"bad.conf": "a 1;\nb 2"}, "bad.conf:2:4: line 2: unexpected end of file", 255},
		{"open block", "include bad.conf;", files{"bad.conf": "a {"}, `bad.conf:1:4: line 1: unexpected end of file, expecting "}"`, 255},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTree("x.conf", []byte(tt.text), tt.fs.read)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if got := ExitCode(err); got != tt.code {
				t.Errorf("exit code is %d, want %d", got, tt.code)
			}
		})
	}
	if _, err := ParseTree("x.conf", []byte("include a;"), nil); err == nil {
		t.Error("include without a reader: no error")
	}
}

// TestLimits proves that no text makes the parser go on for ever or deep enough
// to exhaust the stack.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"nesting", strings.Repeat("a {", 1000), "more than 64 blocks"},
		{"word", "a " + strings.Repeat("x", maxToken+1) + ";", "longer than the 65536 allowed"},
		{"words", "a" + strings.Repeat(" x", maxArgs+1) + ";", "more than 4096 values"},
		{"directives", strings.Repeat("a;", maxDirectives+1), "more than 200000 directives"},
		{"file", strings.Repeat("#", maxFile+1), "more than the 16777216 allowed"},
		{"errors", strings.Repeat(";", 1000), "too many errors"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTree("x.conf", []byte(tt.text), nil)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("no error, want %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300s, want %s", err, tt.want)
			}
			if len(errs) > maxErrors+1 {
				t.Errorf("%d errors", len(errs))
			}
		})
	}
	// Two files that include both of each other would be read 2^16 times.
	fs := files{"a": "x 1; include a a;" + strings.Repeat("#", 1<<20)}
	if _, err := ParseTree("x.conf", []byte("include a a;"), fs.read); err == nil {
		t.Error("a bomb of includes: no error")
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x.conf")
	if err := os.WriteFile(name, []byte("listen 1935;"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := readFile(name)
	if err != nil || string(text) != "listen 1935;" {
		t.Errorf("readFile = %q, %v", text, err)
	}
	if _, err := readFile(dir); err == nil {
		t.Error("a directory is read as a file")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "listen 1935;", "a{b{c 1;}}", "a '", `a "b" 'c';`, "a b\nc;", "}{;", "# x\n\ra;", "a''b;", "'';", "\ufeffa;",
		"include x;", "vhost v { include x x; }", "a 'x\ry';", "a }b #c;", `a "'" '"';`, "a '}' '#';",
	} {
		f.Add([]byte(seed))
	}
	fs := files{"x": "y 1; z { w '2'; }", "self": "include self;"}
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := ParseTree("f.conf", text, fs.read)
		if root == nil {
			t.Fatal("no tree")
		}
		var errs Errors
		if err != nil && (!errors.As(err, &errs) || len(errs) > maxErrors+1) {
			t.Fatalf("error is %v", err)
		}
		// What was read is written so that it is read again.
		once := Format(root)
		again, err := ParseTree("f.conf", []byte(once), fs.read)
		if err != nil {
			t.Fatalf("%q was read from %q and is not read again: %v", once, text, err)
		}
		if twice := Format(again); twice != once {
			t.Fatalf("%q became %q", once, twice)
		}
		// Nothing that stands in a file may break what comes after the grammar.
		Check(Source{File: "f.conf", Text: text, ReadFile: fs.read, Getenv: func(string) string { return "" }}, testSpecs)
	})
}
