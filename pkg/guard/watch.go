package guard

import (
	"context"
	"fmt"
	"strings"

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

// key names a session on a Route. Who may label a Route can give it another's session
// label: each Route is judged by its own marks, and objects by the Route that they name.
type key struct{ namespace, id, route string }

// byKey is the index of all caches.
const byKey = "session"

// watched are the caches of one namespace, or of all: only what has a session's label.
type watched struct {
	routes, services, slices, pods cache.SharedIndexInformer
}

func (w *watched) all() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{w.routes, w.services, w.slices, w.pods}
}

// watchNamespace makes the caches; changed is told the sessions of each event.
func (g *Guard) watchNamespace(namespace string, changed func(k key, urgent bool)) (*watched, error) {
	scope := namespace
	if namespace == settings.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	routes, core := g.Urgent.Routes.RouteV1().Routes(namespace), g.Urgent.Core
	w := &watched{
		routes: g.informer(&routev1.Route{},
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return routes.List(ctx, o) },
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return routes.Watch(ctx, o) }),
		services: g.informer(&corev1.Service{},
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return core.CoreV1().Services(namespace).List(ctx, o)
			},
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return core.CoreV1().Services(namespace).Watch(ctx, o)
			}),
		slices: g.informer(&discoveryv1.EndpointSlice{},
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return core.DiscoveryV1().EndpointSlices(namespace).List(ctx, o)
			},
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return core.DiscoveryV1().EndpointSlices(namespace).Watch(ctx, o)
			}),
		pods: g.informer(&corev1.Pod{},
			func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return core.CoreV1().Pods(namespace).List(ctx, o)
			},
			func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return core.CoreV1().Pods(namespace).Watch(ctx, o)
			}),
	}
	tell := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		for _, k := range w.keysOf(o) {
			changed(k, w.urgent(k, o))
		}
	}
	for _, i := range w.all() {
		if err := i.SetTransform(slim); err != nil {
			return nil, err
		}
		err := i.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			if apierrors.IsForbidden(err) {
				g.checkRights(ctx, scope)
			}
			cache.DefaultWatchErrorHandler(ctx, r, err)
		})
		if err != nil {
			return nil, err
		}
		_, err = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: tell, DeleteFunc: tell,
			UpdateFunc: func(old, now any) { tell(old); tell(now) }, // the label may have another value
		})
		if err != nil {
			return nil, fmt.Errorf("watch namespace %q: %w", namespace, err)
		}
	}
	return w, nil
}

type (
	lister  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watcher func(context.Context, metav1.ListOptions) (watch.Interface, error)
)

func (g *Guard) informer(kind runtime.Object, list lister, follow watcher) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = record.Label
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = record.Label
			w, err := follow(ctx, o)
			if err != nil {
				return nil, err
			}
			return expiring(w, g.Relist), nil
		},
	}, kind, 0, cache.Indexers{
		byKey: func(o any) ([]string, error) {
			m, err := meta.Accessor(o)
			if err != nil {
				return nil, err
			}
			return []string{byKeyOf(m.GetNamespace(), m.GetLabels()[record.Label])}, nil
		},
		byNode: func(o any) ([]string, error) {
			if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName != "" {
				return []string{p.Spec.NodeName}, nil
			}
			return nil, nil
		},
	})
}

func byKeyOf(namespace, id string) string { return namespace + "/" + id }

// urgent says whether somebody's traffic may depend on what changed: a Route with marks, or
// that had some, or an object of a session whose Route is known. Other objects, which anybody
// can make by the thousand, must not keep those waiting.
func (w *watched) urgent(k key, o any) bool {
	_, isRoute := o.(*routev1.Route)
	return isRoute || w.cachedRoute(k) != nil
}

// keysOf are the sessions that an object belongs to: a Route bears its own, a session's
// Service or pod names its Route, an EndpointSlice is of every Route with its label.
func (w *watched) keysOf(o any) []key {
	m, err := meta.Accessor(o)
	if err != nil {
		return nil
	}
	k := key{namespace: m.GetNamespace(), id: m.GetLabels()[record.Label]}
	switch o.(type) {
	case *routev1.Route:
		k.route = m.GetName()
	case *discoveryv1.EndpointSlice:
		var out []key
		for _, r := range of[*routev1.Route](w.routes, k) {
			out = append(out, key{k.namespace, k.id, r.Name})
		}
		return out
	default:
		k.route = partOf(o)
	}
	if k.route == "" {
		return nil // nothing of it names a Route: not ours to touch
	}
	return []key{k}
}

// partOf is the Route that a session's Service or pod names; "" for what can't be one: the
// Service is named after its session, and a sandbox runs under a runtime class beside the
// sidecar.
func partOf(o any) string {
	switch o := o.(type) {
	case *corev1.Service:
		if o.Name == record.ServiceName(o.Labels[record.Label]) {
			return o.Annotations[record.RouteNameKey]
		}
	case *corev1.Pod:
		if o.Spec.RuntimeClassName != nil && hasSidecar(o) {
			return o.Annotations[record.RouteNameKey]
		}
	}
	return ""
}

func namespaceOf(o any) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetNamespace()
}

func (k key) String() string { return k.namespace + "/" + k.route + "/" + k.id }

// slim leaves of an object what the guard looks at, so that a thousand sessions fit in
// little memory, and what others write on labelled objects of theirs does not fill it.
func slim(o any) (any, error) {
	switch o := o.(type) {
	case *routev1.Route:
		spec := routev1.RouteSpec{To: o.Spec.To, AlternateBackends: o.Spec.AlternateBackends, Port: o.Spec.Port}
		return &routev1.Route{ObjectMeta: slimMeta(&o.ObjectMeta), Spec: spec}, nil
	case *corev1.Service:
		return &corev1.Service{ObjectMeta: slimMeta(&o.ObjectMeta)}, nil
	case *corev1.Pod:
		var containers []corev1.Container
		for _, c := range o.Spec.Containers {
			containers = append(containers, corev1.Container{Name: c.Name})
		}
		return &corev1.Pod{ObjectMeta: slimMeta(&o.ObjectMeta), Spec: corev1.PodSpec{
			RuntimeClassName: o.Spec.RuntimeClassName, NodeName: o.Spec.NodeName, Containers: containers,
		}}, nil
	case *discoveryv1.EndpointSlice:
		s := &discoveryv1.EndpointSlice{ObjectMeta: slimMeta(&o.ObjectMeta), AddressType: o.AddressType, Ports: o.Ports}
		for _, e := range o.Endpoints {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: e.Conditions, TargetRef: e.TargetRef})
		}
		return s, nil
	}
	return o, nil
}

// slimMeta keeps who an object is and which session it names.
func slimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
		Labels:      kept(m.Labels, record.Label, discoveryv1.LabelServiceName),
		Annotations: kept(m.Annotations, record.RouteNameKey, record.RouteUIDKey, record.JournalKey),
	}
}

func kept(set map[string]string, keys ...string) map[string]string {
	var out map[string]string
	for _, k := range keys {
		v, there := set[k]
		if !there {
			continue
		}
		if len(v) > record.MaxJournal { // it can't be read anyway
			v = strings.Clone(v[:record.MaxJournal+1])
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out
}

// of gives the objects of a kind that bear a session's label.
func of[T any](i cache.SharedIndexInformer, k key) []T {
	found, err := i.GetIndexer().ByIndex(byKey, byKeyOf(k.namespace, k.id))
	if err != nil {
		return nil // the index is there: it was made with the cache
	}
	var out []T
	for _, o := range found {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// objects counts the session's Services and pods.
func (w *watched) objects(k key) (n int) {
	for _, s := range of[*corev1.Service](w.services, k) {
		if partOf(s) == k.route {
			n++
		}
	}
	return n + len(w.podsOf(k))
}

// podsOf are the session's pods.
func (w *watched) podsOf(k key) (out []*corev1.Pod) {
	for _, p := range of[*corev1.Pod](w.pods, k) {
		if partOf(p) == k.route {
			out = append(out, p)
		}
	}
	return out
}
