package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

func (a *app) statusCommand() *cobra.Command {
	var routeName, output string
	c := &cobra.Command{
		Use: "status", Short: "Show the sessions of a namespace", Args: noArgs,
		Long: `Show each session with its state, the share of new clients that was asked for and the
one that the router's arithmetic gives for the endpoints of now, the sandbox servers
that are ready, and the time left.`,
		Example: "  osc-debug status\n  osc-debug status --route echo-route -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			clients, err := a.clients()
			if err != nil {
				return err
			}
			all, err := clients.sessions(c.Context(), clients.namespace)
			if err != nil {
				return err
			}
			rows := []sessionStatus{}
			for _, f := range all {
				if routeName != "" && f.route.Name != routeName {
					continue
				}
				row, err := clients.status(c, f)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			return a.printStatus(c, rows, output)
		},
	}
	c.Flags().StringVar(&routeName, "route", "", "only the session of this Route")
	c.Flags().StringVarP(&output, "output", "o", "", "json")
	a.completions(c)
	return c
}

func (c *clients) status(cmd *cobra.Command, f found) (sessionStatus, error) {
	row := sessionStatus{Namespace: f.route.Namespace, Route: f.route.Name, Session: f.session.ID, State: string(f.session.State)}
	slices, err := c.Core.DiscoveryV1().EndpointSlices(f.route.Namespace).List(cmd.Context(), metav1.ListOptions{})
	if err != nil {
		return row, fmt.Errorf("list EndpointSlices: %w", err)
	}
	servers := map[string]int{}
	for _, b := range route.Backends(f.route, nil) {
		servers[b.Service] = len(route.Endpoints(f.route, b.Service, slices.Items))
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
		if j.State == session.Live {
			row.Expires = &j.Expires
		}
		if row.left < 0 {
			row.Problem = "past its time: end it with 'osc-debug rollback --route " + row.Route + "'"
		}
		if !f.session.Backend {
			row.Problem = "somebody removed its backend from the Route"
		}
	}
	return row, nil
}

func (a *app) printStatus(c *cobra.Command, rows []sessionStatus, output string) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(a.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{"sessions": rows})
	case "":
	default:
		return usage(c, fmt.Errorf("--output %q: json is known", output))
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.ErrOut, "no session")
		return nil
	}
	w := printers.GetNewTabWriter(a.Out)
	fmt.Fprintln(w, "ROUTE\tSESSION\tSTATE\tASKED\tREALISED\tREADY\tLEFT\tWORKLOAD\tUSER")
	for _, r := range rows {
		left := "-"
		if r.State != string(session.Draining) {
			left = r.left.Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%g%%\t%.2f%%\t%d\t%s\t%s\t%s\n", r.Route, r.Session, r.State, r.Asked, r.Realised, r.Ready, left, r.Workload, r.User)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Problem != "" {
			fmt.Fprintf(a.ErrOut, "route %s: %s\n", r.Route, r.Problem)
		}
	}
	return nil
}
