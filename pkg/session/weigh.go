package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Weigh changes the share of a live or held session to r.Percent, after the same proof as at its
// start. It returns the journal as written.
func (r *Runner) Weigh(ctx context.Context, on *routev1.Route, s *record.Session) (*record.Journal, error) {
	if s.Journal == nil || s.State == record.Arming {
		return nil, reason.New(reason.CannotBeWeighed, "namespace", r.Namespace, "route", r.Options.Route, "session", s.ID, "state", s.State)
	}
	if err := r.findGuard(ctx); err != nil {
		return nil, err
	}
	list, err := r.Core.DiscoveryV1().EndpointSlices(r.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	r.current, r.journal = on, s.Journal
	r.journal.Asked = r.Percent
	endpoints := route.Endpoints(on, record.ServiceName(s.ID), list.Items)
	if len(endpoints) == 0 {
		return nil, reason.New(reason.NoReadySandboxPod, "namespace", r.Namespace, "route", r.Options.Route, "session", s.ID, "label", record.Label)
	}
	if s.State == record.Held || r.Percent > s.Journal.Realised {
		if err := r.checkLoad(route.PodsOf(endpoints), list.Items); err != nil {
			return nil, err
		}
	}
	unused := s.State == record.Held || s.Journal.Realised == 0 && r.Percent > 0
	if unused && !r.NoProbe {
		if err := r.proveUnused(ctx, endpoints, list.Items); err != nil {
			return nil, err
		}
	}
	if err := r.waitForRenewal(ctx); err != nil {
		return nil, err
	}
	if unused && !r.canProve() && !r.NoProbe && r.Percent > smallestPercent {
		if err := r.runCanary(ctx, list.Items); err != nil {
			return nil, r.holdAfterCanary(ctx, s.ID, err)
		}
	}
	if err := r.writeWeights(ctx, r.Store, r.Percent, list.Items); err != nil {
		return nil, err
	}
	r.writeEvent(ctx, "DebugSessionWeighed", fmt.Sprintf("session %s of %s: %.2f %% of new clients now go to its sandbox", s.ID, s.Journal.User, r.journal.Realised))
	return r.journal, nil
}

// checkLoad refuses a share that is too much load for the sandbox's ready pods, as the plan does at the
// start.
func (r *Runner) checkLoad(pods int, slices []discoveryv1.EndpointSlice) error {
	load := route.Load(r.originalBackends(slices), r.current.Spec.To.Name, r.Percent)
	if most := float64(pods) * plan.LoadFactor; load > most && !r.Force {
		return reason.New(reason.TooMuchForSandbox, "namespace", r.Namespace, "route", r.Options.Route, "percent", fmt.Sprintf("%g", float64(r.Percent)),
			"load", fmt.Sprintf("%.1f", load), "service", r.current.Spec.To.Name, "pods", pods, "possible", int(float64(r.Percent)*most/load))
	}
	return nil
}

// proveUnused sends a pinned request to each server of a sandbox without users: a held one, or one
// that started with 0 %, maybe unproven. Other sandboxes answer users already.
func (r *Runner) proveUnused(ctx context.Context, endpoints []route.Endpoint, of []discoveryv1.EndpointSlice) error {
	if err := r.takeBaselines(ctx, r.current, of); err != nil {
		return err
	}
	if !r.canProve() {
		return nil // runCanary tries the smallest share first
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proofTimeout(), &Timeout{"proof", r.proofTimeout()})
	defer cancel()
	return r.proveEndpoints(ctx, endpoints)
}

// holdAfterCanary holds the session after users got errors with the smallest share.
func (r *Runner) holdAfterCanary(ctx context.Context, id string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdTimeout)
	defer cancel()
	if _, err := r.Hold(ctx, r.current, id); err != nil {
		return errors.Join(why, reason.New(reason.TrafficNotTakenBack, "why", err, "route", r.Options.Route, "namespace", r.Namespace))
	}
	return reason.New(reason.ShareTakenBack, "why", why)
}

// holdTimeout limits how long taking a share back may take.
const holdTimeout = 30 * time.Second
