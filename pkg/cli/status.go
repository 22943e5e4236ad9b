package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	"github.com/spf13/cobra"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// sessionStatus is one row of status, and one element of its JSON.
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
	left    time.Duration
}

type statusFlags struct {
	route, output string
	all, watch    bool
}

func (a *app) statusCommand() *cobra.Command {
	f := &statusFlags{}
	c := &cobra.Command{
		Use: "status", Short: "Show the sessions of a namespace, or of all", Args: noArgs,
		Long: `Show each session with its state, the share of new clients that was asked for and the
one that the router's arithmetic gives for the endpoints of now, the sandbox servers
that are ready, and the time left.`,
		Example: "  osc-debug status\n  osc-debug status --route echo-route -o json\n  osc-debug status -A -w",
		RunE: func(c *cobra.Command, _ []string) error {
			if f.output != "" && f.output != "json" {
				return usage(c, fmt.Errorf("--output %q: json is known", f.output))
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
			rows, err := clients.statuses(c.Context(), f.route)
			if err != nil {
				return err
			}
			return a.statusPrinter(f).print(rows)
		},
	}
	c.Flags().StringVar(&f.route, "route", "", "only the session of this Route")
	c.Flags().StringVarP(&f.output, "output", "o", "", "json")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "the sessions of all namespaces")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on and print each session that changes")
	a.completions(c)
	return c
}

// statuses are the sessions of the namespace, or of all, from one list of each kind.
func (c *clients) statuses(ctx context.Context, routeName string) ([]sessionStatus, error) {
	all, err := c.sessions(ctx, c.namespace)
	if err != nil {
		return nil, err
	}
	rows := []sessionStatus{}
	if len(all) == 0 {
		return rows, nil
	}
	list, err := c.Core.DiscoveryV1().EndpointSlices(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	slices := map[string][]discoveryv1.EndpointSlice{}
	for _, s := range list.Items {
		slices[s.Namespace] = append(slices[s.Namespace], s)
	}
	for _, f := range all {
		if routeName == "" || f.route.Name == routeName {
			rows = append(rows, c.status(f, slices[f.route.Namespace]))
		}
	}
	return rows, nil
}

// watchStatus prints the sessions that there are, and each one that changes, until the
// context ends. A watch that breaks goes on where it was.
func (a *app) watchStatus(ctx context.Context, c *clients, f *statusFlags) error {
	p := a.statusPrinter(f)
	const (
		anyRecent  = "0" // a version to begin at: what is there comes first
		watchAgain = time.Second
	)
	version := anyRecent
	for ctx.Err() == nil {
		w, err := c.Routes.RouteV1().Routes(c.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: session.Label, ResourceVersion: version})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return fmt.Errorf("watch Routes: %w", err)
		}
		if err != nil {
			w, version = watch.NewEmptyWatch(), anyRecent
		}
		for event := range w.ResultChan() {
			r, ok := event.Object.(*routev1.Route)
			if !ok {
				version = anyRecent // an error: what was missed is gone
				break
			}
			version = r.ResourceVersion
			if f.route != "" && r.Name != f.route {
				continue
			}
			if err := p.printChange(ctx, c, event.Type, r); err != nil {
				return err
			}
		}
		w.Stop()
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
	return nil
}

// printChange prints the row of a Route that changed.
func (p *statusPrinter) printChange(ctx context.Context, c *clients, what watch.EventType, r *routev1.Route) error {
	s := session.Of(r)
	if what == watch.Deleted || s == nil {
		fmt.Fprintf(p.ErrOut, "route %s/%s: no session any more\n", r.Namespace, r.Name)
		return nil
	}
	list, err := c.Core.DiscoveryV1().EndpointSlices(r.Namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	return p.print([]sessionStatus{c.status(found{r, s}, list.Items)})
}

func (c *clients) status(f found, slices []discoveryv1.EndpointSlice) sessionStatus {
	row := sessionStatus{Namespace: f.route.Namespace, Route: f.route.Name, Session: f.session.ID, State: string(f.session.State)}
	servers := map[string]int{}
	for _, b := range route.Backends(f.route, nil) {
		servers[b.Service] = len(route.Endpoints(f.route, b.Service, slices))
	}
	own := session.ServiceName(f.session.ID)
	row.Ready = servers[own]
	row.Realised = 100 * route.Shares(route.Backends(f.route, servers))[own]
	if f.session.Broken != nil {
		row.Problem = f.session.Broken.Error()
	}
	if j := f.session.Journal; j != nil {
		row.Asked, row.User, row.Workload = j.Asked, j.User, j.Workload
		row.left = j.Left(c.clock.Now())
		if j.State != session.Arming {
			row.Expires = &j.Expires
		}
		if row.left < 0 {
			row.Problem = "past its time: end it with 'osc-debug rollback --route " + row.Route + "'"
		}
		if !f.session.Backend {
			row.Problem = "somebody removed its backend from the Route"
		}
	}
	return row
}

// statusPrinter prints rows of status. It remembers the columns' widths.
type statusPrinter struct {
	*app
	*statusFlags
	table interface {
		io.Writer
		Flush() error
	}
	begun bool
}

func (a *app) statusPrinter(f *statusFlags) *statusPrinter {
	return &statusPrinter{app: a, statusFlags: f, table: printers.GetNewTabWriter(a.Out)}
}

// print prints rows, with a head above the first ones.
func (p *statusPrinter) print(rows []sessionStatus) error {
	if p.output == "json" {
		encoder := json.NewEncoder(p.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"sessions": rows})
	}
	if len(rows) == 0 {
		fmt.Fprintln(p.ErrOut, "no session")
		return nil
	}
	where := func(namespace string) string {
		if p.all {
			return namespace + "\t"
		}
		return ""
	}
	if !p.begun {
		fmt.Fprintln(p.table, where("NAMESPACE")+"ROUTE\tSESSION\tSTATE\tASKED\tREALISED\tREADY\tLEFT\tWORKLOAD\tUSER")
		p.begun = true
	}
	for _, r := range rows {
		left := "-"
		if r.State != string(session.Draining) {
			left = r.left.Round(time.Second).String()
		}
		fmt.Fprintf(p.table, "%s%s\t%s\t%s\t%g%%\t%.2f%%\t%d\t%s\t%s\t%s\n", where(r.Namespace), r.Route, r.Session, r.State, r.Asked, r.Realised, r.Ready, left, r.Workload, r.User)
	}
	if err := p.table.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Problem != "" {
			fmt.Fprintf(p.ErrOut, "route %s: %s\n", r.Route, r.Problem)
		}
	}
	return nil
}
