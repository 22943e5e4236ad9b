package cli

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/manifests"
)

// parts of the manifests, with what each is.
var parts = map[string]string{
	"guard": "the guard, its settings, rights and admission policy",
	"rbac":  "the ClusterRole of application teams",
	"scc":   "the SecurityContextConstraints of sandboxes (OpenShift)",
}

func (a *app) manifestsCommand() *cobra.Command {
	var names []string
	long := "Print what an administrator applies:\n"
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		long += fmt.Sprintf("\n  %-6s  %s", name, parts[name])
	}
	return &cobra.Command{
		Use: "manifests PART", Short: "Print what an administrator applies to the cluster", Long: long,
		Example:   "  osc-debug manifests guard | oc apply -f -",
		Args:      oneArg("one of " + strings.Join(names, ", ")),
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			if parts[args[0]] == "" {
				return usage(c, fmt.Errorf("%q: known are %s", args[0], strings.Join(names, ", ")))
			}
			return a.printManifests(args[0])
		},
	}
}

// printManifests prints a folder's files in the order that its kustomization names them,
// which is one that can be applied.
func (a *app) printManifests(folder string) error {
	list, err := fs.ReadFile(manifests.Files, path.Join(folder, "kustomization.yaml"))
	if err != nil {
		return err
	}
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(list, &kustomization); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	for _, name := range kustomization.Resources {
		data, err := fs.ReadFile(manifests.Files, path.Join(folder, name))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.Out, "---\n%s", data); err != nil {
			return err
		}
	}
	return nil
}
