package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// toldError is why a command failed, for scripts: docs/output.md has the schema.
type toldError struct {
	Code    reason.Code `json:"code,omitempty"`
	Message string      `json:"message"`
	Fix     string      `json:"fix,omitempty"`
}

// tellError prints why a command failed and what to do about it: as JSON where that is the
// command's output, a line then.
func (a *app) tellError(c *cobra.Command, err error) {
	fixes := a.fixes(err)
	if f := c.Flags().Lookup("output"); f != nil && f.Value.String() == "json" {
		encoder := json.NewEncoder(a.ErrOut)
		encoder.SetEscapeHTML(false)
		told := toldError{reason.CodeOf(err), err.Error(), strings.Join(fixes, "\n")}
		_ = encoder.Encode(map[string]toldError{"error": told}) // nobody is left to be told
		return
	}
	fmt.Fprintln(a.ErrOut, "osc-debug: "+coded(err))
	for _, fix := range fixes {
		fmt.Fprintln(a.ErrOut, indented("  ", fix))
	}
}

// coded is an error's text, with the code of its first reason.
func coded(err error) string {
	text := strings.TrimRight(err.Error(), "\n")
	if code := reason.CodeOf(err); code != "" {
		return text + " (" + string(code) + ")"
	}
	return text
}

// fixes are what this user may do about an error's reasons, each once.
func (a *app) fixes(err error) (out []string) {
	for _, e := range reason.All(err) {
		fix := e.FixFor(a.verb, map[string]string{"namespace": a.namespace()})
		if fix != "" && !slices.Contains(out, fix) {
			out = append(out, fix)
		}
	}
	return out
}

// namespace is the one that the user chose, for what he is told to do.
func (a *app) namespace() string {
	namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "NAMESPACE"
	}
	return namespace
}

// indented puts a prefix before each line.
func indented(prefix, text string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}
