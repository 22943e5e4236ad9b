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
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// How long ending a session may take after its own context has ended, beyond the
// drain: deleting pods waits for their grace period.
const endingTime = 3 * time.Minute

func (a *app) shiftCommand() *cobra.Command {
	f := &shiftFlags{}
	c := &cobra.Command{
		Use:   "shift --route ROUTE --weight PERCENT | --steps PERCENT,...",
		Short: "Move traffic of a Route to a sandbox of its workload, and back at the end",
		Long: `Clone the workload behind a Route into a sandbox VM, prove that the router reaches it,
send a percentage of the Route's new clients there, and hold it until Ctrl-C, --for or
--ttl. Then everything is put back as it was.

The percentage is of new clients: clients that hold the router's sticky cookie stay
where they are.

A guard must stand by in the cluster: whatever happens to this command, it puts the
Route back when the sandbox fails or the time is over, so --detach is safe too. With
--no-guard the session lives and dies with this command; then the original keeps the
smallest share the router allows even at 100, since at weight 0 the router has no
failover (--exact gives that up).`,
		Example: `  # Everything to a sandbox, printing the files it opens and its connections
  osc-debug shift --route echo-route --weight 100 --trace open,tcp

  # A fifth of new clients for ten minutes, from a container that is not the first
  osc-debug shift --route shop --weight 20 --container web --for 10m

  # Leave it to the guard for an hour, then look what it does
  osc-debug shift --route shop --weight 50 --ttl 1h --detach
  osc-debug status

  # 5, then 25, then all of them, half a minute each; another image in the sandbox
  osc-debug shift --route shop --steps 5,25,100 --interval 30s --set-image web=quay.io/team/shop@sha256:...

  # What would be written, TLS keys redacted
  osc-debug shift --route shop --weight 20 --dry-run=server -o yaml`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runShift(c, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.Options.Route, "route", "", "Route to take the traffic from")
	fl.Float64Var(&f.weight, "weight", -1, "percentage of new clients for the sandbox, 0 to 100")
	fl.Float64SliceVar(&f.steps, "steps", nil, "percentages to take one after the other instead of --weight, such as 5,25,100")
	fl.DurationVar(&f.Interval, "interval", 30*time.Second, "time between --steps")
	fl.Lookup("weight").DefValue, fl.Lookup("steps").DefValue = "0", ""
	fl.StringVar(&f.Workload, "workload", "", "KIND/NAME that the Route's pods must belong to")
	fl.StringVar(&f.Container, "container", "", "container to trace (default: the one with the Route's port)")
	fl.StringVar(&f.RuntimeClass, "runtime-class", "kata", "RuntimeClass of the sandbox")
	fl.StringVar(&f.Image, "sidecar-image", sidecarImage, "image of the sidecar with the tools")
	fl.IntVar(&f.Replicas, "replicas", 0, "sandbox pods (default: enough that none carries over 1.5 times an original's load)")
	fl.StringArrayVar(&f.images, "set-image", nil, "CONTAINER=IMAGE for the sandbox")
	fl.StringArrayVar(&f.env, "set-env", nil, "CONTAINER:KEY=VALUE for the sandbox")
	fl.StringSliceVar(&f.Changes.EmptyVolumes, "empty-volume", nil, "volume that the sandbox gets empty, where the original's can't be shared")
	fl.BoolVar(&f.Changes.SeparatePIDs, "separate-pids", false, "no shared process namespace: for images whose program must be process 1 (--trace, and ps in the sidecar, do not see it then)")
	fl.BoolVar(&f.Changes.KeepsLiveness, "keep-liveness", false, "keep liveness probes, which a breakpoint would fail")
	fl.StringVar(&f.followRollout, "follow-rollout", "false", "when the original is rolled out meanwhile: false goes on and tells, rollback ends the session")
	fl.BoolVar(&f.Force, "force", false, "hold a session also where that may be unwise; each refusal that it lifts names it")
	fl.DurationVar(&f.For, "for", 0, "end the session after this time (default: at Ctrl-C or --ttl)")
	fl.DurationVar(&f.TTL, "ttl", 0, "end it at the latest after this time (default: --for + 5m, else 30m)")
	fl.DurationVar(&f.Drain, "drain", 0, "least time between restoring the Route and deleting the sandbox (default: as the administrator set, else 8s)")
	fl.DurationVar(&f.Timeout, "timeout", 5*time.Minute, "how long the sandbox may take to become ready")
	fl.BoolVar(&f.exact, "exact", false, "at 100 percent leave nothing at the original: no failover by the router (the default with a guard)")
	fl.BoolVar(&f.failover, "failover", false, "at 100 percent keep the smallest share at the original (the default without a guard)")
	fl.BoolVar(&f.Detach, "detach", false, "leave the live session to the guard")
	fl.BoolVar(&f.noGuard, "no-guard", false, "do without a guard: the session ends with this command")
	fl.StringSliceVar(&f.Routers, "router", nil, "where to send probes: HOST or HOST:PORT, one for each router (default: the Route's host)")
	fl.BoolVar(&f.NoProbe, "no-probe", false, "do not send probes: nothing is proven or verified")
	fl.StringSliceVar(&f.traces, "trace", nil, "gadgets to run in the sandbox while it is live: "+frame.GadgetNames())
	fl.StringVar(&f.dryRun, "dry-run", "none", "none, client or server: print what would be written, change nothing")
	fl.StringVarP(&f.output, "output", "o", "", "of --dry-run: yaml or json; of --trace: columns or json")
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
	runner := &session.Runner{Store: clients.Store, Options: f.Options, Clock: clients.clock, Report: report,
		Connections: func(ctx context.Context, pod string, ports []int32) (int, error) {
			return session.Connections(ctx, client, f.Namespace, pod, ports)
		}}
	if f.dryRun != "none" {
		preview, err := runner.DryRun(c.Context(), f.dryRun == "server")
		if err != nil {
			return err
		}
		return printPreview(c, a.Out, preview, f.output)
	}
	a.interrupt.onSecond(a.command("rollback", "--route", f.Options.Route, "-n", f.Namespace))
	if len(f.traces) > 0 {
		printer, err := trace.NewPrinter(a.Out, f.output, isTerminal(a.Out))
		if err != nil {
			return usage(c, err)
		}
		runner.OnLive = func(ctx context.Context, t session.Target) error {
			return a.trace(ctx, clients, t, f.traces, printer, report)
		}
	}
	result, err := runner.Run(c.Context(), func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), endingTime+f.Drain+session.RampTime)
	})
	return a.conclude(f, result, err)
}

// trace runs the gadgets in every sandbox pod until the context ends.
func (a *app) trace(ctx context.Context, c *clients, t session.Target, gadgets []string, p trace.Printer, r *report) error {
	ledgers, err := trace.Run(ctx, exec.Client{Config: c.config, Core: c.Core}, trace.Request{
		Namespace: t.Namespace, Pods: t.Pods, Container: t.Container, Gadgets: gadgets,
	}, p, r.Note)
	for pod, l := range ledgers {
		r.Note("%s: %s", pod, l)
	}
	return err
}

// conclude says how it went.
func (a *app) conclude(f *shiftFlags, result session.Result, err error) error {
	namespace, route := f.Namespace, f.Options.Route
	var leftovers *store.Leftovers
	switch {
	case result.Held:
		return reason.New(reason.SandboxHeld, "namespace", namespace, "route", route, "why", err, "until", clockTime(result.Expires))
	case errors.As(err, &leftovers):
		return reason.New(reason.CleanupIncomplete, "namespace", namespace, "route", route, "why", err)
	case result.Foreign:
		return foreign(namespace, route, err)
	case result.Unended:
		return &exitError{code: codeLeftovers, err: reason.New(reason.SessionMayGoOn, "namespace", namespace, "route", route, "why", err)}
	case errors.Is(err, session.ErrInterrupted):
		return &exitError{code: codeInterrupted, err: reason.New(reason.InterruptedBeforeLive)}
	case result.Expired:
		return fmt.Errorf("%w: everything is put back", err)
	case err != nil:
		return err
	}
	if result.Detached {
		fmt.Fprintf(a.ErrOut, "session %s is live on route %s/%s until %s; the guard ends it then, or '%s' before\n",
			result.Session, namespace, route, clockTime(result.Expires), a.command("rollback", "--route", route, "-n", namespace))
		return nil
	}
	fmt.Fprintf(a.ErrOut, "done: session %s is over, route %s/%s is as it was\n", result.Session, namespace, route)
	return nil
}

// clockTime is when something happens, as messages have it.
func clockTime(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
