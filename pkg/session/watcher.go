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
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// watcher follows what one session needs: its pods, its Route, and the namespace's
// EndpointSlices, since the share depends on the originals' endpoints too. It says that
// something changed; what is there is read from caches.
type watcher struct {
	pods, slices, route cache.SharedInformer
	changed             chan struct{}
	cancel              context.CancelFunc
	done                sync.WaitGroup
}

// listWatch is a cache.ListWatch whose first list is known already: what was written or
// read a moment ago, with the resourceVersion to watch from. It lists before it watches,
// which any API server can do, where a streamed list falls back to that on older ones.
type listWatch struct {
	cache.ListWatch
	known runtime.Object // nil: ask for the first list too
}

// IsWatchListSemanticsUnSupported is how client-go asks for that.
func (*listWatch) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext is one of cache.ListerWatcherWithContext's two methods.
func (l *listWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if known := l.known; known != nil {
		l.known = nil
		return known, nil
	}
	return l.ListWatch.ListWithContext(ctx, o)
}

// watchSession begins to watch. current and pods are the Route and the session's pods as
// they were just written, ns what preflight read; nil: nobody has, they are listed.
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
	w.pods = cache.NewSharedInformer(&listWatch{known: podsKnown, ListWatch: cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			bySession(&o)
			return core.CoreV1().Pods(namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			bySession(&o)
			return core.CoreV1().Pods(namespace).Watch(ctx, o)
		},
	}}, &corev1.Pod{}, 0)
	var slicesKnown runtime.Object
	if ns != nil {
		slicesKnown = &discoveryv1.EndpointSliceList{ListMeta: metav1.ListMeta{ResourceVersion: ns.SlicesVersion}, Items: ns.Slices}
	}
	w.slices = cache.NewSharedInformer(&listWatch{known: slicesKnown, ListWatch: cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return core.DiscoveryV1().EndpointSlices(namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return core.DiscoveryV1().EndpointSlices(namespace).Watch(ctx, o)
		},
	}}, &discoveryv1.EndpointSlice{}, 0)
	routeKnown := &routev1.RouteList{ListMeta: metav1.ListMeta{ResourceVersion: current.ResourceVersion}, Items: []routev1.Route{*current}}
	w.route = cache.NewSharedInformer(&listWatch{known: routeKnown, ListWatch: cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			byName(&o)
			return routes.RouteV1().Routes(namespace).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			byName(&o)
			return routes.RouteV1().Routes(namespace).Watch(ctx, o)
		},
	}}, &routev1.Route{}, 0)
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

// currentRoute is the Route as last seen, nil when it is gone. ok is false as long as
// nothing has been seen.
func (w *watcher) currentRoute() (r *routev1.Route, ok bool) {
	for _, o := range w.route.GetStore().List() {
		return o.(*routev1.Route), true
	}
	return nil, w.route.HasSynced()
}
