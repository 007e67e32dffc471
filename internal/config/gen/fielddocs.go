package gen

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// docsFile is where the doc comments of blocks are kept for the binary.
const docsFile = "internal/config/fielddocs.go"

// fieldDocs reads the doc comments of every struct in module's internal packages
// that has a field with a conf tag, as source of a Go file.
func fieldDocs(root string) ([]byte, error) {
	docs := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(src, []byte("`conf:\"")) {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		return fileDocs(name, src, path.Join("weir", filepath.ToSlash(rel)), docs)
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(marker("//") + "\n\npackage config\n\n")
	b.WriteString("// fieldDocs are the doc comments of blocks and their fields, by package, type and\n// field.\nvar fieldDocs = map[string]string{\n")
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		fmt.Fprintf(&b, "\t%q: %q,\n", key, docs[key])
	}
	b.WriteString("}\n")
	return format.Source(b.Bytes())
}

// fileDocs adds the doc comments of one file.
func fileDocs(name string, src []byte, pkg string, docs map[string]string) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, decl := range f.Decls {
		gd, ok := decl.(*ast.GenDecl)
		if !ok || gd.Tok != token.TYPE {
			continue
		}
		for _, s := range gd.Specs {
			ts := s.(*ast.TypeSpec)
			st, ok := ts.Type.(*ast.StructType)
			if !ok || !hasConf(st) {
				continue
			}
			doc := ts.Doc
			if doc == nil && len(gd.Specs) == 1 {
				doc = gd.Doc
			}
			key := pkg + "." + ts.Name.Name
			docs[key] = strings.TrimSpace(doc.Text())
			for _, field := range st.Fields.List {
				if conf, ok := confTag(field); ok && conf != "*" && conf != "$arg" {
					for _, n := range field.Names {
						docs[key+"."+n.Name] = strings.TrimSpace(field.Doc.Text())
					}
				}
			}
		}
	}
	return nil
}

func hasConf(st *ast.StructType) bool {
	return slices.ContainsFunc(st.Fields.List, func(f *ast.Field) bool { _, ok := confTag(f); return ok })
}

func confTag(f *ast.Field) (string, bool) {
	if f.Tag == nil {
		return "", false
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return "", false
	}
	_, rest, ok := strings.Cut(tag, `conf:"`)
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, `"`)
	return name, true
}
