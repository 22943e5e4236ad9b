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

// An original that an autoscaler shrank meanwhile gets its traffic back in rampSteps, as
// soon as it has its pods again and each at the latest after rampWait.
const (
	rampSteps = 3
	rampWait  = 20 * time.Second
)

// RampTime is the longest that the way back may take for the original's sake.
const RampTime = rampSteps * rampWait

// rampSync bounds listing what Ramp goes by.
const rampSync = 5 * time.Second

// Ramp gives the original of a live session that another command began its traffic back in
// steps, where it has fewer servers than then. The restore is the caller's; an error says why
// it comes at once.
func (r *Runner) Ramp(ctx context.Context, on *routev1.Route, s *record.Session) error {
	if s.Journal.Servers == 0 {
		return reason.New(reason.ServersNotNoted)
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
	syncing, cancel := context.WithTimeout(ctx, rampSync)
	defer cancel()
	if !cache.WaitForCacheSync(syncing.Done(), w.pods.HasSynced, w.slices.HasSynced, w.route.HasSynced) {
		return fmt.Errorf("pods and endpoints could not be listed within %s", rampSync)
	}
	r.watcher = w
	r.ramp(ctx)
	return nil
}

// ramp gives an original that has fewer servers than before its traffic back in steps, so
// that its autoscaler can follow. It is a courtesy: whatever goes wrong, and whatever
// somebody else gave the session meanwhile, the restore comes at once.
func (r *Runner) ramp(ctx context.Context) {
	before, from := r.journal.Servers, route.Percent(0)
	once := r.Store
	once.Once = true
	for left := rampSteps - 1; left > 0; left-- {
		on, _ := r.watcher.currentRoute()
		s := sessionOf(on)
		if r.failing() || s == nil || s.Journal == nil || s.State != record.Live || r.outbid(on, s) != "" {
			return
		}
		slices := r.watcher.endpointSlices()
		now := len(route.Endpoints(on, on.Spec.To.Name, slices))
		if now >= before {
			return
		}
		if from == 0 {
			from = s.Journal.Realised
		}
		share := from * route.Percent(left) / rampSteps
		r.Report.Step("ramp", fmt.Sprintf("%s of new clients: %s has %d of %d servers", share, r.journal.Workload, now, before))
		r.current, r.journal.Asked = on, share
		if err := r.reweigh(ctx, once, share, slices); err != nil {
			r.Report.Warn(reason.New(reason.NotSlowly, "why", err))
			return
		}
		r.waitServers(ctx, before)
	}
}

// scales says whether an autoscaler may have shrunk the original.
func (r *Runner) scales() bool {
	return r.plan != nil && len(r.plan.Facts.Namespace.Scaling(r.plan.Input.Program)) > 0
}

// lead is how long before the session's time is over this command ends it, so that the way
// back can be slow: the guard ends it at once.
func (r *Runner) lead() time.Duration {
	if !r.Guarded || !r.scales() || r.TTL < 4*RampTime {
		return 0
	}
	return RampTime
}

// failing says whether the sandbox can't be left with traffic.
func (r *Runner) failing() bool { return r.dead() != nil || len(r.endpoints()) == 0 }

// waitServers waits for the original to have its servers back, at most rampWait and no
// longer than the sandbox serves.
func (r *Runner) waitServers(ctx context.Context, want int) {
	timer := time.NewTimer(rampWait)
	defer timer.Stop()
	for !r.failing() && len(route.Endpoints(r.current, r.current.Spec.To.Name, r.watcher.endpointSlices())) < want {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-r.watcher.changed:
		}
	}
}
