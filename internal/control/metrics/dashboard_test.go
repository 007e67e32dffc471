package metrics_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Prometheus understands what docs/grafana.json asks it, and every metric there is one
// of ours.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	ours := names(t)
	rules := "groups:\n- name: dashboard\n  rules:\n"
	asked := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			asked++
			for _, name := range regexp.MustCompile(`(srs|weir)_[a-z_]+`).FindAllString(target.Expr, -1) {
				if !ours[name] {
					t.Errorf("%s: no metric %s", p.Title, name)
				}
			}
			expr, _ := json.Marshal(strings.NewReplacer("$__rate_interval", "1m", "$", "").Replace(target.Expr))
			rules += fmt.Sprintf("  - record: x:y%d\n    expr: %s\n", asked, expr)
		}
	}
	if asked < 20 {
		t.Errorf("it asks %d questions", asked)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// names returns the names of metrics in the source.
func names(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`"((?:srs|weir)_[a-z_]+)"`).FindAllSubmatch(text, -1) {
			all[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
