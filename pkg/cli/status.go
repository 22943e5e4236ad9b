package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
)

type statusFlags struct {
	route, session, output string
	all, watch             bool
}

// showsPods reports whether the output lists the sandbox's pods.
func (f *statusFlags) showsPods() bool { return f.output != "" && f.output != "name" }

// asks reports whether a session is asked for.
func (f *statusFlags) asks(route, id string) bool {
	return (f.route == "" || f.route == route) && (f.session == "" || f.session == id)
}

func (a *app) statusCommand() *cobra.Command {
	f := &statusFlags{}
	c := &cobra.Command{
		Use: "status", Short: "List the sessions of a namespace, or of all namespaces", Args: noArgs,
		Long: `List each session with its state, the share of new clients that was asked for, the share that
the weights and the current endpoints give by the router's arithmetic, the ready servers of the
sandbox, and the time left. -o tree also lists the backends and pods of a session.

With -w the list stays on the terminal and follows every change.`,
		Example: "  osc-debug status\n  osc-debug status --route echo-route -o tree -w\n  osc-debug status -A -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(statusFormats, f.output) {
				return usage(c, fmt.Errorf("--output %q: must be name, wide, tree, yaml or json", f.output))
			}
			clients, err := a.clients()
			if err != nil {
				return err
			}
			if f.all {
				clients.namespace = metav1.NamespaceAll
			}
			if f.watch {
				return a.watchStatus(c.Context(), clients, f)
			}
			rows, err := a.statuses(c.Context(), clients, f)
			if err != nil {
				return err
			}
			return a.statusPrinter(f).print(rows)
		},
	}
	c.Flags().StringVar(&f.route, "route", "", "only the session of this Route")
	c.Flags().StringVarP(&f.session, "session", "s", "", "only the session with this ID")
	c.Flags().StringVarP(&f.output, "output", "o", "", "output format: name, wide, tree, yaml or json")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "list the sessions of all namespaces, from the API server's cache")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "keep watching, and print each session that changes")
	a.completions(c)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(statusFormats[1:], cobra.ShellCompDirectiveNoFileComp))
	return c
}

// statuses are the sessions that are asked for.
func (a *app) statuses(ctx context.Context, c *clients, f *statusFlags) ([]session.Status, error) {
	wanted := func(on session.Found) bool { return f.asks(on.Route.Name, on.Session.ID) }
	rows, err := c.finder().Statuses(ctx, wanted, f.showsPods(), c.clock.Now())
	for i := range rows {
		a.wordProblem(&rows[i])
	}
	return rows, err
}

// wordProblem fills in what is wrong with a session, with the commands that this user can run.
func (a *app) wordProblem(s *session.Status) {
	if s.Wrong != nil {
		s.Problem = strings.Join(append([]string{s.Wrong.Error()}, a.fixes(s.Wrong)...), "; ")
	}
}
