package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// displayName is what the user typed to get here: as a plugin of oc or kubectl the command
// is named after theirs, and the dash in our name is an underscore in the file's.
func displayName(arg0 string) string {
	switch strings.TrimSuffix(filepath.Base(arg0), ".exe") {
	case "oc-osc_debug":
		return "oc osc-debug"
	case "kubectl-osc_debug":
		return "kubectl osc-debug"
	}
	return "osc-debug"
}

// rename puts the name that the user types into usage and examples.
func rename(root *cobra.Command, name string) {
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: name}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.Example = strings.ReplaceAll(c.Example, "  osc-debug ", "  "+name+" ")
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(root)
}

// verb is one of our commands as this user types it, without its arguments: with the name that they
// call us by, and with the flags by which they chose cluster and user. Without those the command
// would go to wherever their kubeconfig points. The command manifests needs no cluster.
func (a *app) verb(verb string) string {
	if verb == "manifests" {
		return a.name + " " + verb
	}
	return a.name + " " + verb + a.chosen()
}

// command is one of our commands as this user types it.
func (a *app) command(verb string, args ...string) string {
	return strings.Join(append([]string{a.verb(verb)}, args...), " ")
}

// chosen are the flags by which the user chose cluster and user, each after a space.
func (a *app) chosen() string {
	var b strings.Builder
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"kubeconfig", a.flags.KubeConfig}, {"context", a.flags.Context}, {"cluster", a.flags.ClusterName}, {"user", a.flags.AuthInfoName},
		{"server", a.flags.APIServer}, {"as", a.flags.Impersonate},
	} {
		if f.value != nil && *f.value != "" {
			b.WriteString(" --" + f.name + " " + quoted(*f.value))
		}
	}
	return b.String()
}

// quoted quotes a word for a shell.
func quoted(word string) string {
	if !strings.ContainsAny(word, " \t\n'\"\\$`*?[]{}()<>|&;~#!") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
