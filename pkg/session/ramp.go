package session

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// An original that an autoscaler scaled down during the session gets its traffic back in rampSteps.
// After each step the rollback waits until the original has its pods again, at most rampWait.
const (
	rampSteps = 3
	rampWait  = 20 * time.Second
)

// RampTime is the longest time by which giving traffic back in steps may delay the rollback.
const RampTime = rampSteps * rampWait

// rampSyncTimeout limits how long the first lists of RampSession may take.
const rampSyncTimeout = 5 * time.Second

// RampSession shifts traffic of a live session that another command started back to the original in
// steps, if the original has fewer servers than at the session's start. The caller then restores
// the Route. An error says why there were no steps, so that all traffic returns at once.
func (r *Runner) RampSession(ctx context.Context, on *routev1.Route, s *record.Session) error {
	if s.Journal.Servers == 0 {
		return reason.New(reason.ServersNotRecorded)
	}
	r.current, r.journal, r.Floor = on, s.Journal, route.Exact
	if s.Journal.Failover {
		r.Floor = route.KeepFloor
	}
	w, err := watchSession(ctx, r.Core, r.Routes, on, nil, nil, s.ID)
	if err != nil {
		return err
	}
	defer w.stop()
	syncing, cancel := context.WithTimeout(ctx, rampSyncTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(syncing.Done(), w.pods.HasSynced, w.slices.HasSynced, w.route.HasSynced) {
		return fmt.Errorf("cannot list pods and EndpointSlices within %s", rampSyncTimeout)
	}
	r.watcher = w
	r.shiftBackInSteps(ctx)
	return nil
}

// shiftBackInSteps shifts traffic back in steps to an original that has fewer servers than at the
// session's start, so that its autoscaler can follow. If anything fails, or someone else changes
// the session's share, it stops, and the restore gives all traffic back at once.
func (r *Runner) shiftBackInSteps(ctx context.Context) {
	before, from := r.journal.Servers, route.Percent(0)
	for left := rampSteps - 1; left > 0; left-- {
		on, s := r.liveSession()
		if r.sandboxFailing() || s == nil || r.describeOverride(on, s) != "" {
			return
		}
		now := r.originalServers(on)
		if now >= before {
			return
		}
		if from == 0 {
			from = s.Journal.Realised
		}
		share := from * route.Percent(left) / rampSteps
		r.Report.Step("ramp", fmt.Sprintf("%s: %s has %d of %d servers", shareOfClients(share), r.journal.Workload, now, before))
		if err := r.changeShare(ctx, on, share); err != nil {
			r.Report.Warn(reason.New(reason.NotGradual, "why", err))
			return
		}
		r.waitForServers(ctx, before)
	}
}

// mayBeScaledDown reports whether an autoscaler may have scaled the original down.
func (r *Runner) mayBeScaledDown() bool {
	return r.plan != nil && len(r.plan.Facts.Namespace.Scaling(r.plan.Input.Program)) > 0
}

// leadTime is how long before the session's end this command begins to roll back, so that traffic
// can go back in steps. At the end, the guard would give it back at once.
func (r *Runner) leadTime() time.Duration {
	if !r.Guarded || !r.mayBeScaledDown() || r.TTL < 4*RampTime {
		return 0
	}
	return RampTime
}

// sandboxFailing reports whether the sandbox can no longer serve traffic.
func (r *Runner) sandboxFailing() bool {
	return r.podFailure() != nil || len(r.sandboxEndpoints()) == 0
}

// originalServers returns how many servers the Route's primary has now.
func (r *Runner) originalServers(on *routev1.Route) int {
	return len(route.Endpoints(on, on.Spec.To.Name, r.watcher.endpointSlices()))
}

// waitForServers waits until the original has as many servers as wanted, at most rampWait and only
// while the sandbox serves.
func (r *Runner) waitForServers(ctx context.Context, want int) {
	timer := time.NewTimer(rampWait)
	defer timer.Stop()
	for !r.sandboxFailing() && r.originalServers(r.current) < want {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-r.watcher.changed:
		}
	}
}
