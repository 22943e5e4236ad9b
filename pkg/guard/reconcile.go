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

// reconcile checks one session and does what is due. Unless deletes is true, it leaves deleting to the
// workers of the cleanup queue. It returns when to check the session again, 0 for at the next change.
func (g *Guard) reconcile(ctx context.Context, k key, deletes bool) (time.Duration, error) {
	c := g.cachesOf(k.namespace)
	if c == nil {
		return 0, nil
	}
	m := g.memory.of(k)
	m.Lock()
	defer m.Unlock()
	cached := c.cachedRoute(k)
	nodes := g.cordonedNodes(c, k, cached)
	objects := c.countObjects(k)
	now := g.Clock.Now()
	if m.closed && cached == nil && objects == 0 {
		g.memory.forget(k) // the change is the guard's own
		return 0, nil
	}
	if ns := m.firstEvent.Swap(0); ns != 0 && m.changed.IsZero() {
		m.changed = time.Unix(0, ns)
	}
	facts := g.gatherFacts(cached, deref(objectsOf[*discoveryv1.EndpointSlice](c.slices, k)), k, m, now)
	m.created = earliest(m.created, c.createdAt(k))
	facts.Objects, facts.Created, facts.Cordoned = objects, m.created, len(nodes) > 0
	verdict := judge.Decide(facts, g.limits(), now)
	if !mayDrift(cached, facts) {
		g.followed.stop(k)
	}
	// The cache shows marks that this guard's restore should have removed. Only a live read shows whether
	// the cache lags or the restore did not happen.
	doubtful := !m.drainEnds.IsZero() && facts.Session.Unended()
	if cached != nil {
		m.routeUID = cached.UID
		m.onRoute.Store(true)
	}
	if verdict.Action == judge.Nothing && cached != nil && !doubtful {
		m.changed = time.Time{}
		g.reportLeftAlone(k, m, cached, verdict.Reason)
		g.reportChanged(k, m, cached, facts.Session)
		return sooner(verdict.RequeueAfter, g.keepShare(ctx, k, m, cached, facts)), nil
	}
	store := g.Urgent
	if deletes {
		store = g.Cleanup
	} else if verdict.Action == judge.Finish {
		g.cleanup.Add(k) // its traffic is back: keep the urgent requests for restores
		return 0, nil
	}
	live, slices, err := g.readLive(ctx, store, k)
	if err != nil {
		return 0, err
	}
	now = g.Clock.Now() // the response may have corrected the clock
	if live != nil && record.Of(live).Unended() {
		m.drainEnds = time.Time{} // the restore whose response was lost did not happen
	}
	facts = g.gatherFacts(live, slices, k, m, now)
	facts.Objects, facts.Created = objects, m.created
	if facts.Cordoned, err = g.anyStillCordoned(ctx, nodes); err != nil {
		return 0, err
	}
	verdict = judge.Decide(facts, g.limits(), now)
	if live == nil && objects == 0 && verdict.Action == judge.Nothing && verdict.RequeueAfter == 0 {
		g.memory.forget(k) // the session is over
		return 0, nil
	}
	if verdict.Action == judge.Finish && !deletes {
		g.cleanup.Add(k)
		return 0, nil
	}
	requeueAfter, err := g.act(ctx, k, m, live, verdict)
	if err != nil {
		g.reportNotEnded(k, m, live, err)
		return 0, err
	}
	m.changed = time.Time{}
	if verdict.Action == judge.Nothing && facts.Session == nil {
		requeueAfter = g.reportMarksGone(k, m, facts, requeueAfter, now)
	}
	return requeueAfter, nil
}

// sooner returns the shorter of two times, of which 0 means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// cachedRoute returns the Route with the session's label from the cache, nil for none.
func (c *caches) cachedRoute(k key) *routev1.Route {
	o, _, err := c.routes.GetIndexer().GetByKey(k.namespace + "/" + k.route)
	if r, ok := o.(*routev1.Route); err == nil && ok && r.Labels[record.Label] == k.id {
		return r
	}
	return nil
}

// slicesPage is how many EndpointSlices of a sandbox's Service are read at a time. A sandbox has one for each
// of its two address families. Others can add more, and only a ready endpoint ends the search early.
const (
	slicesPage     = 10
	maxSlicesPages = 100
)

// readLive reads the Route from the API server and, if the session may have traffic, its
// EndpointSlices. The Route is nil if it does not exist or has no mark of this session.
func (g *Guard) readLive(ctx context.Context, store store.Store, k key) (*routev1.Route, []discoveryv1.EndpointSlice, error) {
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
	slices, err := readSlices(ctx, store, k, r)
	return r, slices, err
}

// readSlices reads the EndpointSlices of a sandbox's Service up to the first ready endpoint on the Route.
func readSlices(ctx context.Context, store store.Store, k key, r *routev1.Route) ([]discoveryv1.EndpointSlice, error) {
	service := record.ServiceName(k.id)
	options := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service, Limit: slicesPage}
	for range maxSlicesPages {
		page, err := store.Core.DiscoveryV1().EndpointSlices(k.namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list EndpointSlices: %w", err)
		}
		if options.Continue = page.Continue; options.Continue == "" || len(route.Endpoints(r, service, page.Items)) > 0 {
			return page.Items, nil
		}
	}
	return nil, nil // as many as these nobody needs for a sandbox
}

// gatherFacts collects the facts for a verdict, except Objects and Cordoned. It records in the memory
// since when each condition holds.
func (g *Guard) gatherFacts(r *routev1.Route, slices []discoveryv1.EndpointSlice, k key, m *memory, now time.Time) judge.Facts {
	f := judge.Facts{DrainEnds: m.drainEnds}
	local := time.Now()
	if until := g.Urgent.Outage.LateUntil(local); !until.IsZero() {
		f.LateUntil = now.Add(until.Sub(local)) // on the API server's clock
	}
	if r == nil {
		f.MarklessSince = trackSince(&m.marklessSince, true, now)
		return f
	}
	trackSince(&m.marklessSince, false, now)
	f.Session = record.Of(r)
	if f.Session == nil || f.Session.ID != k.id {
		f.Session = nil
		f.MarklessSince = trackSince(&m.marklessSince, true, now)
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
	f.UnreadySince = trackSince(&m.unreadySince, f.Session.State == record.Live && f.Ready == 0, now)
	f.DrainingSince = trackSince(&m.drainingSince, f.Session.State == record.Draining, now)
	return f
}

// earliest returns the earlier of two times. The zero time counts as unknown.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// trackSince stores in t since when a condition holds, zero if it does not hold, and returns that.
func trackSince(t *time.Time, holds bool, now time.Time) time.Time {
	switch {
	case !holds:
		*t = time.Time{}
	case t.IsZero():
		*t = now
	}
	return *t
}

// sessionOf is record.Of, and nil for a nil Route.
func sessionOf(r *routev1.Route) *record.Session {
	if r == nil {
		return nil
	}
	return record.Of(r)
}

// deref copies the values that the pointers in a list refer to.
func deref[T any](list []*T) []T {
	out := make([]T, 0, len(list))
	for _, p := range list {
		out = append(out, *p)
	}
	return out
}
