package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/probe"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/pkg/shift"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/workload"
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
		if _, err := settings.FindGuard(ctx, clients.Core, clients.namespace, session.JournalVersion, clients.clock.Now); err == nil {
			return tooLongDrain(f.drain, set)
		}
	}
	if !f.wait {
		if _, err := settings.FindGuard(ctx, clients.Core, clients.namespace, session.JournalVersion, clients.clock.Now); err != nil {
			return reason.New(reason.NoGuardForSandbox, "why", err)
		}
	}
	defer func() {
		if err != nil && exitCode(err) == codeError && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errors.Join(&shift.Timeout{What: "rollback", Took: f.timeout + f.drain}, err)
		}
	}()
	if f.all {
		a.interrupt.onSecond(a.command("rollback", "--all", "-n", clients.namespace))
		return a.rollbackAll(ctx, clients, f)
	}
	target, err := clients.which(ctx, f.route, f.session)
	if err != nil {
		return err
	}
	a.interrupt.onSecond(a.command("rollback", "--route", target.route.Name, "-n", target.route.Namespace))
	return a.rollbackOne(ctx, clients, f, target)
}

// rollbackAll ends every session of the namespace, at the same time since each drains.
func (a *app) rollbackAll(ctx context.Context, clients *clients, f *rollbackFlags) error {
	all, err := clients.sessions(ctx, clients.namespace)
	if err != nil {
		return err
	}
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, t := range all {
		user := "somebody"
		if t.session.Journal != nil {
			user = t.session.Journal.User
		}
		fmt.Fprintf(a.ErrOut, "ending session %s of %s on route %s\n", t.session.ID, user, t.route.Name)
		running.Go(func() { errs[i] = a.rollbackOne(ctx, clients, f, t) })
	}
	running.Wait()
	ended := map[string]bool{}
	for _, t := range all {
		ended[t.session.ID] = true
	}
	var swept bool
	if f.wait { // else the guard's
		swept, err = a.sweepAll(ctx, clients, f, ended)
	}
	if len(all) == 0 && !swept && err == nil {
		fmt.Fprintf(a.ErrOut, "namespace %s: no session\n", clients.namespace)
	}
	return worst(append(errs, err))
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

func (a *app) rollbackOne(ctx context.Context, clients *clients, f *rollbackFlags, target found) (err error) {
	if target.session == nil {
		return a.sweep(ctx, clients, f, target.route.Name, string(target.route.UID))
	}
	if !session.ValidID(target.session.ID) {
		return reason.New(reason.JournalNamesNoSession, "namespace", target.route.Namespace, "route", target.route.Name, "why", target.session.Broken, "annotation", session.JournalKey)
	}
	report := a.report()
	a.ramp(ctx, clients, target, f, report)
	if !f.wait {
		return a.restore(ctx, clients, target)
	}
	e := session.Ending{Store: clients.Store, Namespace: target.route.Namespace, Route: target.route.Name, ID: target.session.ID, Step: report.Step}
	if target.session.State != session.Arming {
		e.Drain = f.drainOf(ctx, clients, target, report)
	}
	out, err := e.Run(ctx)
	if err != nil {
		return err
	}
	if out.Foreign {
		return foreign(e.Namespace, e.Route, nil)
	}
	fmt.Fprintf(a.ErrOut, "done: session %s is over, route %s/%s is as it was\n", e.ID, e.Namespace, e.Route)
	return nil
}

// restore puts the Route back and leaves the sandbox to the guard.
func (a *app) restore(ctx context.Context, c *clients, target found) error {
	namespace, name := target.route.Namespace, target.route.Name
	_, out, err := c.Restore(ctx, namespace, name, target.session.ID, target.route)
	if err != nil {
		return err
	}
	if out.Foreign {
		return foreign(namespace, name, nil)
	}
	fmt.Fprintf(a.ErrOut, "route %s/%s is as it was; the guard deletes the sandbox of session %s\n", namespace, name, target.session.ID)
	return nil
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

// courtesyTime bounds what is read to tell more before the Route is restored, which never
// waits longer for it and never fails by it.
const courtesyTime = 5 * time.Second

// drainOf waits for the routers, and tells of the connections that deleting the sandbox cuts.
func (f *rollbackFlags) drainOf(ctx context.Context, c *clients, t found, report shift.Report) func(context.Context, time.Duration) error {
	read, cancel := context.WithTimeout(ctx, courtesyTime)
	defer cancel()
	slices, err := c.Core.DiscoveryV1().EndpointSlices(t.route.Namespace).List(read, metav1.ListOptions{LabelSelector: session.Label + "=" + t.session.ID})
	if err != nil {
		report.Warn(reason.New(reason.ConnectionsNotTold, "why", err))
		return shift.Drain(f.drain, nil, false, nil)
	}
	endpoints := route.Endpoints(t.route, session.ServiceName(t.session.ID), slices.Items)
	wait := shift.Drain(f.drain, nil, false, nil)
	if f.routers != nil && route.Sticky(t.route) {
		var probes []*probe.Probe
		for _, router := range f.routers {
			probes = append(probes, probe.New(t.route, router))
		}
		wait = shift.Drain(f.drain, probes, true, endpoints)
	}
	exec := trace.Exec{Config: c.config, Core: c.Core}
	return func(ctx context.Context, late time.Duration) error {
		if err := wait(ctx, late); err != nil {
			return err
		}
		shift.TellCut(ctx, report, func(ctx context.Context, pod string, ports []int32) (int, error) {
			return exec.Connections(ctx, t.route.Namespace, pod, ports)
		}, endpoints)
		return nil
	}
}

// ramp gives an original that an autoscaler may have shrunk its traffic back in steps, or tells
// that all of it comes at once.
func (a *app) ramp(ctx context.Context, c *clients, t found, f *rollbackFlags, report shift.Report) {
	j := t.session.Journal
	if j == nil || j.State != session.Live || j.Realised == 0 {
		return
	}
	scaler := scalerOf(ctx, c, t.route.Namespace, j.Workload)
	if scaler == nil {
		return
	}
	var why error
	switch {
	case f.now:
		why = errors.New("--now")
	case !f.wait:
		why = errors.New("--wait=false")
	default:
		// At most half of the time: the other half is the restore's.
		ctx, cancel := context.WithTimeout(ctx, min(shift.RampTime, f.timeout/2))
		defer cancel()
		runner := &shift.Runner{Store: c.Store, Clock: c.clock, Report: report,
			Options: shift.Options{Namespace: t.route.Namespace, Route: t.route.Name}}
		why = runner.Ramp(ctx, t.route, t.session)
	}
	if why != nil {
		report.Warn(reason.New(reason.OriginalMayBeShrunk, "autoscaler", scaler.Name, "workload", j.Workload,
			"pods", scaler.Status.CurrentReplicas, "share", fmt.Sprintf("%.4g %%", j.Realised), "why", why))
	}
}

// scalerOf is an autoscaler of the workload, nil where none is to be seen.
func scalerOf(ctx context.Context, c *clients, namespace, program string) *autoscalingv2.HorizontalPodAutoscaler {
	ctx, cancel := context.WithTimeout(ctx, courtesyTime)
	defer cancel()
	list, err := c.Core.AutoscalingV2().HorizontalPodAutoscalers(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	for _, h := range workload.Scaling(list.Items, program) {
		return &h
	}
	return nil
}
