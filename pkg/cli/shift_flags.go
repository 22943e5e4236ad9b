package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/pkg/trace/gadget"
)

// Defaults of the time to live.
const (
	defaultTTL = 30 * time.Minute
	slackTTL   = 5 * time.Minute
)

// longestTimeout bounds --timeout: a killed command's marks may stay on the Route for that long.
const longestTimeout = time.Hour

type shiftFlags struct {
	session.Options
	exact, failover bool
	noGuard         bool
	traces          []string
	collect         string
	dryRun, output  string
	weight          float64   // --weight as given, negative where it is not
	steps           []float64 // --steps as given
	images, env     []string  // --set-image and --set-env as given
	followRollout   string
}

// check checks the flags, as far as that needs no cluster.
func (f *shiftFlags) check() error {
	if f.Options.Route == "" {
		return errors.New("a Route is required")
	}
	if err := f.parseShares(); err != nil {
		return err
	}
	if err := f.parseChanges(); err != nil {
		return err
	}
	switch {
	case f.followRollout != "false" && f.followRollout != "rollback":
		return fmt.Errorf("--follow-rollout=%s: must be false or rollback", f.followRollout)
	case f.exact && f.failover:
		return errors.New("--exact and --failover cannot be used together")
	case f.Detach && f.noGuard:
		return errors.New("--detach needs a guard: leave out --no-guard")
	case f.collect != "" && (len(f.traces) == 0 || f.Detach || f.Changes.SeparatePIDs):
		return errors.New("--collect needs --trace, which says what to record, and a session that is neither detached nor has --separate-pids")
	case f.Detach && f.For > 0:
		return errors.New("--detach cannot be used with --for; use --ttl")
	case f.Detach && f.followRollout == "rollback":
		return errors.New("--follow-rollout=rollback cannot be used with --detach")
	case f.Replicas < 0 || f.Replicas > 20:
		return errors.New("--replicas must be between 1 and 20")
	case f.For < 0 || f.TTL < 0 || f.Drain < 0 || f.Timeout <= 0:
		return errors.New("--for, --ttl, --drain and --timeout must be positive, such as 10m")
	case f.Timeout > longestTimeout:
		return fmt.Errorf("--timeout must be at most %s", longestTimeout)
	case f.dryRun != "none" && f.dryRun != "client" && f.dryRun != "server":
		return fmt.Errorf("--dry-run=%s: must be none, client or server", f.dryRun)
	case f.Image == "":
		return errors.New("--sidecar-image is required: this build has no default")
	case f.RuntimeClass == "":
		return errors.New("--runtime-class must not be empty: without it a sandbox is not a VM")
	}
	if f.TTL == 0 {
		f.TTL = defaultTTL
		if f.For > 0 {
			f.TTL = f.For + slackTTL
		}
	}
	if f.TTL > record.Longest {
		return fmt.Errorf("a session of %s is too long: a sandbox lives for %s at most", f.TTL, record.Longest)
	}
	if f.dryRun == "none" && f.output != "" && len(f.traces) == 0 {
		return errors.New("--output can only be used with --dry-run or --trace")
	}
	f.Record = f.traces
	_, err := gadget.Lookup(f.traces)
	return err
}

// parseShares reads --weight, or --steps in its place.
func (f *shiftFlags) parseShares() (err error) {
	if f.steps == nil {
		if f.Percent, err = route.NewPercent(f.weight); err != nil {
			return errors.New("--weight must be a percentage from 0 to 100")
		}
		return nil
	}
	switch {
	case f.weight >= 0:
		return errors.New("--weight and --steps cannot be used together")
	case f.Detach:
		return errors.New("--steps cannot be used with --detach")
	case f.Interval <= 0:
		return errors.New("--interval must be positive, such as 30s")
	}
	last := route.Percent(0)
	for _, given := range f.steps {
		p, err := route.NewPercent(given)
		if err != nil || p <= last {
			return errors.New("--steps must be rising percentages up to 100, such as 5,25,100")
		}
		f.Steps, last = append(f.Steps, p), p
	}
	f.Percent = f.Steps[0]
	return nil
}

// parseChanges reads --set-image and --set-env.
func (f *shiftFlags) parseChanges() error {
	f.FollowRollout = f.followRollout == "rollback"
	f.Changes.Images, f.Changes.Env = map[string]string{}, map[string][]corev1.EnvVar{}
	for _, given := range f.images {
		container, image, ok := strings.Cut(given, "=")
		if !ok || container == "" || image == "" || strings.ContainsAny(image, " \t\n") {
			return fmt.Errorf("--set-image %q: must be CONTAINER=IMAGE", given)
		}
		f.Changes.Images[container] = image
	}
	for _, given := range f.env {
		container, pair, ok := strings.Cut(given, ":")
		key, value, both := strings.Cut(pair, "=")
		if !ok || !both || container == "" || key == "" {
			return fmt.Errorf("--set-env %q: must be CONTAINER:KEY=VALUE", given)
		}
		f.Changes.Env[container] = append(f.Changes.Env[container], corev1.EnvVar{Name: key, Value: value})
	}
	return nil
}

// settle applies the administrator's settings, and refuses what they forbid.
func (f *shiftFlags) settle(c *cobra.Command, clients *clients) error {
	set, err := clients.settings(c.Context())
	if err != nil {
		return err
	}
	if !c.Flags().Changed("drain") {
		f.Drain = set.Drain
	}
	f.MaxDuration = set.MaxDuration
	f.ReloadInterval, f.Guarded, f.Annotations = set.ReloadInterval, !f.noGuard, set.Annotations
	f.Floor = floor(f.Guarded, f.exact, f.failover)
	if !c.Flags().Changed("ttl") && f.For+session.RampTime < set.MaxDuration {
		f.TTL = min(f.TTL, set.MaxDuration)
	}
	switch {
	case f.TTL > set.MaxDuration:
		return &exitError{code: codeUsage, err: reason.New(reason.TTLTooLong, "ttl", f.TTL, "longest", set.MaxDuration)}
	case f.Guarded && f.Drain > set.Drain+settings.Courtesy:
		return tooLongDrain(f.Drain, set)
	case len(set.RuntimeClasses) > 0 && !slices.Contains(set.RuntimeClasses, f.RuntimeClass):
		return reason.Forbidden(reason.RuntimeClassForbidden, "class", f.RuntimeClass, "allowed", strings.Join(set.RuntimeClasses, ", "))
	case len(set.Images) > 0 && !slices.Contains(set.Images, f.Image):
		return reason.Forbidden(reason.ImageForbidden, "image", f.Image, "allowed", strings.Join(set.Images, ", "))
	}
	return nil
}

// tooLongDrain says that the guard would not wait for so long.
func tooLongDrain(drain time.Duration, set settings.Settings) error {
	return &exitError{code: codeUsage, err: reason.New(reason.DrainTooLong, "drain", drain, "longest", set.Drain+settings.Courtesy)}
}

// floor is what the original keeps at 100 percent: with a guard nothing, since it takes
// the router's failover upon itself; without one the smallest share.
func floor(guarded, exact, failover bool) route.Floor {
	if exact || guarded && !failover {
		return route.Exact
	}
	return route.KeepFloor
}

// shiftFlagSet defines the flags of shift, by the groups of its help.
func (a *app) shiftFlagSet(fl *pflag.FlagSet, f *shiftFlags) {
	fl.SortFlags = false // help shows them in this order
	fl.StringVar(&f.Options.Route, "route", "", "Route to take the traffic from, in place of the argument")
	fl.Float64Var(&f.weight, "weight", -1, "`percentage` of new clients for the sandbox, 0 to 100")
	fl.Float64SliceVar(&f.steps, "steps", nil, "`percentages` to take one after the other, in place of --weight, such as 5,25,100")
	fl.DurationVar(&f.Interval, "interval", 30*time.Second, "time between --steps")
	fl.BoolVar(&f.exact, "exact", false, "at 100 percent leave nothing at the original: no failover by the router (default with a guard)")
	fl.BoolVar(&f.failover, "failover", false, "at 100 percent keep the smallest share at the original (default without a guard)")
	group(fl, "Traffic", "route", "weight", "steps", "interval", "exact", "failover")

	fl.DurationVar(&f.For, "for", 0, "end the session after this time (default: at Ctrl-C or --ttl)")
	fl.DurationVar(&f.TTL, "ttl", 0, "end the session after this time at the latest (default: --for + 5m, else 30m)")
	fl.DurationVar(&f.Drain, "drain", 0, "minimum time between restoring the Route and deleting the sandbox (default: the administrator's setting, else 8s)")
	fl.DurationVar(&f.Timeout, "timeout", 5*time.Minute, "how long the sandbox may take to become ready")
	fl.BoolVar(&f.Detach, "detach", false, "leave the live session to the guard")
	fl.BoolVar(&f.noGuard, "no-guard", false, "do not require a guard: the session ends with this command")
	fl.StringVar(&f.followRollout, "follow-rollout", "false", "if the original is rolled out during the session: false only warns, rollback ends the session")
	group(fl, "Duration and end", "for", "ttl", "drain", "timeout", "detach", "no-guard", "follow-rollout")

	fl.StringVar(&f.Workload, "workload", "", "KIND/NAME that the Route's pods must belong to")
	fl.StringVar(&f.Container, "container", "", "container to trace (default: the one with the Route's port)")
	fl.StringVar(&f.RuntimeClass, "runtime-class", "kata", "RuntimeClass of the sandbox")
	fl.StringVar(&f.Image, "sidecar-image", sidecarImage, "image of the sidecar with the tools")
	fl.IntVar(&f.Replicas, "replicas", 0, "number of sandbox pods (default: enough that none carries more than 1.5 times the load of an original pod)")
	fl.StringArrayVar(&f.images, "set-image", nil, "CONTAINER=IMAGE for the sandbox")
	fl.StringArrayVar(&f.env, "set-env", nil, "CONTAINER:KEY=VALUE for the sandbox")
	fl.StringSliceVar(&f.Changes.EmptyVolumes, "empty-volume", nil, "volume that is empty in the sandbox, because the original's cannot be shared")
	fl.StringSliceVar(&f.Changes.SkipInit, "skip-init", nil, "init container that does not run in the sandbox")
	fl.BoolVar(&f.Changes.SeparatePIDs, "separate-pids", false, "do not share the process namespace: for images whose program must be process 1 (--trace, and ps in the sidecar, cannot see it then)")
	fl.BoolVar(&f.Changes.KeepsLiveness, "keep-liveness", false, "keep liveness probes, which a breakpoint would fail")
	group(fl, "Sandbox", "workload", "container", "runtime-class", "sidecar-image", "replicas", "set-image", "set-env", "empty-volume", "skip-init", "separate-pids", "keep-liveness")

	fl.StringSliceVar(&f.Routers, "router", nil, "where to send probes: HOST or HOST:PORT, once for each router (default: the Route's host)")
	fl.BoolVar(&f.NoProbe, "no-probe", false, "do not send probes: nothing is proven or verified")
	fl.BoolVar(&f.Force, "force", false, "hold a session even where that may be unwise; each refusal that it lifts says so")
	group(fl, "Proof", "router", "no-probe", "force")

	fl.StringSliceVar(&f.traces, "trace", nil, "gadgets to run in the sandbox while it is live: "+gadget.List())
	fl.StringVar(&f.collect, "collect", "", "new folder for what the sandbox recorded of --trace; it is filled before the sandbox is deleted")
	fl.StringVar(&f.dryRun, "dry-run", "none", "none, client or server: print what would be written, change nothing; server also asks the routers")
	fl.StringVarP(&f.output, "output", "o", "", "of --dry-run: yaml or json; of --trace: columns, json or jsonl")
	group(fl, "Output", "trace", "collect", "dry-run", "output")
	fl.Lookup("weight").DefValue, fl.Lookup("steps").DefValue = "0", ""
}
