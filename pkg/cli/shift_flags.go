package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
	"github.com/osc-debug/osc-debug/pkg/trace/frame"
)

// Defaults of the time to live.
const (
	defaultTTL = 30 * time.Minute
	slackTTL   = 5 * time.Minute
)

// longestTimeout bounds --timeout, and with it how long the guard leaves a killed command's
// preparations alone.
const longestTimeout = time.Hour

type shiftFlags struct {
	session.Options
	exact, failover bool
	noGuard         bool
	traces          []string
	dryRun, output  string
	weight          float64   // --weight as given, negative where it is not
	steps           []float64 // --steps as given
	images, env     []string  // --set-image and --set-env as given
	followRollout   string
}

// check judges what can be judged without a cluster.
func (f *shiftFlags) check() error {
	if f.Options.Route == "" {
		return errors.New("--route: name the Route")
	}
	if err := f.parseShares(); err != nil {
		return err
	}
	if err := f.parseChanges(); err != nil {
		return err
	}
	switch {
	case f.followRollout != "false" && f.followRollout != "rollback":
		return fmt.Errorf("--follow-rollout=%s: false or rollback", f.followRollout)
	case f.exact && f.failover:
		return errors.New("--exact and --failover exclude each other")
	case f.Detach && f.noGuard:
		return errors.New("--detach needs a guard: leave --no-guard out")
	case f.Detach && (len(f.traces) > 0 || f.For > 0):
		return errors.New("--detach ends this command: use --ttl for the session's time, and trace from the foreground")
	case f.Detach && f.followRollout == "rollback":
		return errors.New("--follow-rollout=rollback takes a command that watches: leave --detach out")
	case f.Replicas < 0 || f.Replicas > 20:
		return errors.New("--replicas: from 1 to 20")
	case f.For < 0 || f.TTL < 0 || f.Drain < 0 || f.Timeout <= 0:
		return errors.New("--for, --ttl, --drain and --timeout take positive times, such as 10m")
	case f.Timeout > longestTimeout:
		return fmt.Errorf("--timeout: %s at most: so long may a killed command's marks stay on the Route", longestTimeout)
	case f.dryRun != "none" && f.dryRun != "client" && f.dryRun != "server":
		return fmt.Errorf("--dry-run=%s: none, client or server", f.dryRun)
	case f.Image == "":
		return errors.New("--sidecar-image: this build has no default, name an image")
	case f.RuntimeClass == "":
		return errors.New("--runtime-class: a sandbox without one would be no VM")
	}
	if f.TTL == 0 {
		f.TTL = defaultTTL
		if f.For > 0 {
			f.TTL = f.For + slackTTL
		}
	}
	if f.TTL > record.Longest {
		return fmt.Errorf("a session of %s is longer than a sandbox lives: %s at most", f.TTL, record.Longest)
	}
	if f.dryRun == "none" && f.output != "" && len(f.traces) == 0 {
		return errors.New("--output goes with --dry-run or --trace")
	}
	_, err := frame.Lookup(f.traces)
	return err
}

// parseShares reads --weight, or --steps in its place.
func (f *shiftFlags) parseShares() (err error) {
	if f.steps == nil {
		if f.Percent, err = route.NewPercent(f.weight); err != nil {
			return errors.New("--weight: give a percentage from 0 to 100")
		}
		return nil
	}
	switch {
	case f.weight >= 0:
		return errors.New("--weight and --steps exclude each other")
	case f.Detach:
		return errors.New("--steps are taken in the foreground: leave --detach out")
	case f.Interval <= 0:
		return errors.New("--interval: give a positive time such as 30s")
	}
	last := route.Percent(0)
	for _, given := range f.steps {
		p, err := route.NewPercent(given)
		if err != nil || p <= last {
			return errors.New("--steps: give rising percentages up to 100, such as 5,25,100")
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
			return fmt.Errorf("--set-image %q: give CONTAINER=IMAGE", given)
		}
		f.Changes.Images[container] = image
	}
	for _, given := range f.env {
		container, pair, ok := strings.Cut(given, ":")
		key, value, both := strings.Cut(pair, "=")
		if !ok || !both || container == "" || key == "" {
			return fmt.Errorf("--set-env %q: give CONTAINER:KEY=VALUE", given)
		}
		f.Changes.Env[container] = append(f.Changes.Env[container], corev1.EnvVar{Name: key, Value: value})
	}
	return nil
}

// settle fills in what the administrator set, and refuses what he forbids.
func (f *shiftFlags) settle(c *cobra.Command, clients *clients) error {
	set, err := clients.settings(c.Context())
	if err != nil {
		return err
	}
	if !c.Flags().Changed("drain") {
		f.Drain = set.Drain
	}
	f.ReloadInterval, f.Guarded = set.ReloadInterval, !f.noGuard
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
