package session

import (
	"context"
	"fmt"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// setWeights writes the weights that come nearest to a percentage, by the endpoints
// that are ready now.
func (r *Runner) setWeights(ctx context.Context, percent float64) error {
	return r.reweigh(ctx, r.Store, percent, r.watcher.endpointSlices())
}

// originals are the backends as they are without the session.
func (r *Runner) originals(slices []discoveryv1.EndpointSlice) (out []route.Backend) {
	own, weights := record.ServiceName(r.journal.Session), record.WeightsOf(r.current)
	if s := record.Of(r.current); s != nil && s.Journal != nil {
		weights, _ = record.Originals(r.current, s.Journal)
	}
	for _, b := range weights.Backends {
		if b.Service != own {
			out = append(out, route.Backend{Service: b.Service, Weight: b.Weight, Ready: len(route.Endpoints(r.current, b.Service, slices))})
		}
	}
	return out
}

// expiry is when a session that goes live now ends: TTL from now, but before its pods reach
// their own deadline, however long they took to start.
func (r *Runner) expiry(now time.Time) time.Time {
	end, last := now.Add(r.TTL), r.built.Add(record.Longest)
	if !r.built.IsZero() && end.After(last) {
		r.Report.Warn(reason.New(reason.EndsEarlier, "took", now.Sub(r.built).Round(time.Second).String(), "earlier", end.Sub(last).Round(time.Second).String()))
		end = last
	}
	return end.Truncate(time.Second)
}

// reweigh writes the weights for a percentage, by the Route as it was last seen.
func (r *Runner) reweigh(ctx context.Context, store store.Store, percent float64, slices []discoveryv1.EndpointSlice) error {
	own, backends := record.ServiceName(r.journal.Session), r.originals(slices)
	plan, err := route.Weights(backends, len(route.Endpoints(r.current, own, slices)), percent, r.Floor)
	if err != nil {
		return fmt.Errorf("route %s/%s: %w", r.Namespace, r.Options.Route, err)
	}
	r.journal.State, r.journal.Realised, r.journal.Failover = record.Live, 100*plan.Share, r.Floor == route.KeepFloor
	if r.journal.Expires.IsZero() {
		r.journal.Expires.Time = r.expiry(r.Clock.Now())
	}
	weights := map[string]int32{own: plan.Sandbox}
	for i, b := range backends {
		weights[b.Service] = plan.Originals[i]
	}
	r.shifted = true
	updated, err := store.Shift(ctx, r.current, r.journal, weights)
	if err == nil {
		r.current = updated
	}
	return err
}
