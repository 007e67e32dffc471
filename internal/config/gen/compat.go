package gen

import (
	"fmt"
	"strings"

	"weir/internal/config"
	"weir/internal/config/compat"
)

const compatFile = "docs/compat.md"

// compatDoc makes docs/compat.md.
func compatDoc(specs []config.Spec) []byte {
	table := compat.Table(specs)
	var b strings.Builder
	b.WriteString(mdMarker)
	b.WriteString("# How far weir is SRS's equal\n\n")
	b.WriteString("What SRS 7.0.18 shows to clients and operators, and what becomes of it here. A row works if it names the test\n")
	b.WriteString("that proves it. What differs on purpose is told in [differences.md](differences.md).\n\n")
	b.WriteString("| State | Rows |\n|---|---|\n")
	for _, s := range []string{compat.Works, compat.Differs, compat.Unread, compat.NotYet, compat.Moot} {
		fmt.Fprintf(&b, "| %s | %d |\n", s, compat.Count(table, s))
	}
	for _, s := range table {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| What | State |\n|---|---|\n", s.Title, s.Intro)
		for _, r := range s.Rows {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(name(s, r)), cell(stateOf(r)))
		}
	}
	return []byte(b.String())
}

func name(s compat.Section, r compat.Row) string {
	if s.Title == "Directives" {
		return "`" + r.Name + "`"
	}
	return r.Name
}

func stateOf(r compat.Row) string {
	out := r.State
	if r.Why != "" {
		out += ": " + r.Why
	}
	if r.Test != "" {
		out += " (" + r.Test + ")"
	}
	return out
}
