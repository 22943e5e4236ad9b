package gadget

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/gadgets.md instead of comparing with it")

// docs/gadgets.md is made from the descriptions: go test ./pkg/trace/gadget -update
func TestTheDocumentationIsTheDescriptions(t *testing.T) {
	file := filepath.Join("..", "..", "..", "docs", "gadgets.md")
	want := documentation()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not made from the descriptions (%v): run go test ./pkg/trace/gadget -update", file, err)
	}
}

func documentation() string {
	var out strings.Builder
	out.WriteString("# Gadgets\n\nWhat each gadget of `osc-debug trace` shows, and the fields of its events. In JSON, a field of one gadget\n" +
		"is in an object with the gadget's name. `--fields` and `--filter` take the names in the first column.\n\n" +
		"This page is made from `pkg/trace/gadget`: `go test ./pkg/trace/gadget -update` writes it.\n\n" +
		"## All gadgets\n\n")
	writeFields(&out, commonFields)
	for _, g := range all {
		fmt.Fprintf(&out, "\n## %s\n\n%s%s.", g.Name, strings.ToUpper(g.Help[:1]), g.Help[1:])
		if g.Unseen != "" {
			fmt.Fprintf(&out, " It does not see %s.", g.Unseen)
		}
		if g.Totals {
			out.WriteString(" It has no event of its own for each: its counts come when it stops.")
		}
		out.WriteString("\n\n")
		var own []Field
		for _, f := range g.Fields() {
			if !f.common {
				own = append(own, f)
			}
		}
		writeFields(&out, own)
	}
	return out.String()
}

func writeFields(out *strings.Builder, fields []Field) {
	out.WriteString("| field | in JSON | unit | what it is |\n|---|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(out, "| `%s` | `%s` | %s | %s |\n", f.Name, f.JSON, f.Unit, strings.ReplaceAll(f.Help, "|", `\|`))
	}
}
