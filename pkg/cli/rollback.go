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
		Use:   "rollback [--route ROUTE | --session ID]",
		Short: "End a session: restore the Route, delete the sandbox",
		Long: `End a session from whatever state it is in, also one whose 'shift' was killed. What
somebody else changed of the Route meanwhile stays (exit code 4 then). With --route or
--all, rolling back what is rolled back already is no error.

An original that an autoscaler shrank meanwhile gets its traffic back in steps, as soon as it
has its pods again and within a minute, as long as the sandbox serves; with --now, and with
--wait=false, at once.`,
		Example: "  osc-debug rollback --route echo-route\n  osc-debug rollback --now\n  osc-debug rollback --all --wait=false",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.all && f.route+f.session != "" {
				return usage(c, errors.New("--all goes without --route and --session"))
			}
			return a.runRollback(c, f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.route, "route", "", "Route of the session")
	fl.StringVarP(&f.session, "session", "s", "", "ID of the session")
	fl.DurationVar(&f.drain, "drain", 0, "least time between restoring the Route and deleting the sandbox (default: as the administrator set, else 8s)")
	fl.DurationVar(&f.timeout, "timeout", endingTime, "how long all of it may take, beyond the drain")
	fl.StringSliceVar(&f.routers, "router", nil, "where to see that the router let go: HOST or HOST:PORT, one for each router (default: only wait)")
	fl.BoolVar(&f.wait, "wait", true, "wait until the sandbox is gone; with --wait=false the guard deletes it, a minute after its own drain")
	fl.BoolVar(&f.now, "now", false, "give all traffic back at once, also to an original that an autoscaler shrank")
	fl.BoolVar(&f.all, "all", false, "every session of the namespace, those of others too, and what is left on Routes that know of none")
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
		set = settings.Defaults() // ending a session never depends on the settings
	}
	if !c.Flags().Changed("drain") {
		f.drain = set.Drain
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout+f.drain)
	defer cancel()
	if f.drain > set.Drain+settings.Courtesy {
		if _, err := standby.Find(ctx, clients.Core, clients.namespace, record.JournalVersion, clients.clock.Now); err == nil {
			return tooLongDrain(f.drain, set)
		}
	}
	if !f.wait {
		if _, err := standby.Find(ctx, clients.Core, clients.namespace, record.JournalVersion, clients.clock.Now); err != nil {
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
		a.interrupt.onSecond(a.command("rollback", "--all", "-n", clients.namespace))
		return a.rollbackAll(ctx, rollback)
	}
	on, err := clients.finder().Which(ctx, f.route, f.session)
	if err != nil {
		return err
	}
	a.interrupt.onSecond(a.command("rollback", "--route", on.Route.Name, "-n", on.Route.Namespace))
	ended, err := rollback.One(ctx, on)
	return a.ended(ended, err)
}

// rollbackAll ends every session of the namespace.
func (a *app) rollbackAll(ctx context.Context, rollback session.Rollback) error {
	all, errs, swept := rollback.All(ctx, func(on session.Found) {
		user := "somebody"
		if on.Session.Journal != nil {
			user = on.Session.Journal.User
		}
		fmt.Fprintf(a.ErrOut, "ending session %s of %s on route %s\n", on.Session.ID, user, on.Route.Name)
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
		fmt.Fprintf(a.ErrOut, "route %s/%s: no session on it, nothing is left\n", e.Namespace, e.Route)
	case e.Foreign:
		return foreign(e.Namespace, e.Route, nil)
	case e.Guarded:
		fmt.Fprintf(a.ErrOut, "route %s/%s is as it was; the guard deletes the sandbox of session %s\n", e.Namespace, e.Route, e.Session)
	case e.Session != "":
		fmt.Fprintf(a.ErrOut, "done: session %s is over, route %s/%s is as it was\n", e.Session, e.Namespace, e.Route)
	}
	return nil
}

// worst joins errors, with the exit code of a session that is not over where there is one:
// what others changed on another Route is told, but weighs less.
func worst(errs []error) error {
	all := errors.Join(errs...)
	for _, err := range errs {
		if code := exitCode(err); code != codeOK && code != codeForeign {
			return &exitError{code: code, err: all}
		}
	}
	return all
}

// foreign tells of others' change of a Route that is rolled back; why is what ended the session,
// nil for its normal end.
func foreign(namespace, route string, why error) error {
	because := ""
	if why != nil {
		because = " (" + why.Error() + ")"
	}
	return &exitError{code: codeForeign, err: reason.New(reason.RolledBackChanged, "namespace", namespace, "route", route, "because", because, "cause", why)}
}
