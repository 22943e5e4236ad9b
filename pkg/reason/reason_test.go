package reason

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each code is a single word, for use in scripts, and has one row.
func TestCodes(t *testing.T) {
	word := regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	seen := map[Code]bool{}
	for _, r := range Table() {
		if !word.MatchString(string(r.Code)) || seen[r.Code] {
			t.Errorf("code %q: not a single word, or in several rows", r.Code)
		}
		seen[r.Code] = true
		if !slices.Contains([]Kind{Refusal, Warning, Failure, Verdict, Finding}, r.Kind) || r.Sentence == "" {
			t.Errorf("%s: kind %q, sentence %q", r.Code, r.Kind, r.Sentence)
		}
		if strings.Contains(r.Sentence, "{osc-debug}") {
			t.Errorf("%s: a command belongs in the fix: %s", r.Code, r.Sentence)
		}
	}
}

var placeholder = regexp.MustCompile(`\{([a-zA-Z-]+)\}`)

// printerArgs are the arguments of Fix that the code which prints it supplies.
var printerArgs = []string{"osc-debug", "namespace", "user"}

// Every call of New and Forbidden passes exactly the arguments in its reason's sentence and fix, and
// every reason is used.
func TestEveryCallGivesItsArguments(t *testing.T) {
	names := constants(t)
	used := map[Code]bool{}
	for file, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if e, ok := n.(*ast.SelectorExpr); ok && isReasonPackage(e.X) {
				if code, ok := names[e.Sel.Name]; ok {
					used[code] = true
				}
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !isReasonPackage(fun.X) || fun.Sel.Name != "New" && fun.Sel.Name != "Forbidden" || call.Ellipsis.IsValid() {
				return true
			}
			selector, ok := call.Args[0].(*ast.SelectorExpr)
			if !ok {
				return true // a variable: its callers are checked
			}
			code := names[selector.Sel.Name]
			r := row(code)
			var got []string
			for i := 1; i < len(call.Args); i += 2 {
				if l, ok := call.Args[i].(*ast.BasicLit); ok {
					name, _ := strconv.Unquote(l.Value)
					got = append(got, name)
				}
			}
			for _, m := range placeholder.FindAllStringSubmatch(r.Sentence, -1) {
				if !slices.Contains(got, m[1]) {
					t.Errorf("%s: %s has no argument %q: %s", file, code, m[1], r.Sentence)
				}
			}
			for _, m := range placeholder.FindAllStringSubmatch(r.Fix, -1) {
				if !slices.Contains(got, m[1]) && !slices.Contains(printerArgs, m[1]) {
					t.Errorf("%s: the fix of %s has no argument %q: %s", file, code, m[1], r.Fix)
				}
			}
			for _, name := range got {
				if !strings.Contains(r.Sentence+r.Fix, "{"+name+"}") && name != "cause" {
					t.Errorf("%s: %s does not use %q", file, code, name)
				}
			}
			return true
		})
	}
	for _, r := range Table() {
		if !used[r.Code] {
			t.Errorf("%s: no code uses it", r.Code)
		}
	}
}

func isReasonPackage(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "reason"
}

// constants returns the codes by the names of their constants.
func constants(t *testing.T) map[string]Code {
	t.Helper()
	out := map[string]Code{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if l, ok := v.Values[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
					value, _ := strconv.Unquote(l.Value)
					out[v.Names[0].Name] = Code(value)
				}
			}
			return true
		})
	}
	return out
}

// sources returns the product's parsed files by path.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	out := map[string]*ast.File{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		out[path] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnErrorTree(t *testing.T) {
	inner := errors.New("no answer")
	e := &Error{Code: "X", args: map[string]string{"route": "shop"}, cause: inner}
	tree := fmt.Errorf("outside: %w", errors.Join(&Forced{e}, &Error{Code: "Y"}))
	if all := All(tree); len(all) != 2 || all[0] != e || all[1].Code != "Y" || !Is(tree, "Y") || Is(tree, "Z") || CodeOf(tree) != "X" || !errors.Is(tree, inner) {
		t.Errorf("%v of %v", all, tree)
	}
	if got := fill("route {route}: {unknown} {", e.args, nil); got != "route shop: {unknown} {" {
		t.Errorf("%q", got)
	}
}

// A fix contains commands as the user runs them.
func TestAFixNamesCommandsAsTheUserGivesThem(t *testing.T) {
	args := map[string]string{"route": "shop"}
	command := func(verb string) string { return "oc osc-debug " + verb + " --context web" }
	for template, want := range map[string]string{
		"end it with '{osc-debug} rollback --route {route}'": "end it with 'oc osc-debug rollback --context web --route shop'",
		"'{osc-debug} status', '{osc-debug} exec'":           "'oc osc-debug status --context web', 'oc osc-debug exec --context web'",
		"{osc-debug} doctor":                                 "oc osc-debug doctor --context web",
	} {
		if got := fill(template, args, command); got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	}
}
