package shift

import (
	"context"
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// Weigh gives a session that is live or held another share, after the same proof that
// its beginning took. It returns the journal as written.
func (r *Runner) Weigh(ctx context.Context, on *routev1.Route, s *session.Session) (*session.Journal, error) {
	if s.Journal == nil || s.State == session.Arming {
		return nil, fmt.Errorf("route %s/%s: session %s is %s: only a live or held session can be weighed", r.Namespace, r.Options.Route, s.ID, s.State)
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
	endpoints := route.Endpoints(on, session.ServiceName(s.ID), list.Items)
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("route %s/%s: no pod of sandbox %s is ready: look at it with 'oc get pods -n %s -l %s=%s'", r.Namespace, r.Options.Route, s.ID, r.Namespace, session.Label, s.ID)
	}
	if err := r.proveAgain(ctx, endpoints, s.State); err != nil {
		return nil, err
	}
	if err := r.guardRenews(ctx); err != nil {
		return nil, err
	}
	originals, _ := session.Originals(r.current, r.journal)
	if err := r.reweigh(ctx, r.Store, r.Percent, originals, list.Items); err != nil {
		return nil, err
	}
	r.event(ctx, "DebugSessionWeighed", fmt.Sprintf("session %s of %s: %.2f %% of new clients go to its sandbox", s.ID, s.Journal.User, r.journal.Realised))
	return r.journal, nil
}

// proveAgain sends a pinned request to each server of a held sandbox; a live one is
// answering users already.
func (r *Runner) proveAgain(ctx context.Context, endpoints []route.Endpoint, state session.State) error {
	if state != session.Held || !r.provable() {
		return nil
	}
	if err := r.takeBaselines(ctx, r.current); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.proveWithin(), &Timeout{"proof", r.proveWithin()})
	defer cancel()
	return r.proveAll(ctx, endpoints)
}
