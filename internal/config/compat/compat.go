// Package compat says how far this server is SRS's equal: each directive, API
// field, hook, RTMP flow and command-line word of SRS, and what becomes of it here.
//
// The idea: compatibility is claimed by naming a test. A row works if it names
// one; a row that names none is not claimed. docs/compat.md is made from here,
// and a test fails if a row names a test that does not exist, or if fewer rows
// work than [AtLeast].
//
// To say that something works now: put the test's name into its row (or, for a
// directive, into [Directives]), raise [AtLeast], and run "go generate
// ./internal/config".
//
// The limits: the package holds words for developers and documents. No part of
// the server imports it.
package compat

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"weir/internal/config"
)

// AtLeast is how many rows work. It only ever rises.
const AtLeast = 534

// A Row is one thing that clients or operators of SRS rely on.
type Row struct {
	Name string
	// Test is the test that proves it, "TestX", "FuzzX" or "name.txtar"; empty
	// if nothing does.
	Test string
	// Why says how it differs from SRS and for what reason; empty if it does not.
	Why string
	// State is one of the states; [Table] fills it in.
	State string
}

// The states of a row.
const (
	Works   = "works"
	Differs = "differs"
	NotYet  = "not yet"        // nothing here does it
	Unread  = "not proved yet" // a directive that is declared, without a test that names it
	Moot    = "accepted, without effect"
)

// A Section is a part of the table.
type Section struct {
	Title string
	Intro string
	Rows  []Row
}

// Table returns the whole table, each row with its state. The specs are those of
// the server.
func Table(specs []config.Spec) []Section {
	out := []Section{directives(specs)}
	for _, s := range []Section{configuration, commandLine, rtmp, streams, api, hooks, running} {
		rows := make([]Row, len(s.Rows))
		for i, r := range s.Rows {
			r.State = state(r, NotYet)
			rows[i] = r
		}
		s.Rows = rows
		out = append(out, s)
	}
	return out
}

func state(r Row, otherwise string) string {
	switch {
	case r.Why != "":
		return Differs
	case r.Test != "":
		return Works
	default:
		return otherwise
	}
}

// directives has a row for each directive that SRS or this server knows; blocks
// have none.
func directives(specs []config.Spec) Section {
	s := Section{Title: "Directives", Intro: "What each does is told in [the reference](reference/README.md)."}
	for _, i := range config.Directives(specs) {
		if i.Block {
			continue
		}
		r := Row{Name: i.Path}
		p := proofOf(i.Path)
		r.Test, r.Why = p.Test, p.Why
		r.State = state(r, Unread)
		if i.Status == config.Moot {
			r.State = state(r, Moot)
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

// proofOf returns what is said of a directive: of itself, else of the nearest
// block around it.
func proofOf(path string) Proof {
	for {
		if p, ok := Directives[path]; ok {
			return p
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return Proof{}
		}
		path = path[:i]
	}
}

// Count returns how many rows are in a state.
func Count(table []Section, state string) int {
	n := 0
	for _, s := range table {
		for _, r := range s.Rows {
			if r.State == state {
				n++
			}
		}
	}
	return n
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// Tests returns the names of all tests of the repository at root: functions of
// _test.go files, and the names of txtar scripts.
func Tests(root string) (map[string]bool, error) {
	out := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		switch {
		case d.IsDir() && (base == "node_modules" || strings.HasPrefix(base, ".") && name != root && base != ".."):
			return fs.SkipDir
		case d.IsDir():
		case strings.HasSuffix(base, ".txtar"):
			out[base] = true
		case strings.HasSuffix(base, "_test.go"):
			src, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllSubmatch(src, -1) {
				out[string(m[1])] = true
			}
		}
		return nil
	})
	return out, err
}
