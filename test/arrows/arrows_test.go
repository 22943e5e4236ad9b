// Package arrows tests which package imports which. The table in docs/architecture.md lists what is
// allowed.
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

// Each package has a row in the table and imports exactly the packages that its row allows.
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
				t.Errorf("%s imports %s, but docs/architecture.md allows only %s", name, i, strings.Join(may, ", "))
			}
		}
		for _, i := range may {
			if !slices.Contains(imports, i) {
				t.Errorf("%s does not import %s, which docs/architecture.md allows: remove it from the row", name, i)
			}
		}
	}
	for name := range allowed {
		if !found[name] {
			t.Errorf("docs/architecture.md has a row for %s, which is not a package", name)
		}
	}
}

// table reads which of the module's packages each package may import.
func table(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(text), begin)
	rows, _, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatal("docs/architecture.md has no table between the arrows comments")
	}
	out := map[string][]string{}
	for line := range strings.Lines(rows) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		if name := strings.Trim(cells[1], " `"); strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "examples/") {
			continue // their rows include imports in test files
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

// packages returns the product's packages, each with the packages of this module that it imports,
// test files excluded.
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
			if strings.HasPrefix(i, module) && i != module+"pkg/reason" { // imports none itself; every package may import it
				ours = append(ours, strings.TrimPrefix(i, module))
			}
		}
		all[name] = ours
	}
	return all
}
