package session

import (
	"context"
	"sync"

	routev1 "github.com/openshift/api/route/v1"
	routeclient "github.com/openshift/client-go/route/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// watcher watches what one session depends on: its pods, its Route, and all EndpointSlices of the
// namespace, because the share also depends on the originals' endpoints. It only signals that
// something changed; the state is read from its caches.
type watcher struct {
	pods, slices, route cache.SharedInformer
	changed             chan struct{}
	cancel              context.CancelFunc
	done                sync.WaitGroup
}

// listWatch is a cache.ListWatch whose first list is already known: what was written or read a
// moment ago, with the resourceVersion to watch from. It lists before it watches, which every API
// server supports. A streamed list would fall back to that on older ones.
type listWatch struct {
	*cache.ListWatch
	known runtime.Object // nil: request the first list too
}

// IsWatchListSemanticsUnSupported makes client-go list before it watches.
func (*listWatch) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext implements cache.ListerWatcherWithContext. A reflector asks for any version
// ("0") first, and a loaded API server may then answer with a state from before the session. So
// that request is made a consistent read.
func (l *listWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if known := l.known; known != nil {
		l.known = nil
		return known, nil
	}
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
	return l.ListWatch.ListWithContext(ctx, o)
}

// newInformer makes a cache of the selected objects of a resource.
func newInformer(client cache.Getter, resource, namespace string, selected func(*metav1.ListOptions), known, kind runtime.Object) cache.SharedInformer {
	return cache.NewSharedInformer(&listWatch{cache.NewFilteredListWatchFromClient(client, resource, namespace, selected), known}, kind, 0)
}

// watchSession starts the watches. current and pods are the Route and the session's pods as they
// were just written, ns is what preflight read. If pods or ns is nil, the objects are listed first.
func watchSession(ctx context.Context, core kubernetes.Interface, routes routeclient.Interface, current *routev1.Route, ns *workload.Namespace, pods []corev1.Pod, id string) (*watcher, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{changed: make(chan struct{}, 1), cancel: cancel}
	namespace := current.Namespace
	bySession := func(o *metav1.ListOptions) { o.LabelSelector = record.Label + "=" + id }
	byName := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", current.Name).String()
	}
	var podsKnown runtime.Object
	if len(pods) > 0 {
		podsKnown = &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: pods[0].ResourceVersion}, Items: pods}
	}
	var slicesKnown runtime.Object
	if ns != nil {
		slicesKnown = &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: ns.SlicesVersion}, Items: ns.Slices}
	}
	routeKnown := &routev1.RouteList{ListMeta: metav1.ListMeta{ResourceVersion: current.ResourceVersion}, Items: []routev1.Route{*current}}
	all := func(*metav1.ListOptions) {}
	w.pods = newInformer(core.CoreV1().RESTClient(), "pods", namespace, bySession, podsKnown, &corev1.Pod{})
	w.slices = newInformer(core.DiscoveryV1().RESTClient(), "endpointslices", namespace, all, slicesKnown, &discoveryv1.EndpointSlice{})
	w.route = newInformer(routes.RouteV1().RESTClient(), "routes", namespace, byName, routeKnown, &routev1.Route{})
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.notify() }, UpdateFunc: func(_, _ any) { w.notify() }, DeleteFunc: func(any) { w.notify() },
	}
	for _, i := range []cache.SharedInformer{w.pods, w.slices, w.route} {
		if _, err := i.AddEventHandler(handler); err != nil {
			cancel()
			return nil, err
		}
		w.done.Go(func() { i.RunWithContext(ctx) })
	}
	return w, nil
}

// notify signals a change.
func (w *watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// stop ends the watches and waits for them.
func (w *watcher) stop() {
	w.cancel()
	w.done.Wait()
}

func (w *watcher) endpointSlices() []discoveryv1.EndpointSlice {
	var out []discoveryv1.EndpointSlice
	for _, o := range w.slices.GetStore().List() {
		out = append(out, *o.(*discoveryv1.EndpointSlice))
	}
	return out
}

func (w *watcher) podList() []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range w.pods.GetStore().List() {
		out = append(out, o.(*corev1.Pod))
	}
	return out
}

// currentRoute returns the Route as last seen, nil if it is gone. ok is false until the first list.
func (w *watcher) currentRoute() (r *routev1.Route, ok bool) {
	for _, o := range w.route.GetStore().List() {
		return o.(*routev1.Route), true
	}
	return nil, w.route.HasSynced()
}
