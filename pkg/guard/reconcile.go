package guard

import (
	"context"
	"fmt"
	"strings"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session"
)

func parseKey(s string) key {
	namespace, id, _ := strings.Cut(s, "/")
	return key{namespace, id}
}

// reconcile looks at one session and does what is due. It returns when to look again.
// One worker at a time has a session: its memory needs no lock.
func (g *Guard) reconcile(ctx context.Context, k key) (time.Duration, error) {
	w := g.in(k.namespace)
	if w == nil {
		return 0, nil
	}
	m := g.recall(k)
	cached := g.cachedRoute(w, k, m)
	if cached == nil && m.route == "" {
		g.forget(k)
		return 0, nil // nothing of it names a Route: not ours to touch
	}
	objects := len(of[*corev1.Service](w.services, k)) + len(of[*corev1.Pod](w.pods, k))
	now := g.Clock.Now()
	verdict := Judge(g.facts(cached, deref(of[*discoveryv1.EndpointSlice](w.slices, k)), objects, k, m, now), g.limits(), now)
	if verdict.Action == Nothing && cached != nil {
		return verdict.Look, g.tell(ctx, k, m, cached, verdict.Reason)
	}
	live, err := g.live(ctx, k, m)
	if err != nil {
		return 0, err
	}
	slices, err := g.Urgent.Core.DiscoveryV1().EndpointSlices(k.namespace).List(ctx, metav1.ListOptions{LabelSelector: session.Label + "=" + k.id})
	if err != nil {
		return 0, fmt.Errorf("list EndpointSlices: %w", err)
	}
	verdict = Judge(g.facts(live, slices.Items, objects, k, m, now), g.limits(), now)
	if live == nil && objects == 0 && verdict.Action == Nothing && verdict.Look == 0 {
		g.forget(k) // the session is over
		return 0, nil
	}
	return g.act(ctx, k, m, live, verdict)
}

// cachedRoute finds the session's Route in the cache and remembers its name; also by
// what the session's objects say of it.
func (g *Guard) cachedRoute(w *watched, k key, m *memory) *routev1.Route {
	if found := of[*routev1.Route](w.routes, k); len(found) > 0 {
		m.route = found[0].Name
		return found[0]
	}
	for _, s := range of[*corev1.Service](w.services, k) {
		if name := s.Annotations[session.RouteNameKey]; name != "" && m.route == "" {
			m.route = name
		}
	}
	for _, p := range of[*corev1.Pod](w.pods, k) {
		if name := p.Annotations[session.RouteNameKey]; name != "" && m.route == "" {
			m.route = name
		}
	}
	return nil
}

// live reads the Route; nil when it is gone or its marks name another session.
func (g *Guard) live(ctx context.Context, k key, m *memory) (*routev1.Route, error) {
	r, err := g.Urgent.Routes.RouteV1().Routes(k.namespace).Get(ctx, m.route, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read route %s/%s: %w", k.namespace, m.route, err)
	}
	if s := session.Of(r); s == nil || s.ID != k.id {
		return nil, nil
	}
	return r, nil
}

// facts gathers what is judged, and notes since when things are so.
func (g *Guard) facts(r *routev1.Route, slices []discoveryv1.EndpointSlice, objects int, k key, m *memory, now time.Time) Facts {
	f := Facts{Objects: objects, Drained: m.drained}
	if r == nil {
		f.MarklessSince = since(&m.marklessSince, true, now)
		return f
	}
	since(&m.marklessSince, false, now)
	f.Session = session.Of(r)
	if f.Session == nil || f.Session.ID != k.id {
		f.Session = nil
		f.MarklessSince = since(&m.marklessSince, true, now)
		return f
	}
	own := session.ServiceName(k.id)
	f.Label = r.Labels[session.Label] == k.id
	f.Ready = len(route.Endpoints(r, own, slices))
	for _, b := range route.Backends(r, nil) {
		if b.Service != own {
			f.Others += int(b.Value())
		}
	}
	if j := f.Session.Journal; j != nil {
		f.SameUID = j.RouteUID == string(r.UID)
	}
	f.UnreadySince = since(&m.unreadySince, f.Session.State == session.Live && f.Ready == 0, now)
	f.DrainingSince = since(&m.drainingSince, f.Session.State == session.Draining, now)
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

func deref[T any](list []*T) []T {
	out := make([]T, 0, len(list))
	for _, p := range list {
		out = append(out, *p)
	}
	return out
}
