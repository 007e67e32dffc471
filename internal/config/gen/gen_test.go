package gen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
)

// root is the repository, seen from here.
const root = "../../.."

// TestDerivedFilesAreFresh fails if a block changed and its documents did not.
func TestDerivedFilesAreFresh(t *testing.T) {
	stale, err := Drift(root, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	if len(stale) > 0 {
		t.Errorf("run go generate ./internal/config; stale: %s", strings.Join(stale, ", "))
	}
}

// TestFullConfIsOnlyFull proves that every line of full.conf is right, and that
// the server refuses it for being full.conf alone.
func TestFullConfIsOnlyFull(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, fullConf))
	if err != nil {
		t.Fatal(err)
	}
	errs, _ := config.Check(config.Source{File: fullConf, Text: text, Getenv: func(string) string { return "" }}, blocks.All())
	if len(errs) != 1 || errs[0].Text != "never use full.conf("+fullConf+")" {
		t.Errorf("errors are %v", errs)
	}
	for _, i := range config.Directives(blocks.All()) {
		if i.Until == "" && i.Status != config.Moot && !strings.Contains(string(text), i.Name) {
			t.Errorf("full.conf does not show %s", i.Path)
		}
	}
}

func TestFieldDocs(t *testing.T) {
	docs := map[string]string{}
	src := "package x\n\n// A is a.\ntype A struct {\n\t// B is b.\n\t//\n\t// More.\n\tB int `conf:\"b\"`\n\tC int\n}\n\ntype D struct{ E int }\n"
	if err := fileDocs("x.go", []byte(src), "weir/x", docs); err != nil {
		t.Fatal(err)
	}
	if len(docs) != 2 || docs["weir/x.A"] != "A is a." || docs["weir/x.A.B"] != "B is b.\n\nMore." {
		t.Errorf("docs are %q", docs)
	}
}
