package cli

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/manifests"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// guardImage is what the manifests name where nobody says which image. No such host can exist (RFC 6761),
// so nobody else can publish that image.
const guardImage = "registry.invalid/osc-debug/guard"

// parts of the manifests, with what each is.
var parts = map[string]string{
	"guard":                "the guard, its settings, rights and admission policy",
	"guard-all-namespaces": "the same, for all namespaces",
	"guard-team":           "a guard in a team's own namespace (-n); role admin there is enough to install it",
	"policy":               "the admission policies of sandbox pods and of users of sessions, and the settings that they read",
	"rbac":                 "the ClusterRoles of application teams: osc-debug-user, osc-debug-viewer",
	"scc":                  "the SecurityContextConstraints of sandboxes (OpenShift), and the namespace of the settings",
}

func (a *app) manifestsCommand() *cobra.Command {
	var names []string
	long := "Print what an administrator applies:\n"
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		long += fmt.Sprintf("\n  %-20s  %s", name, parts[name])
	}
	image := ""
	c := &cobra.Command{
		Use: "manifests PART", Short: "Print what an administrator applies to the cluster", Long: long,
		Example: "  osc-debug manifests guard --image registry.example.com/team/guard@sha256:... | oc apply -f -\n" +
			"  osc-debug manifests guard-team -n shop --image registry.example.com/team/guard@sha256:... | oc apply -f -",
		Args:      oneArg("one of " + strings.Join(names, ", ")),
		ValidArgs: names,
		RunE: func(c *cobra.Command, args []string) error {
			if parts[args[0]] == "" {
				return usage(c, fmt.Errorf("%q: must be one of %s", args[0], strings.Join(names, ", ")))
			}
			if image != "" && !strings.Contains(image, "@sha256:") {
				return usage(c, fmt.Errorf("--image %q: name it by digest (…@sha256:…), as 'make images' prints it", image))
			}
			if image == "" && strings.HasPrefix(args[0], "guard") {
				fmt.Fprintln(a.ErrOut, "osc-debug: "+coded(reason.New(reason.GuardImageUnpublished, "image", guardImage)))
			}
			if err := a.checkHome(c.Context(), args[0]); err != nil {
				return err
			}
			return a.printManifests(args[0], image)
		},
	}
	c.Flags().StringVar(&image, "image", "", "image of the guard, by digest")
	return c
}

// homeTimeout is how long checkHome waits for an API server.
const homeTimeout = 3 * time.Second

// checkHome refuses to print what an administrator would apply to a project that someone else requested. If
// no API server answers, it does not know of any.
func (a *app) checkHome(ctx context.Context, part string) error {
	if part == "rbac" || part == "guard-team" {
		return nil // they have no namespace
	}
	clients, err := a.clients()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	return settings.CheckBeforeInstall(ctx, clients.Core)
}

// printManifests prints what 'kubectl kustomize' makes of a part.
func (a *app) printManifests(part, image string) error {
	tree := filesys.MakeFsInMemory()
	err := fs.WalkDir(manifests.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := manifests.Files.ReadFile(path)
		if err != nil {
			return err
		}
		return tree.WriteFile(path, data)
	})
	if err != nil {
		return err
	}
	file := path.Join(part, "kustomization.yaml")
	data, err := tree.ReadFile(file)
	if err != nil {
		return err
	}
	var top types.Kustomization
	if err := top.Unmarshal(data); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if part == "guard-team" {
		if top.Namespace, _, err = a.flags.ToRawKubeConfigLoader().Namespace(); err != nil {
			return err
		}
	}
	if image != "" {
		name, digest, _ := strings.Cut(image, "@")
		top.Images = []types.Image{{Name: guardImage, NewName: name, Digest: digest}}
	}
	if data, err = yaml.Marshal(top); err != nil {
		return err
	}
	if err := tree.WriteFile(file, data); err != nil {
		return err
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tree, part)
	if err != nil {
		return fmt.Errorf("manifests %s: %w", part, err)
	}
	out, err := made.AsYaml()
	if err != nil {
		return err
	}
	_, err = a.Out.Write(out)
	return err
}
