package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

// jsonError is why a command failed, for scripts: docs/output.md has the schema.
type jsonError struct {
	Code    reason.Code `json:"code,omitempty"`
	Message string      `json:"message"`
	Fix     string      `json:"fix,omitempty"`
}

// printError prints why a command failed and what to do about it. Where the command's output is
// JSON it prints one line of JSON.
func (a *app) printError(c *cobra.Command, err error) {
	fixes := a.fixes(err)
	if f := c.Flags().Lookup("output"); f != nil && f.Value.String() == "json" {
		encoder := json.NewEncoder(terminal.NewJSONWriter(a.raw.ErrOut))
		encoder.SetEscapeHTML(false)
		failure := jsonError{reason.CodeOf(err), err.Error(), strings.Join(fixes, "\n")}
		_ = encoder.Encode(map[string]jsonError{"error": failure}) // there is nowhere left to report a failure to
		return
	}
	fmt.Fprintln(a.ErrOut, "osc-debug: "+coded(err))
	for _, fix := range fixes {
		fmt.Fprintln(a.ErrOut, indented("  ", fix))
	}
}

// coded is an error's text with the code of its first reason. Lines after the first are indented: the text
// may have line ends that others wrote, and must not look like another message.
func coded(err error) string {
	text := continued("  ", strings.TrimRight(err.Error(), "\n"))
	if code := reason.CodeOf(err); code != "" {
		return text + " (" + string(code) + ")"
	}
	return text
}

// fixes are what this user can do about the reasons of an error, each once.
func (a *app) fixes(err error) (out []string) {
	for _, e := range reason.All(err) {
		fix := e.FixFor(a.verb, map[string]string{"namespace": a.namespace()})
		if fix = terminal.Text(fix); fix != "" && !slices.Contains(out, fix) {
			out = append(out, fix)
		}
	}
	return out
}

// namespace is the namespace that the user chose, for the commands in fixes.
func (a *app) namespace() string {
	namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "NAMESPACE"
	}
	return namespace
}

// continued is text whose lines after the first begin with a prefix. It has only printable characters.
func continued(prefix, text string) string {
	return strings.ReplaceAll(terminal.Text(text), "\n", "\n"+prefix)
}

// indented puts a prefix before each line.
func indented(prefix, text string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}
