package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// sessionStatus is what status shows of a session. Its JSON is what scripts read:
// docs/output.md has the schema, to which fields are only added.
type sessionStatus struct {
	Namespace string  `json:"namespace"`
	Route     string  `json:"route"`
	Session   string  `json:"session"`
	State     string  `json:"state"`
	Asked     float64 `json:"asked"`    // percent of new clients
	Realised  float64 `json:"realised"` // percent, by the weights and endpoints of now
	Ready     int     `json:"ready"`    // servers of the sandbox
	Workload  string  `json:"workload,omitempty"`
	User      string  `json:"user,omitempty"`
	// Expires is when the session ends at the latest.
	Expires *metav1.Time `json:"expires,omitempty"`
	Problem string       `json:"problem,omitempty"`
	// ProblemCode is the problem's code.
	ProblemCode reason.Code     `json:"problemCode,omitempty"`
	Backends    []backendStatus `json:"backends"`
	Pods        []podStatus     `json:"pods,omitempty"` // of the sandbox; with -o wide, tree, yaml and json
	left        time.Duration
}

// backendStatus is one of the Route's Services.
type backendStatus struct {
	Service string  `json:"service"`
	Weight  int32   `json:"weight"`
	Servers int     `json:"servers"`
	Share   float64 `json:"share"` // percent of new clients
	Sandbox bool    `json:"sandbox,omitempty"`
}

// podStatus is one pod of a sandbox.
type podStatus struct {
	Name  string `json:"name"`
	Phase string `json:"phase"`
	Ready bool   `json:"ready"`
	Node  string `json:"node,omitempty"`
}

type statusFlags struct {
	route, session, output string
	all, watch             bool
}

// showsPods says whether the output has the sandbox' pods.
func (f *statusFlags) showsPods() bool { return f.output != "" && f.output != "name" }

// asks says whether a session is among those asked for.
func (f *statusFlags) asks(route, id string) bool {
	return (f.route == "" || f.route == route) && (f.session == "" || f.session == id)
}

func (a *app) statusCommand() *cobra.Command {
	f := &statusFlags{}
	c := &cobra.Command{
		Use: "status", Short: "Show the sessions of a namespace, or of all", Args: noArgs,
		Long: `Show each session with its state, the share of new clients that was asked for and the
one that the router's arithmetic gives for the endpoints of now, the sandbox servers
that are ready, and the time left. -o tree shows a session's backends and pods too.`,
		Example: "  osc-debug status\n  osc-debug status --route echo-route -o tree -w\n  osc-debug status -A -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(statusFormats, f.output) {
				return usage(c, fmt.Errorf("--output %q: name, wide, tree, yaml and json are known", f.output))
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
			rows, err := clients.statuses(c.Context(), f)
			if err != nil {
				return err
			}
			return a.statusPrinter(f).print(rows)
		},
	}
	c.Flags().StringVar(&f.route, "route", "", "only the session of this Route")
	c.Flags().StringVarP(&f.session, "session", "s", "", "only the session with this ID")
	c.Flags().StringVarP(&f.output, "output", "o", "", "output format: name, wide, tree, yaml or json")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "the sessions of all namespaces, from the API server's cache")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on and print each session that changes")
	a.completions(c)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(statusFormats[1:], cobra.ShellCompDirectiveNoFileComp))
	return c
}

// statuses are the sessions of the namespace, or of all, from one list of each kind.
func (c *clients) statuses(ctx context.Context, f *statusFlags) ([]sessionStatus, error) {
	all, err := c.sessions(ctx, c.namespace)
	if err != nil || len(all) == 0 {
		return []sessionStatus{}, err
	}
	list, err := c.Core.DiscoveryV1().EndpointSlices(c.namespace).List(ctx, listOf(c.namespace))
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	slices := map[string][]discoveryv1.EndpointSlice{}
	for _, s := range list.Items {
		slices[s.Namespace] = append(slices[s.Namespace], s)
	}
	pods, err := c.sandboxPods(ctx, f, c.namespace)
	if err != nil {
		return nil, err
	}
	rows := []sessionStatus{}
	for _, found := range all {
		if f.asks(found.route.Name, found.session.ID) {
			rows = append(rows, c.status(found, slices[found.route.Namespace], pods[found.route.Namespace+"/"+found.session.ID]))
		}
	}
	return rows, nil
}

// sandboxPods are the pods of sessions, by namespace and session, where the output has them.
func (c *clients) sandboxPods(ctx context.Context, f *statusFlags, namespace string) (map[string][]podStatus, error) {
	if !f.showsPods() {
		return nil, nil
	}
	options := listOf(namespace)
	options.LabelSelector = session.Label
	list, err := c.Core.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	out := map[string][]podStatus{}
	for _, p := range list.Items {
		key := p.Namespace + "/" + p.Labels[session.Label]
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		out[key] = append(out[key], podStatus{Name: p.Name, Phase: string(p.Status.Phase), Ready: ready, Node: p.Spec.NodeName})
	}
	return out, nil
}

// status judges a session by what was read.
func (c *clients) status(f found, slices []discoveryv1.EndpointSlice, pods []podStatus) sessionStatus {
	row := sessionStatus{Namespace: f.route.Namespace, Route: f.route.Name, Session: f.session.ID, State: string(f.session.State), Pods: pods}
	servers := map[string]int{}
	for _, b := range route.Backends(f.route, nil) {
		servers[b.Service] = len(route.Endpoints(f.route, b.Service, slices))
	}
	own := session.ServiceName(f.session.ID)
	backends := route.Backends(f.route, servers)
	shares := route.Shares(backends)
	for _, b := range backends {
		row.Backends = append(row.Backends, backendStatus{b.Service, b.Value(), b.Ready, 100 * shares[b.Service], b.Service == own})
	}
	row.Ready, row.Realised = servers[own], 100*shares[own]
	if j := f.session.Journal; j != nil {
		row.Asked, row.User, row.Workload = j.Asked, j.User, j.Workload
		row.left = j.Left(c.clock.Now())
		if j.State != session.Arming {
			row.Expires = &j.Expires
		}
	}
	if problem := f.problem(row.left); problem != nil {
		row.Problem = strings.Join(append([]string{problem.Error()}, c.fixes(problem)...), ": ")
		row.ProblemCode = reason.CodeOf(problem)
	}
	return row
}

// problem is what somebody should do something about, nil for nothing. left is the time that the
// session may still run.
func (f found) problem(left time.Duration) error {
	j := f.session.Journal
	switch {
	case j == nil:
		return f.session.Broken
	case !f.session.Backend:
		return reason.New(reason.BackendRemoved)
	case left < 0:
		return reason.New(reason.SessionPastItsTime, "namespace", f.route.Namespace, "route", f.route.Name)
	case j.State == session.Live:
		if changes := session.Changed(f.route, j); len(changes) > 0 {
			return reason.New(reason.WeightChangedByOthers, "change", strings.Join(changes, ", "))
		}
	}
	return nil
}
