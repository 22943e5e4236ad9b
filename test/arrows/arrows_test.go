// Package arrows holds which package may import which: the table in docs/architecture.md says so,
// and this test holds the code against it.
package arrows

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/osc-debug/osc-debug/"
	begin  = "<!-- arrows: test/arrows checks this table -->\n"
	end    = "<!-- arrows: end -->\n"
)

// The imports of each package are those that its row of the table allows, and each package has a
// row.
func TestImportsAreThoseOfTheTable(t *testing.T) {
	allowed := table(t)
	found := map[string]bool{}
	for name, imports := range packages(t) {
		found[name] = true
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no row in docs/architecture.md", name)
			continue
		}
		for _, i := range imports {
			if !slices.Contains(may, i) {
				t.Errorf("%s imports %s: docs/architecture.md allows %s", name, i, strings.Join(may, ", "))
			}
		}
		for _, i := range may {
			if !slices.Contains(imports, i) {
				t.Errorf("%s does not import %s, which docs/architecture.md allows: take it out of the row", name, i)
			}
		}
	}
	for name := range allowed {
		if !found[name] {
			t.Errorf("docs/architecture.md has a row for %s, which is no package", name)
		}
	}
}

// table reads which of our packages each may import.
func table(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(text), begin)
	rows, _, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatal("docs/architecture.md has no table between the comments of arrows")
	}
	out := map[string][]string{}
	for line := range strings.Lines(rows) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		if name := strings.Trim(cells[1], " `"); strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "examples/") {
			continue // what they import is in test files too
		}
		var imports []string
		for _, i := range strings.Split(cells[3], ",") {
			if i = strings.Trim(i, " `"); i != "" && i != "–" {
				imports = append(imports, i)
			}
		}
		out[strings.Trim(cells[1], " `")] = imports
	}
	return out
}

// packages are those of the product, each with what it imports of ours; tests do not count.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./cmd/...", "./pkg/...", "./sidecar/...", "./manifests/...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name, ours := strings.TrimPrefix(p.ImportPath, module), []string{}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, module) && i != module+"pkg/reason" { // a leaf that all may import
				ours = append(ours, strings.TrimPrefix(i, module))
			}
		}
		all[name] = ours
	}
	return all
}
