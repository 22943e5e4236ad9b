package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

func (a *app) weightCommand() *cobra.Command {
	var routeName, id string
	var exact, failover, noGuard bool
	o := session.Options{}
	c := &cobra.Command{
		Use: "weight PERCENT", Short: "Change a session's share, or resume a held session",
		Long: `Change the percentage of new clients that a session's sandbox gets. This also resumes a held
session, whose traffic went back because its sandbox was not ready. If the sandbox serves nobody (the
session is held, or began with 0 %), it is proven first.`,
		Example: "  osc-debug weight 50\n  osc-debug weight 5 --route echo-route",
		Args:    oneArg("a percentage"),
		RunE: func(c *cobra.Command, args []string) error {
			number, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64)
			percent, outOfRange := route.NewPercent(number)
			if err != nil || outOfRange != nil {
				return usage(c, fmt.Errorf("%q: must be a percentage from 0 to 100", args[0]))
			}
			if exact && failover {
				return usage(c, errors.New("--exact and --failover cannot be used together"))
			}
			clients, target, err := a.running(c.Context(), routeName, id)
			if err != nil {
				return err
			}
			set, err := clients.settings(c.Context())
			if err != nil {
				return err
			}
			o.Namespace, o.Route, o.Percent = target.Route.Namespace, target.Route.Name, percent
			failover = failover || target.Session.Journal.Failover && !exact
			o.Guarded, o.Floor, o.ReloadInterval = !noGuard, floor(!noGuard, exact, failover), set.ReloadInterval
			runner := &session.Runner{Store: clients.Store, Options: o, Clock: clients.clock, Trust: clients.trust, Report: a.report()}
			j, err := runner.Weigh(c.Context(), target.Route, target.Session)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.ErrOut, "session %s: asked %g %%, realised %.2f %% by the router's arithmetic, served after the router's next reload\n", j.Session, j.Asked, j.Realised)
			return nil
		},
	}
	fl := c.Flags()
	sessionFlags(c, &routeName, &id)
	fl.BoolVar(&exact, "exact", false, "at 100 percent leave nothing at the original (default: as the session began)")
	fl.BoolVar(&failover, "failover", false, "at 100 percent keep the smallest share at the original (default: as the session began; with --no-guard it is kept)")
	fl.BoolVar(&o.Force, "force", false, "allow more than 1.5 times the load of an original pod for each sandbox pod")
	fl.BoolVar(&noGuard, "no-guard", false, "do not require a guard, for a session that began with --no-guard")
	fl.StringSliceVar(&o.Routers, "router", nil, "where to send probes: HOST or HOST:PORT, once for each router (default: the Route's host)")
	fl.BoolVar(&o.NoProbe, "no-probe", false, "do not prove a sandbox that serves nobody yet")
	a.completions(c)
	return c
}

func (a *app) extendCommand() *cobra.Command {
	var routeName, id string
	c := &cobra.Command{
		Use: "extend DURATION", Short: "Move a session's end",
		Long: `Move a session's end. The administrator's setting maxDuration bounds it, counted from the
creation of the session's first pod, because sandbox pods have a deadline.`,
		Example: "  osc-debug extend 30m",
		Args:    oneArg("a duration such as 30m"),
		RunE: func(c *cobra.Command, args []string) error {
			by, err := time.ParseDuration(args[0])
			if err != nil || by <= 0 {
				return usage(c, fmt.Errorf("%q: must be a duration such as 30m", args[0]))
			}
			clients, target, err := a.running(c.Context(), routeName, id)
			if err != nil {
				return err
			}
			set, err := clients.settings(c.Context())
			if err != nil {
				return err
			}
			latest, err := clients.finder().Latest(c.Context(), target, set.MaxDuration, clients.clock.Now())
			if err != nil {
				return err
			}
			expires := target.Session.Journal.Expires.Add(by)
			if expires.After(latest) {
				return reason.New(reason.TooLongExtension, "session", target.Session.ID, "latest", clockTime(latest),
					"longest", max(0, latest.Sub(target.Session.Journal.Expires.Time)).Truncate(time.Second))
			}
			if _, err := clients.Extend(c.Context(), target.Route, target.Session.ID, expires); err != nil {
				return err
			}
			fmt.Fprintf(a.ErrOut, "session %s ends at %s\n", target.Session.ID, clockTime(expires))
			return nil
		},
	}
	sessionFlags(c, &routeName, &id)
	a.completions(c)
	return c
}

// running finds the session that the user means, which must be live or held.
func (a *app) running(ctx context.Context, route, id string) (*clients, session.Found, error) {
	c, err := a.clients()
	if err != nil {
		return nil, session.Found{}, err
	}
	found, err := c.finder().Running(ctx, route, id)
	return c, found, err
}

// sessionFlags are the flags that name a session.
func sessionFlags(c *cobra.Command, route, id *string) {
	c.Flags().StringVar(route, "route", "", "Route of the session")
	c.Flags().StringVarP(id, "session", "s", "", "ID of the session")
}

// oneArg requires exactly one positional argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(c, fmt.Errorf("expected %s", what))
		}
		return nil
	}
}
