package compat

import (
	"testing"

	"weir/internal/config/blocks"
)

// root is the repository, seen from here.
const root = "../../.."

// TestRowsNameTests fails if something is claimed that no test proves.
func TestRowsNameTests(t *testing.T) {
	tests, err := Tests(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Table(blocks.All()) {
		seen := map[string]bool{}
		for _, r := range s.Rows {
			if r.Test != "" && !tests[r.Test] {
				t.Errorf("%s: %s names %s, which does not exist", s.Title, r.Name, r.Test)
			}
			if seen[r.Name] {
				t.Errorf("%s: %s is there twice", s.Title, r.Name)
			}
			seen[r.Name] = true
		}
	}
	for path, p := range Directives {
		if p.Test != "" && !tests[p.Test] {
			t.Errorf("%s names %s, which does not exist", path, p.Test)
		}
		found := false
		for _, r := range Table(blocks.All())[0].Rows {
			found = found || proofOf(r.Name) == p
		}
		if !found {
			t.Errorf("%s is no directive", path)
		}
	}
}

// TestWorksDoesNotFall fails if fewer rows work than did.
func TestWorksDoesNotFall(t *testing.T) {
	if n := Count(Table(blocks.All()), Works); n < AtLeast {
		t.Errorf("%d rows work, fewer than the %d of before", n, AtLeast)
	} else if n > AtLeast {
		t.Logf("%d rows work: raise AtLeast", n)
	}
}
