package guard

import (
	"context"
	"fmt"
	"slices"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/settings"
)

// key identifies a session on a Route. The session ID alone would not do: a user who can label a Route
// can copy the label of another session. The guard therefore decides about each Route by that Route's
// own marks, and about other objects by the Route that they name.
type key struct{ namespace, id, route string }

// bySession is the index of all caches by namespace and session ID.
const bySession = "session"

// caches hold the objects of one namespace, or of all, that have a session's label.
type caches struct {
	routes, services, slices, pods cache.SharedIndexInformer
}

// all lists the caches.
func (c *caches) all() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{c.routes, c.services, c.slices, c.pods}
}

// newCaches makes the caches of a namespace. They report each session that an event concerns to the Guard that
// current returns, which may be a later one than g.
func (g *Guard) newCaches(namespace string, current func() *Guard) (*caches, error) {
	scope := namespace
	if namespace == settings.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	routes, core := g.Urgent.Routes.RouteV1().RESTClient(), g.Urgent.Core
	c := &caches{
		routes:   g.newInformer(routes, "routes", namespace, &routev1.Route{}, hasLabel),
		services: g.newInformer(core.CoreV1().RESTClient(), "services", namespace, &corev1.Service{}, hasLabel),
		slices:   g.newInformer(core.DiscoveryV1().RESTClient(), "endpointslices", namespace, &discoveryv1.EndpointSlice{}, hasLabel),
		pods:     g.newInformer(core.CoreV1().RESTClient(), "pods", namespace, &corev1.Pod{}, hasLabel),
	}
	handle := func(o any) {
		if deleted, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = deleted.Obj
		}
		for _, k := range c.keysOf(o) {
			current().enqueue(k, c.isUrgent(k, o))
		}
	}
	for _, i := range c.all() {
		if err := i.SetTransform(keep); err != nil {
			return nil, err
		}
		err := i.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) {
				current().checkRights(ctx, scope)
			}
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
		if err != nil {
			return nil, err
		}
		_, err = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: handle, DeleteFunc: handle,
			UpdateFunc: func(before, after any) { handle(before); handle(after) }, // the session ID in the label may have changed
		})
		if err != nil {
			return nil, fmt.Errorf("watch namespace %q: %w", namespace, err)
		}
	}
	return c, nil
}

// hasLabel selects what has a session's label.
func hasLabel(o *metav1.ListOptions) { o.LabelSelector = record.Label }

// newInformer makes a cache of the objects of a resource that are selected. It lists them again
// every now and then: see newExpiringWatch.
func (g *Guard) newInformer(client cache.Getter, resource, namespace string, kind runtime.Object, selected func(*metav1.ListOptions)) cache.SharedIndexInformer {
	source := cache.NewFilteredListWatchFromClient(client, resource, namespace, selected)
	source.ListWithContextFunc = g.pool.pages.paged(source.ListWithContextFunc, keep)
	start := source.WatchFuncWithContext
	source.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := start(ctx, o)
		if err != nil {
			return nil, err
		}
		return newExpiringWatch(w, g.Relist), nil
	}
	return cache.NewSharedIndexInformer(source, kind, 0, cache.Indexers{bySession: indexSession, byNode: indexNode})
}

func indexSession(o any) ([]string, error) {
	if p := partOf(o); p != nil {
		if p.route == "" {
			return nil, nil
		}
		return []string{sessionIndex(p.Namespace, p.id)}, nil
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	return []string{sessionIndex(m.GetNamespace(), m.GetLabels()[record.Label])}, nil
}

func indexNode(o any) ([]string, error) {
	if p := partOf(o); p != nil && p.node != "" {
		return []string{p.node}, nil
	}
	return nil, nil
}

// sessionIndex returns a value of the index bySession.
func sessionIndex(namespace, id string) string { return namespace + "/" + id }

// isUrgent reports whether users' traffic may depend on an object that changed: a Route that has or
// had marks, or an object of a session whose Route is in the cache. Any user can create thousands of
// other objects with the label, and these must not delay the urgent ones.
func (c *caches) isUrgent(k key, o any) bool {
	_, isRoute := o.(*routev1.Route)
	return isRoute || c.cachedRoute(k) != nil
}

// keysOf lists the sessions that an object belongs to. A Route has its own marks, a session's Service
// or pod names its Route, and an EndpointSlice belongs to every Route with the same label.
func (c *caches) keysOf(o any) []key {
	if p := partOf(o); p != nil {
		if p.route == "" {
			return nil // it names no Route, so it is not a session's
		}
		return []key{{p.Namespace, p.id, p.route}}
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil
	}
	k := key{namespace: m.GetNamespace(), id: m.GetLabels()[record.Label]}
	switch o.(type) {
	case *routev1.Route:
		k.route = m.GetName()
		return []key{k}
	case *discoveryv1.EndpointSlice:
		if m.GetLabels()[discoveryv1.LabelServiceName] != record.ServiceName(k.id) {
			return nil // of another Service with the label
		}
		var out []key
		for _, r := range objectsOf[*routev1.Route](c.routes, k) {
			out = append(out, key{k.namespace, k.id, r.Name})
		}
		return out
	}
	return nil
}

// namespaceOf returns the namespace of an object, "" if it has no metadata.
func namespaceOf(o any) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetNamespace()
}

// String returns namespace/route/id, for the log.
func (k key) String() string { return k.namespace + "/" + k.route + "/" + k.id }

// objectsOf lists the objects in a cache that have a session's label. Some may belong to another Route
// than the key's.
func objectsOf[T any](i cache.SharedIndexInformer, k key) []T {
	found, err := i.GetIndexer().ByIndex(bySession, sessionIndex(k.namespace, k.id))
	if err != nil {
		return nil // cannot happen: every cache has the index
	}
	var out []T
	for _, o := range found {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// countObjects counts the Services and pods of a session.
func (c *caches) countObjects(k key) int { return len(c.servicesOf(k)) + len(c.podsOf(k)) }

// createdAt returns when the first Service or pod of a session was created, zero if there is none.
func (c *caches) createdAt(k key) (first time.Time) {
	for _, p := range slices.Concat(c.servicesOf(k), c.podsOf(k)) {
		first = earliest(first, p.CreationTimestamp.Time)
	}
	return first
}

// servicesOf lists the Services of a session.
func (c *caches) servicesOf(k key) []*part { return partsOf(c.services, k) }

// podsOf lists the pods of a session.
func (c *caches) podsOf(k key) []*part { return partsOf(c.pods, k) }

func partsOf(i cache.SharedIndexInformer, k key) []*part {
	return slices.DeleteFunc(objectsOf[*part](i, k), func(p *part) bool { return p.route != k.route })
}
