package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/guard/standby"
	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/pkg/terminal"
)

type rollbackFlags struct {
	route, session string
	routers        []string
	drain, timeout time.Duration
	all, wait, now bool
}

func (a *app) rollbackCommand() *cobra.Command {
	f := &rollbackFlags{}
	c := &cobra.Command{
		Use:   "rollback [ROUTE]",
		Short: "End a session: restore the Route, delete the sandbox",
		Long: `End a session, whatever state it is in, even if its 'shift' was killed. Changes that others
made to the Route during the session are kept (exit code 4). With a Route or --all, it is not an
error if there is no session.

If an autoscaler scaled the original down during the session, the original gets its traffic back
in steps as its pods become ready. This takes a minute at most. If the sandbox no longer serves,
and with --now or --wait=false, all traffic goes back at once.`,
		Example: `  osc-debug rollback echo-route
  osc-debug rollback --now
  osc-debug rollback --all --wait=false`,
		Args:              routeArg(&f.route),
		ValidArgsFunction: a.completeRoutes,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.all && f.route+f.session != "" {
				return usage(c, errors.New("--all cannot be used with a Route or --session"))
			}
			return a.runRollback(c, f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.DurationVar(&f.drain, "drain", 0, "minimum time between restoring the Route and deleting the sandbox (default: the administrator's setting, else 8s)")
	fl.DurationVar(&f.timeout, "timeout", endingTime, "how long the rollback may take, beyond the drain")
	fl.StringSliceVar(&f.routers, "router", nil, "where to check that the router stopped sending traffic: HOST or HOST:PORT, once for each router (default: only wait)")
	fl.BoolVar(&f.wait, "wait", true, "wait until the sandbox is deleted; with --wait=false the guard deletes it, a minute after its own drain")
	fl.BoolVar(&f.now, "now", false, "restore all traffic at once, even if an autoscaler scaled the original down")
	fl.BoolVar(&f.all, "all", false, "end every session of the namespace, including those of others, and delete what ended sessions left")
	a.completions(c)
	return c
}

func (a *app) runRollback(c *cobra.Command, f *rollbackFlags) (err error) {
	clients, err := a.clients()
	if err != nil {
		return err
	}
	set, err := clients.settings(c.Context())
	if err != nil {
		set = settings.Defaults() // ending a session must not depend on the settings
	}
	if !c.Flags().Changed("drain") {
		f.drain = set.Drain
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout+f.drain)
	defer cancel()
	if f.drain > set.Drain+settings.Courtesy {
		if _, err := standby.Find(ctx, clients.Core, clients.trust, clients.namespace, record.JournalVersion, clients.clock.Now); err == nil {
			return tooLongDrain(f.drain, set)
		}
	}
	if !f.wait {
		if _, err := standby.Find(ctx, clients.Core, clients.trust, clients.namespace, record.JournalVersion, clients.clock.Now); err != nil {
			return reason.New(reason.NoGuardForSandbox, "why", err)
		}
	}
	defer func() {
		if err != nil && exitCode(err) == codeError && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errors.Join(&session.Timeout{What: "rollback", Took: f.timeout + f.drain}, err)
		}
	}()
	rollback := session.Rollback{Store: clients.Store, Namespace: clients.namespace, Clock: clients.clock, Report: a.report(),
		Exec: exec.Client{Config: clients.config, Core: clients.Core}, Routers: f.routers, Drain: f.drain, Timeout: f.timeout, Wait: f.wait, Now: f.now}
	if f.all {
		a.interrupt.changes("the rollback stops", a.command("rollback", "--all", "-n", clients.namespace))
		return a.rollbackAll(ctx, rollback)
	}
	on, err := clients.finder().Which(ctx, f.route, f.session)
	if err != nil {
		return err
	}
	a.interrupt.changes("the rollback stops", a.command("rollback", "--route", on.Route.Name, "-n", on.Route.Namespace))
	ended, err := rollback.One(ctx, on)
	return a.ended(ended, err)
}

// rollbackAll ends every session of the namespace.
func (a *app) rollbackAll(ctx context.Context, rollback session.Rollback) error {
	all, errs, swept := rollback.All(ctx, func(on session.Found) {
		user := "an unknown user"
		if on.Session.Journal != nil && on.Session.Journal.User != "" {
			user = on.Session.Journal.User
		}
		fmt.Fprintf(a.ErrOut, "ending session %s of %s on route %s\n", on.Session.ID, terminal.Line(user), on.Route.Name)
	})
	for i, ended := range all {
		errs[i] = a.ended(ended, errs[i])
	}
	err := worst(errs)
	if len(all) == 0 && !swept && err == nil {
		fmt.Fprintf(a.ErrOut, "namespace %s: no session\n", rollback.Namespace)
	}
	return err
}

// ended prints how a session's end went.
func (a *app) ended(e session.Ended, err error) error {
	switch {
	case err != nil:
		return err
	case e.Nothing:
		fmt.Fprintf(a.ErrOut, "route %s/%s: no session, and nothing left of one\n", e.Namespace, e.Route)
	case e.Foreign:
		return foreign(e.Namespace, e.Route, e.Kept, nil)
	case e.Guarded:
		fmt.Fprintf(a.ErrOut, "route %s/%s is restored; the guard deletes the sandbox of session %s\n", e.Namespace, e.Route, e.Session)
	case e.Session != "":
		fmt.Fprintf(a.ErrOut, "done: session %s is over, route %s/%s is as it was\n", e.Session, e.Namespace, e.Route)
	}
	return nil
}

// worst joins errors. A session that is not over decides the exit code, before one whose Route
// others had changed.
func worst(errs []error) error {
	all := errors.Join(errs...)
	for _, err := range errs {
		if code := exitCode(err); code != codeOK && code != codeForeign {
			return &exitError{code: code, err: all}
		}
	}
	return all
}

// foreign reports that others had changed a Route that was rolled back, and what was kept of that. why is
// what ended the session, nil for its normal end.
func foreign(namespace, route, kept string, why error) error {
	because := ""
	if why != nil {
		because = " (session ended: " + why.Error() + ")"
	}
	return &exitError{code: codeForeign, err: reason.New(reason.RolledBackChanged, "namespace", namespace, "route", route, "kept", kept, "because", because, "cause", why)}
}
