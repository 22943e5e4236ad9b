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

// Weigh gives a session that is live or held another share, after the same proof that
// its beginning took. It returns the journal as written.
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
		if err := r.bearable(len(endpoints), list.Items); err != nil {
			return nil, err
		}
	}
	unseen := s.State == record.Held || s.Journal.Realised == 0 && r.Percent > 0
	if unseen && !r.NoProbe {
		if err := r.proveUnseen(ctx, endpoints); err != nil {
			return nil, err
		}
	}
	if err := r.guardRenews(ctx); err != nil {
		return nil, err
	}
	if unseen && !r.provable() && !r.NoProbe && r.Percent > smallestPercent {
		if err := r.canary(ctx, list.Items); err != nil {
			return nil, r.takeBack(ctx, s.ID, err)
		}
	}
	if err := r.reweigh(ctx, r.Store, r.Percent, list.Items); err != nil {
		return nil, err
	}
	r.event(ctx, "DebugSessionWeighed", fmt.Sprintf("session %s of %s: %.2f %% of new clients go to its sandbox", s.ID, s.Journal.User, r.journal.Realised))
	return r.journal, nil
}

// bearable refuses a share that is too much for the sandbox' servers that are ready, as
// replicas does at the beginning.
func (r *Runner) bearable(servers int, slices []discoveryv1.EndpointSlice) error {
	load := route.Load(r.originals(slices), r.current.Spec.To.Name, r.Percent)
	if most := float64(servers) * plan.LoadFactor; load > most && !r.Force {
		return reason.New(reason.TooMuchForSandbox, "namespace", r.Namespace, "route", r.Options.Route, "percent", fmt.Sprintf("%g", float64(r.Percent)),
			"load", fmt.Sprintf("%.1f", load), "service", r.current.Spec.To.Name, "servers", servers, "possible", int(float64(r.Percent)*most/load))
	}
	return nil
}

// proveUnseen sends a pinned request to each server of a sandbox that no user is sent to: it is
// held, or its session began with 0 %, maybe unproven. Another one answers users already.
func (r *Runner) proveUnseen(ctx context.Context, endpoints []route.Endpoint) error {
	if err := r.takeBaselines(ctx, r.current); err != nil {
		return err
	}
	if !r.provable() {
		return nil // the smallest share comes first
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proveWithin(), &Timeout{"proof", r.proveWithin()})
	defer cancel()
	return r.proveAll(ctx, endpoints)
}

// takeBack takes back the smallest share, which users did not fare well with: the session is held.
func (r *Runner) takeBack(ctx context.Context, id string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdTime)
	defer cancel()
	if _, err := r.Hold(ctx, r.current, id); err != nil {
		return errors.Join(why, reason.New(reason.TrafficNotTakenBack, "why", err, "route", r.Options.Route, "namespace", r.Namespace))
	}
	return reason.New(reason.ShareTakenBack, "why", why)
}

// holdTime bounds taking a share back.
const holdTime = 30 * time.Second
