package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// completionTime bounds how long completing a name may take.
const completionTime = 2 * time.Second

// completions registers completion of the names that a command's flags take.
func (a *app) completions(c *cobra.Command) {
	register := func(flag string, list func(context.Context, *clients) []string) {
		if c.Flags().Lookup(flag) == nil {
			return
		}
		_ = c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return a.complete(prefix, list)
		})
	}
	register("route", routeNames)
	register("session", func(ctx context.Context, c *clients) (out []string) {
		if all, err := c.finder().List(ctx); err == nil {
			for _, f := range all {
				out = append(out, f.Session.ID)
			}
		}
		return out
	})
	register("workload", func(ctx context.Context, c *clients) []string {
		ns, err := workload.Read(ctx, c.Core, c.namespace)
		if err != nil {
			return nil
		}
		return ns.Workloads()
	})
	register("container", func(ctx context.Context, c *clients) (out []string) {
		if list, err := c.Core.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{}); err == nil {
			for _, p := range list.Items {
				for _, container := range p.Spec.Containers {
					out = append(out, container.Name)
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	})
	for flag, values := range map[string][]string{"trace": gadget.Names(), "dry-run": {"none", "client", "server"}, "follow-rollout": {"false", "rollback"}} {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// complete lists names in the namespace that begin with a prefix.
func (a *app) complete(prefix string, list func(context.Context, *clients) []string) ([]string, cobra.ShellCompDirective) {
	clients, err := a.clients()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	var out []string
	for _, name := range list(ctx, clients) {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeRoutes completes the Route that is a command's argument.
func (a *app) completeRoutes(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(prefix, routeNames)
}

func routeNames(ctx context.Context, c *clients) (out []string) {
	list, err := c.Routes.RouteV1().Routes(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for _, r := range list.Items {
		out = append(out, r.Name)
	}
	return out
}
