package session

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// setWeights writes the weights that come closest to a percentage, by the endpoints that are ready
// now.
func (r *Runner) setWeights(ctx context.Context, percent route.Percent) error {
	return r.writeWeights(ctx, r.Store, percent, r.watcher.endpointSlices())
}

// originalBackends returns the backends as they would be without the session.
func (r *Runner) originalBackends(slices []discoveryv1.EndpointSlice) []route.Backend {
	return plan.Originals(r.current, r.journal.Session, slices)
}

// endTime returns when a session that goes live now ends: after TTL, but before its pods reach
// their own deadline, and before the guard finds that it lasts too long, however long the pods took to
// start.
func (r *Runner) endTime(now time.Time) time.Time {
	end, last := now.Add(r.TTL), r.buildStarted.Add(record.Longest)
	if r.MaxDuration > 0 {
		last = r.buildStarted.Add(min(record.Longest, record.Preparation+r.MaxDuration))
	}
	if !r.buildStarted.IsZero() && end.After(last) {
		r.Report.Warn(reason.New(reason.EndsEarlier, "took", now.Sub(r.buildStarted).Round(time.Second).String(), "earlier", end.Sub(last).Round(time.Second).String()))
		end = last
	}
	return end.Truncate(time.Second)
}

// changeShare changes the share of a live session, based on the Route that the caller judged. If
// someone else has changed that Route since, it fails, and the caller must judge the new one.
func (r *Runner) changeShare(ctx context.Context, on *routev1.Route, percent route.Percent) error {
	before := r.journal.Asked
	r.current, r.journal.Asked = on, percent
	once := r.Store
	once.Once = true
	err := r.writeWeights(ctx, once, percent, r.watcher.endpointSlices())
	if err != nil {
		r.journal.Asked = before
	}
	return err
}

// liveSession returns the Route as last seen and its session, nil if the session is not live or its
// journal cannot be read.
func (r *Runner) liveSession() (*routev1.Route, *record.Session) {
	on, _ := r.watcher.currentRoute()
	s := sessionOf(on)
	if s == nil || s.Journal == nil || s.State != record.Live {
		return on, nil
	}
	return on, s
}

// writeWeights writes the weights for a percentage, based on the Route as it was last seen.
func (r *Runner) writeWeights(ctx context.Context, store store.Store, percent route.Percent, slices []discoveryv1.EndpointSlice) error {
	servers := len(route.Endpoints(r.current, record.ServiceName(r.journal.Session), slices))
	weights, err := plan.Shift(r.journal, r.originalBackends(slices), servers, percent, r.Floor)
	if err != nil {
		return fmt.Errorf("route %s/%s: %w", r.Namespace, r.Options.Route, err)
	}
	if r.journal.Expires.IsZero() {
		r.journal.Expires.Time = r.endTime(r.Clock.Now())
	}
	if r.journal.Dynamic = r.journal.Dynamic || r.sawDynamic(); r.journal.Dynamic {
		r.journal.Served = record.Servers(r.current, weightedIn(weights), slices)
	}
	r.shifted = true
	updated, err := store.Shift(ctx, r.current, r.journal, weights)
	if err == nil {
		r.current = updated
	}
	return err
}

// weightedIn returns the Services with a weight above 0.
func weightedIn(weights map[string]int32) (services []string) {
	for service, w := range weights {
		if w > 0 {
			services = append(services, service)
		}
	}
	return services
}
