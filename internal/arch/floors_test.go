package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "weir/"

// floors, from the ground up. A package may import only rooms on lower floors,
// and its own room.
var floors = [][]string{
	{"media", "config", "child", "host"},
	{"format"},
	{"wire"}, // RTMP speaks AMF: wire may use format
	{"link"},
	{"hub"},
	{"session"},
	{"sender", "store", "sound"},
	{"service"},
	{"protocol", "control", "process", "cluster"},
	{"server"},
	{"bench", "demo", "bandwidth"},
}

// apart lists rooms whose packages are strangers: one protocol never imports
// another.
var apart = map[string]bool{"protocol": true, "control": true}

// suite is the one sibling that protocols know, and only in their tests: the
// conformance suite that each of them runs. It knows none of them.
const suite = "protocol/protocoltest"

// only narrows a room further than its floor does; an empty list means the
// standard library alone.
var only = map[string][]string{
	"media":   {},
	"config":  {},
	"child":   {},
	"host":    {},
	"format":  {"media"},
	"hub":     {"media"},
	"session": {"hub", "media"},
	"sender":  {"host", "media", "format", "wire", "hub", "session"},
	"store":   {"media", "format", "hub"},
}

// still lists rooms that start no goroutine, open no socket or file and read no
// clock; banned are what would let them.
var still = []string{"media", "format", "wire"}

// outside lists the modules that may be imported, and why.
var outside = map[string]string{
	"github.com/emiago/sipgo":          "SIP's messages, for the devices of GB/T 28181",
	"github.com/golang-jwt/jwt":        "tokens of other people's identity providers",
	"go.opentelemetry.io/otel":         "traces, in the protocol that collectors speak",
	"github.com/pion/dtls":             "agrees on the keys of WebRTC",
	"github.com/pion/srtp":             "encrypts what WebRTC sends",
	"github.com/pion/rtp":              "the header that pion/srtp asks for",
	"github.com/pion/logging":          "the log that pion/dtls asks for",
	"github.com/thesyncim/gopus":       "Opus, for sound from and to browsers",
	"github.com/tphakala/go-aac":       "AAC-LC, for sound from and to browsers; LGPL, left out by the tag noaac",
	"github.com/caddyserver/certmagic": "certificates from an authority (ACME)",
	"github.com/mholt/acmez":           "the account that certmagic is given",
	"go.uber.org/zap":                  "the log that certmagic asks for",
	"github.com/minio/minio-go":        "recordings into object storage",
	"github.com/hajimehoshi/go-mp3":    "MP3, for sound to browsers",
}

// outsideTests lists those that only tests, and what is below test/, may import.
var outsideTests = map[string]string{
	"github.com/google/go-cmp":          "readable differences",
	"github.com/chromedp/chromedp":      "drives a real browser",
	"github.com/chromedp/cdproto":       "drives a real browser",
	"github.com/pion/rtcp":              "a second opinion on RTCP",
	"github.com/pion/interceptor":       "what that peer does beside sending",
	"go.opentelemetry.io/proto":         "reads what a collector of traces is sent",
	"google.golang.org/protobuf":        "reads what a collector of traces is sent",
	"golang.org/x/tools":                "reads the program as other platforms see it",
	"github.com/letsencrypt/pebble":     "an authority of certificates",
	"github.com/miekg/dns":              "names for that authority",
	"github.com/johannesboyne/gofakes3": "object storage that takes recordings",
	"github.com/pion/webrtc":            "a second peer of WebRTC",
	"github.com/rogpeppe/go-internal":   "txtar scripts of the binary",
}

// file is one Go source file of the project.
type file struct {
	path string // from the root, with slashes
	room string // "hub", or "" outside internal
	pkg  string // "protocol/rtmp"
	test bool
	ast  *ast.File
	text string
}

// files parses every source file. It reads them itself rather than ask "go
// list", so that the test cache sees what it read.
func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != ".." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f := file{path: strings.TrimPrefix(filepath.ToSlash(path), "../../"), test: strings.HasSuffix(path, "_test.go"), text: string(text)}
		if rest, ok := strings.CutPrefix(f.path, "internal/"); ok {
			f.pkg = rest[:strings.LastIndexByte(rest, '/')]
			f.room, _, _ = strings.Cut(f.pkg, "/")
		}
		f.ast, err = parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
		all = append(all, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files found: the walk is broken", len(all))
	}
	return all
}

func (f *file) imports() (paths []string) {
	for _, spec := range f.ast.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

func level(room string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, room) })
}

func TestFloors(t *testing.T) {
	for _, f := range files(t) {
		if f.room == "" || f.room == "arch" || f.room == "tools" {
			continue
		}
		if level(f.room) < 0 {
			t.Errorf("%s: room %q has no floor", f.path, f.room)
			continue
		}
		for _, imp := range f.imports() {
			to, ok := strings.CutPrefix(imp, module+"internal/")
			if !ok || f.test && level(strings.Split(to, "/")[0]) >= 0 && (to == suite || !apartFrom(f.pkg, to)) {
				continue // a test may look down at anything
			}
			room, _, _ := strings.Cut(to, "/")
			allowed, narrow := only[f.room]
			switch {
			case to == f.pkg:
			case to == suite:
				t.Errorf("%s imports %s, which is for tests", f.path, to)
			case apartFrom(f.pkg, to):
				t.Errorf("%s imports its sibling %s", f.path, to)
			case room == f.room:
			case narrow && !slices.Contains(allowed, room):
				t.Errorf("%s imports %s; %s may import only %v", f.path, to, f.room, allowed)
			case level(room) >= level(f.room):
				t.Errorf("%s (floor %d) imports %s (floor %d)", f.path, level(f.room), to, level(room))
			}
		}
	}
}

// apartFrom reports whether two packages are strangers in one room.
func apartFrom(from, to string) bool {
	a, _, _ := strings.Cut(from, "/")
	b, _, _ := strings.Cut(to, "/")
	return a == b && apart[a] && from != to
}

func TestOutsideModules(t *testing.T) {
	for _, f := range files(t) {
		for _, imp := range f.imports() {
			first, _, _ := strings.Cut(imp, "/")
			if !strings.Contains(first, ".") {
				continue
			}
			known := func(list map[string]string) bool {
				for m := range list {
					if imp == m || strings.HasPrefix(imp, m+"/") {
						return true
					}
				}
				return false
			}
			if !known(outside) && !((f.test || strings.HasPrefix(f.path, "test/")) && known(outsideTests)) {
				t.Errorf("%s imports %s, which is not in the list of this test", f.path, imp)
			}
		}
	}
}

// Only internal/child starts programs; what is pure reads no clock and opens
// nothing.
func TestForbiddenPackages(t *testing.T) {
	for _, f := range files(t) {
		if f.test || f.room == "tools" || strings.Contains(f.path, "/gen/") {
			continue
		}
		for _, imp := range f.imports() {
			if imp == "os/exec" && f.room != "child" {
				t.Errorf("%s imports os/exec; only internal/child starts programs", f.path)
			}
			if slices.Contains(still, f.room) && slices.Contains([]string{"net/http", "os", "sync", "context"}, imp) {
				t.Errorf("%s imports %s; %s is pure", f.path, imp, f.room)
			}
		}
		if !slices.Contains(still, f.room) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine; %s is pure", f.path, f.room)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Sleep", "After", "NewTimer", "Since"}, n.Sel.Name) {
					t.Errorf("%s uses time.%s; %s reads no clock", f.path, n.Sel.Name, f.room)
				}
			}
			return true
		})
	}
}

func TestNoVagueNames(t *testing.T) {
	for _, f := range files(t) {
		for _, part := range strings.Split(f.pkg, "/") {
			if slices.Contains([]string{"util", "utils", "common", "base", "types", "helpers", "models"}, part) {
				t.Errorf("%s: a package called %q says nothing", f.path, part)
			}
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	has, seen := map[string]bool{}, map[string]string{}
	for _, f := range files(t) {
		if f.test {
			continue
		}
		dir := f.path[:strings.LastIndexByte(f.path, '/')]
		seen[dir] = f.ast.Name.Name
		if f.ast.Doc != nil {
			has[dir] = true
		}
	}
	for dir := range seen {
		if !has[dir] {
			t.Errorf("%s: package %s has no doc comment", dir, seen[dir])
		}
	}
}

func TestNoFileIsHuge(t *testing.T) {
	for _, f := range files(t) {
		if ast.IsGenerated(f.ast) {
			continue
		}
		if n := strings.Count(f.text, "\n"); n > 1000 {
			t.Errorf("%s has %d lines: what does it really hold?", f.path, n)
		}
	}
}

// skip is how a test, benchmark or fuzz target skips itself.
var skip = regexp.MustCompile(`\b(t|b|f|tb)\.(Skip|Skipf|SkipNow)\(`)

func TestNoInitAndNoSkip(t *testing.T) {
	for _, f := range files(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
		if f.test && f.room != "arch" && skip.MatchString(f.text) {
			t.Errorf("%s can skip a test, which nobody would see", f.path)
		}
	}
}
