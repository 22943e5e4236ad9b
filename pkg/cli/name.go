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

// rename has usage and examples speak of the command by a name.
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
