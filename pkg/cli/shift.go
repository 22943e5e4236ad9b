package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/osc-debug/osc-debug/pkg/kube/exec"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/pkg/trace"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// endingTime bounds how long ending a session may take beyond the drain, after the session's own
// context has ended: deleting pods waits for their grace period.
const endingTime = 5 * time.Minute

func (a *app) shiftCommand() *cobra.Command {
	f := &shiftFlags{}
	c := &cobra.Command{
		Use:   "shift ROUTE --weight PERCENT | --steps PERCENT,...",
		Short: "Move traffic of a Route to a sandbox of its workload, and back at the end",
		Long: `Clone the workload behind a Route into a sandbox VM, prove that the router reaches it, and
send a percentage of the Route's new clients there. The session ends at Ctrl-C, --for or
--ttl. Then everything is restored.

The percentage applies to new clients: clients with the router's sticky cookie stay where
they are.

A guard must run in the cluster. It moves the traffic back if the sandbox fails, and restores
everything when the time is over, whatever happens to this command, so --detach is safe too.
With --no-guard the session ends with this command, and the original keeps the smallest share
that the router allows even at 100, because the router has no failover at weight 0 (--exact
gives that up).`,
		Example: `  # Send everything to a sandbox; print the files it opens and its connections
  osc-debug shift echo-route --weight 100 --trace open,tcp

  # Send a fifth of new clients for ten minutes; trace a container that is not the first
  osc-debug shift shop --weight 20 --container web --for 10m

  # Leave the session to the guard for an hour, then look at it
  osc-debug shift shop --weight 50 --ttl 1h --detach
  osc-debug status

  # Send 5, then 25, then 100 percent, half a minute each, with another image in the sandbox
  osc-debug shift shop --steps 5,25,100 --interval 30s --set-image web=quay.io/team/shop@sha256:...

  # Print what would be written, with TLS keys redacted
  osc-debug shift shop --weight 20 --dry-run=server -o yaml`,
		Args:              routeArg(&f.Options.Route),
		ValidArgsFunction: a.completeRoutes,
		RunE:              func(c *cobra.Command, _ []string) error { return a.runShift(c, f) },
	}
	a.shiftFlagSet(c.Flags(), f)
	a.completions(c)
	return c
}

func (a *app) runShift(c *cobra.Command, f *shiftFlags) error {
	if err := f.check(); err != nil {
		return usage(c, err)
	}
	clients, err := a.clients()
	if err != nil {
		return err
	}
	f.Namespace = clients.namespace
	if err := f.settle(c, clients); err != nil {
		return err
	}
	report := a.report()
	client := exec.Client{Config: clients.config, Core: clients.Core}
	runner := &session.Runner{Store: clients.Store, Options: f.Options, Clock: clients.clock, Trust: clients.trust, Report: report,
		Connections: func(ctx context.Context, pod string, ports []int32) (int, error) {
			return session.Connections(ctx, client, f.Namespace, pod, ports)
		}}
	if f.dryRun != "none" {
		preview, err := runner.DryRun(c.Context(), f.dryRun == "server")
		if err != nil {
			return err
		}
		return printPreview(c, a.raw.Out, preview, f.output)
	}
	a.interrupt.changes("rolling back", a.command("rollback", "--route", f.Options.Route, "-n", f.Namespace))
	if len(f.traces) > 0 {
		printer, err := trace.NewPrinter(a.raw.Out, f.output, isTerminal(a.raw.Out), nil)
		if err != nil {
			return usage(c, err)
		}
		runner.BeforeUsers = func(ctx context.Context, t session.Target) error {
			return trace.Check(ctx, client, traceRequest(t, f.traces))
		}
		runner.OnLive = func(ctx context.Context, t session.Target) error {
			return a.trace(ctx, clients, t, f.traces, printer, report)
		}
	}
	if f.collect != "" {
		if err := newFolder(f.collect); err != nil {
			return usage(c, err)
		}
		runner.BeforeDelete = func(ctx context.Context, t session.Target) error {
			return a.collect(ctx, clients, t, f.collect, report)
		}
	}
	if !f.Detach {
		report.hints = map[string][]string{session.StepLive: a.nextCommands(f)}
	}
	result, err := runner.Run(c.Context(), func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), endingTime+f.Drain+session.RampTime)
	})
	return a.conclude(f, result, err)
}

// nextCommands are what users want while a session is live.
func (a *app) nextCommands(f *shiftFlags) []string {
	on := []string{"--route", f.Options.Route, "-n", f.Namespace}
	weight := append([]string{"50"}, on...)
	if f.noGuard {
		weight = append(weight, "--no-guard")
	}
	if f.NoProbe {
		weight = append(weight, "--no-probe")
	}
	for _, router := range f.Routers {
		weight = append(weight, "--router", router)
	}
	var collect []string
	if len(f.traces) > 0 && !f.Changes.SeparatePIDs {
		collect = []string{a.command("collect", append([]string{"./" + f.Options.Route + "-trace"}, on...)...)}
	}
	return append(collect,
		a.command("exec", append(on, "--", "tcpdump", "-n", "-i", "any")...),
		a.command("status", append(on, "-o", "tree", "-w")...),
		a.command("weight", weight...),
		a.command("rollback", on...),
	)
}

// summaryRows is how many rows a gadget has in the summary.
const summaryRows = 5

// trace runs the gadgets in every sandbox pod until the context ends.
func (a *app) trace(ctx context.Context, c *clients, t session.Target, gadgets []string, p trace.Printer, r *report) error {
	summary := &trace.Summary{Next: p}
	ledgers, err := trace.Run(ctx, exec.Client{Config: c.config, Core: c.Core}, traceRequest(t, gadgets), summary, r.Note)
	for pod, l := range ledgers {
		r.Note("%s: %s", pod, l)
	}
	return errors.Join(err, summary.Write(a.ErrOut, summaryRows))
}

// traceRequest asks for gadgets in all pods of a sandbox.
func traceRequest(t session.Target, gadgets []string) trace.Request {
	return trace.Request{Namespace: t.Namespace, Pods: t.Pods, Container: t.Container, Gadgets: gadgets, SlowerThan: gadget.SlowCall}
}

// conclude reports how the session went.
func (a *app) conclude(f *shiftFlags, result session.Result, err error) error {
	namespace, route := f.Namespace, f.Options.Route
	var leftovers *store.Leftovers
	switch {
	case result.Held:
		return reason.New(reason.SandboxHeld, "namespace", namespace, "route", route, "why", err, "until", clockTime(result.Expires))
	case errors.As(err, &leftovers):
		return reason.New(reason.CleanupIncomplete, "namespace", namespace, "route", route, "why", err)
	case result.Foreign:
		return foreign(namespace, route, result.Kept, err)
	case result.Unended:
		return &exitError{code: codeLeftovers, err: reason.New(reason.SessionMayGoOn, "namespace", namespace, "route", route, "why", err)}
	case errors.Is(err, session.ErrInterrupted):
		return &exitError{code: codeInterrupted, err: reason.New(reason.InterruptedBeforeLive)}
	case result.Expired:
		return fmt.Errorf("%w; everything was restored", err)
	case err != nil:
		return err
	}
	if result.Detached {
		fmt.Fprintf(a.ErrOut, "session %s is live on route %s/%s; the guard ends it at %s. To end it before:\n  %s\n",
			result.Session, namespace, route, clockTime(result.Expires), a.command("rollback", "--route", route, "-n", namespace))
		return nil
	}
	fmt.Fprintf(a.ErrOut, "done: session %s is over, route %s/%s is as it was\n", result.Session, namespace, route)
	return nil
}

// clockTime is when something happens, as messages have it.
func clockTime(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
