package reason

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reasons.md instead of comparing with it")

// docs/reasons.md is made from the table: go test ./pkg/reason -update
func TestTheDocumentationIsTheTable(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "reasons.md")
	want := documentation()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not made from the table (%v): run go test ./pkg/reason -update", file, err)
	}
}

// headings are the kinds, in the order of the page.
var headings = []struct {
	kind  Kind
	title string
}{
	{Refusal, "Refusals: the command does not begin, and nothing is changed"},
	{Warning, "Warnings: the command continues"},
	{Failure, "Failures: the command gives up, and undoes what it did"},
	{Verdict, "Verdicts of the guard"},
	{Finding, "Findings of doctor"},
}

func documentation() string {
	var out strings.Builder
	out.WriteString("# Reasons\n\nEvery refusal, warning, failure, verdict of the guard and finding of doctor has a code. Messages end\n" +
		"with it in parentheses, JSON output has it in the field `code` (`problemCode` in `status`), and Events in\n" +
		"their reason. Codes are stable; sentences may change. Names in braces are filled in.\n\n" +
		"This page is made from the table in `pkg/reason`: `go test ./pkg/reason -update` writes it.\n")
	rows := Table()
	slices.SortStableFunc(rows, func(a, b Reason) int { return strings.Compare(string(a.Code), string(b.Code)) })
	for _, h := range headings {
		fmt.Fprintf(&out, "\n## %s\n\n| code | what is wrong | what to do |\n|---|---|---|\n", h.title)
		for _, r := range rows {
			if r.Kind == h.kind {
				fmt.Fprintf(&out, "| `%s` | %s | %s |\n", r.Code, cell(r.Sentence), cell(strings.ReplaceAll(r.Fix, "{osc-debug}", "osc-debug")))
			}
		}
	}
	return out.String()
}

// cell is a text as a cell of a Markdown table.
func cell(text string) string {
	text = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(text)
	return strings.ReplaceAll(text, "\n", "<br>")
}
