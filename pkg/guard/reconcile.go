package guard

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/guard/judge"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// reconcile looks at one session and does what is due; what is to be deleted it hands to
// the workers that delete. It returns when to look again.
func (g *Guard) reconcile(ctx context.Context, k key, deletes bool) (time.Duration, error) {
	w := g.in(k.namespace)
	if w == nil {
		return 0, nil
	}
	m := g.recall(k)
	m.Lock()
	defer m.Unlock()
	cached := w.cachedRoute(k)
	nodes := g.cordoned(w, k, cached)
	objects := w.objects(k)
	now := g.Clock.Now()
	if m.closed && cached == nil && objects == 0 {
		g.forget(k) // what changed is the guard's own doing
		return 0, nil
	}
	if ns := m.noted.Swap(0); ns != 0 && m.changed.IsZero() {
		m.changed = time.Unix(0, ns)
	}
	facts := g.facts(cached, deref(of[*discoveryv1.EndpointSlice](w.slices, k)), k, m, now)
	facts.Objects, facts.Cordoned = objects, len(nodes) > 0
	verdict := judge.Decide(facts, g.limits(), now)
	// The cache shows what this guard believes to have restored: only a live read can tell
	// whether it lags, or that did not happen.
	doubtful := !m.drained.IsZero() && facts.Session.Unended()
	if cached != nil {
		m.route = cached.UID
	}
	if verdict.Action == judge.Nothing && cached != nil && !doubtful {
		m.changed = time.Time{}
		g.tell(k, m, cached, verdict.Reason)
		g.tellChanged(k, m, cached, facts.Session)
		return verdict.Look, nil
	}
	store := g.Urgent
	if deletes {
		store = g.Cleanup
	} else if verdict.Action == judge.Finish {
		g.cleanup.Add(k) // its traffic is back: no request of those that restore is spent on it
		return 0, nil
	}
	live, slices, err := g.live(ctx, store, k)
	if err != nil {
		return 0, err
	}
	now = g.Clock.Now() // which the answer may have corrected
	if live != nil && record.Of(live).Unended() {
		m.drained = time.Time{} // a restore that was not heard of did not happen
	}
	facts = g.facts(live, slices, k, m, now)
	facts.Objects = objects
	if facts.Cordoned, err = g.stillCordoned(ctx, nodes); err != nil {
		return 0, err
	}
	verdict = judge.Decide(facts, g.limits(), now)
	if live == nil && objects == 0 && verdict.Action == judge.Nothing && verdict.Look == 0 {
		g.forget(k) // the session is over
		return 0, nil
	}
	if verdict.Action == judge.Finish && !deletes {
		g.cleanup.Add(k)
		return 0, nil
	}
	look, err := g.act(ctx, k, m, live, verdict)
	if err != nil {
		g.tellRefused(k, m, live, err)
		return 0, err
	}
	m.changed = time.Time{}
	if verdict.Action == judge.Nothing && facts.Session == nil {
		look = g.tellMarksGone(k, m, facts, look, now)
	}
	return look, nil
}

// cachedRoute is the Route with the session's label, nil where the cache has none.
func (w *watched) cachedRoute(k key) *routev1.Route {
	for _, r := range of[*routev1.Route](w.routes, k) {
		if r.Name == k.route {
			return r
		}
	}
	return nil
}

// live reads the Route, nil when it is gone or its marks name another session, and, where
// that may have traffic, the EndpointSlices of the session.
func (g *Guard) live(ctx context.Context, store store.Store, k key) (*routev1.Route, []discoveryv1.EndpointSlice, error) {
	r, err := store.Routes.RouteV1().Routes(k.namespace).Get(ctx, k.route, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read route %s/%s: %w", k.namespace, k.route, err)
	}
	s := record.Of(r)
	if s == nil || s.ID != k.id {
		return nil, nil, nil
	}
	if s.Journal == nil && s.Broken == nil && !s.Backend {
		return r, nil, nil
	}
	slices, err := store.Core.DiscoveryV1().EndpointSlices(k.namespace).List(ctx, metav1.ListOptions{LabelSelector: record.Label + "=" + k.id})
	if err != nil {
		return nil, nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	return r, slices.Items, nil
}

// facts gathers what is judged, and notes since when things are so.
func (g *Guard) facts(r *routev1.Route, slices []discoveryv1.EndpointSlice, k key, m *memory, now time.Time) judge.Facts {
	f := judge.Facts{Drained: m.drained}
	if r == nil {
		f.MarklessSince = since(&m.marklessSince, true, now)
		return f
	}
	since(&m.marklessSince, false, now)
	f.Session = record.Of(r)
	if f.Session == nil || f.Session.ID != k.id {
		f.Session = nil
		f.MarklessSince = since(&m.marklessSince, true, now)
		return f
	}
	own := record.ServiceName(k.id)
	f.Label = r.Labels[record.Label] == k.id
	f.Ready = len(route.Endpoints(r, own, slices))
	for _, b := range route.Backends(r, nil) {
		if b.Service != own {
			f.Others += int(b.Value())
		}
	}
	if j := f.Session.Journal; j != nil {
		f.SameUID = j.RouteUID == string(r.UID)
	}
	f.UnreadySince = since(&m.unreadySince, f.Session.State == record.Live && f.Ready == 0, now)
	f.DrainingSince = since(&m.drainingSince, f.Session.State == record.Draining, now)
	return f
}

// since keeps the time at which something became so.
func since(t *time.Time, so bool, now time.Time) time.Time {
	switch {
	case !so:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
	return *t
}

// sessionOf is record.Of for a Route that may not be known.
func sessionOf(r *routev1.Route) *record.Session {
	if r == nil {
		return nil
	}
	return record.Of(r)
}

func deref[T any](list []*T) []T {
	out := make([]T, 0, len(list))
	for _, p := range list {
		out = append(out, *p)
	}
	return out
}
