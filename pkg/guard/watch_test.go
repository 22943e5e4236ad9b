package guard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// watchedID is the session of the objects below.
const watchedID = "bcdfghjk"

// asCached is an object as the caches keep it. They keep it once, also if it came with a list.
func asCached(t *testing.T, o any) any {
	t.Helper()
	kept, err := keep(o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := keep(kept); err != nil || again != kept {
		t.Errorf("%T is kept again as %T: %v", o, again, err)
	}
	return kept
}

// sessionsOf are the sessions that an object belongs to, by Route.
func sessionsOf(c *caches, o any) []key {
	keys := c.keysOf(o)
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.route, b.route) })
	return keys
}

// cachesOfRoutes are caches with some Routes and nothing else.
func cachesOfRoutes(t *testing.T, routes ...*routev1.Route) *caches {
	t.Helper()
	c := &caches{routes: cache.NewSharedIndexInformer(&cache.ListWatch{}, &routev1.Route{}, 0, cache.Indexers{bySession: indexSession})}
	for _, r := range routes {
		if err := c.routes.GetIndexer().Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// fullMeta is the metadata of an object of the session on route shop/web, with all that an API server
// and other users write.
func fullMeta(name string) metav1.ObjectMeta {
	deleted := metav1.NewTime(time.Unix(1000, 0))
	return metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: "uid-1", ResourceVersion: "7", Generation: 3, DeletionTimestamp: &deleted,
		CreationTimestamp: metav1.NewTime(time.Unix(900, 0)), Finalizers: []string{"shop.example.com/keep"},
		Labels: map[string]string{record.Label: watchedID, discoveryv1.LabelServiceName: record.ServiceName(watchedID), "app": "web"},
		Annotations: map[string]string{
			record.RouteNameKey: "web", record.RouteUIDKey: "route-uid", record.JournalKey: "{}", "example.com/notes": strings.Repeat("x", 1000),
		},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Route", Name: "web", UID: "route-uid"}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: record.FieldManager, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
	}
}

// keptMeta is what the guard reads of that.
func keptMeta(name string) metav1.ObjectMeta {
	full := fullMeta(name)
	return metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: "uid-1", ResourceVersion: "7",
		CreationTimestamp: full.CreationTimestamp, DeletionTimestamp: full.DeletionTimestamp,
		Labels:      map[string]string{record.Label: watchedID, discoveryv1.LabelServiceName: record.ServiceName(watchedID)},
		Annotations: map[string]string{record.RouteNameKey: "web", record.RouteUIDKey: "route-uid"},
	}
}

// keptRouteMeta is what the guard reads of a Route's: only there is the journal read.
func keptRouteMeta(name string) metav1.ObjectMeta {
	kept := keptMeta(name)
	kept.Annotations = map[string]string{record.JournalKey: "{}"}
	return kept
}

func sandboxService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: fullMeta(record.ServiceName(watchedID)),
		Spec:       corev1.ServiceSpec{Selector: map[string]string{record.Label: watchedID}, ClusterIP: "172.30.0.9"},
	}
}

func sandboxPod() *corev1.Pod {
	class := "kata"
	return &corev1.Pod{
		ObjectMeta: fullMeta(record.PodName(watchedID, 0)),
		Spec: corev1.PodSpec{
			RuntimeClassName: &class, NodeName: "worker-1", ServiceAccountName: "web",
			Containers: []corev1.Container{{Name: "web", Image: "quay.io/shop/web:1", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}, {Name: record.Sidecar}},
			Volumes:    []corev1.Volume{{Name: "data"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func sandboxSlice() *discoveryv1.EndpointSlice {
	name, port, ready, node := "http", int32(8080), true, "worker-1"
	return &discoveryv1.EndpointSlice{
		ObjectMeta: fullMeta(record.ServiceName(watchedID) + "-x"), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: &node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: record.PodName(watchedID, 0)},
		}},
	}
}

// armedRoute is route shop/web with the session on it.
func armedRoute(t *testing.T) *routev1.Route {
	t.Helper()
	weight := int32(100)
	r := &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "route-uid", Labels: map[string]string{"app": "web"}},
		Spec: routev1.RouteSpec{
			Host: "web.example.com", Path: "/shop", To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &weight},
			Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")}, TLS: &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge, Key: "secret"},
		},
		Status: routev1.RouteStatus{Ingress: []routev1.RouteIngress{{RouterName: "default"}}},
	}
	j := &record.Journal{Version: record.JournalVersion, Session: watchedID, State: record.Arming, RouteUID: "route-uid", User: "alice"}
	if err := record.ArmRoute(j, r)(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The caches keep of an object only what the guard reads.
func TestTheCachesKeepOnlyWhatTheGuardReads(t *testing.T) {
	r := &routev1.Route{ObjectMeta: fullMeta("web"), Spec: armedRoute(t).Spec, Status: armedRoute(t).Status}
	service, pod, slice, isKept := sandboxService(), sandboxPod(), sandboxSlice(), metav1.TypeMeta{Kind: stripped}
	wantSlice := &discoveryv1.EndpointSlice{TypeMeta: isKept, ObjectMeta: keptMeta(slice.Name), AddressType: slice.AddressType, Ports: slice.Ports}
	for _, e := range slice.Endpoints {
		e.NodeName = nil
		wantSlice.Endpoints = append(wantSlice.Endpoints, e)
	}
	for _, c := range []struct{ full, want any }{
		{r, &routev1.Route{
			TypeMeta: isKept, ObjectMeta: keptRouteMeta("web"),
			Spec: routev1.RouteSpec{To: r.Spec.To, AlternateBackends: r.Spec.AlternateBackends, Port: r.Spec.Port},
		}},
		{service, &part{ObjectMeta: identity(&service.ObjectMeta), id: watchedID, route: "web"}},
		{pod, &part{ObjectMeta: identity(&pod.ObjectMeta), id: watchedID, route: "web", node: "worker-1"}},
		{slice, wantSlice},
		{&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}, &part{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}},
		{cache.DeletedFinalStateUnknown{Key: "shop/web"}, cache.DeletedFinalStateUnknown{Key: "shop/web"}},
	} {
		if got := asCached(t, c.full); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%T is kept as %+v\nwant %+v", c.full, got, c.want)
		}
	}
}

// By what the caches keep, the guard sees the same session, backends and endpoints as on the API server.
func TestTheCachesShowTheSameSession(t *testing.T) {
	r, slice := armedRoute(t), sandboxSlice()
	cached, cachedSlice := asCached(t, r).(*routev1.Route), asCached(t, slice).(*discoveryv1.EndpointSlice)
	if was, got := record.Of(r), record.Of(cached); was == nil || was.Journal == nil || !reflect.DeepEqual(got, was) {
		t.Errorf("session %+v, was %+v", got, was)
	}
	if was, got := route.Backends(r, nil), route.Backends(cached, nil); len(was) != 2 || !reflect.DeepEqual(got, was) {
		t.Errorf("backends %+v, were %+v", got, was)
	}
	own := record.ServiceName(watchedID)
	was := route.Endpoints(r, own, []discoveryv1.EndpointSlice{*slice})
	if got := route.Endpoints(cached, own, []discoveryv1.EndpointSlice{*cachedSlice}); len(was) != 1 || !reflect.DeepEqual(got, was) {
		t.Errorf("endpoints %+v, were %+v", got, was)
	}
}

// A journal that is too long to be read takes little memory, and is still too long.
func TestAJournalThatIsTooLongIsCut(t *testing.T) {
	r := armedRoute(t)
	r.Annotations[record.JournalKey] += strings.Repeat(" ", 10*record.MaxJournal)
	cached := asCached(t, r).(*routev1.Route)
	if n := len(cached.Annotations[record.JournalKey]); n > 2*record.MaxJournal {
		t.Errorf("%d bytes are kept", n)
	}
	if s := record.Of(cached); s == nil || reason.CodeOf(s.Broken) != reason.JournalTooLong {
		t.Errorf("session %+v, want %s", s, reason.JournalTooLong)
	}
}

// Nobody can fill the guard's memory with objects that have a session's label, however large they are.
func TestAnObjectIsKeptSmall(t *testing.T) {
	long := strings.Repeat("x", 48<<10)
	meta := fullMeta("web")
	meta.Annotations = map[string]string{record.RouteNameKey: long, record.RouteUIDKey: long, record.JournalKey: long, "example.com/notes": long}
	pod, slice, r := sandboxPod(), sandboxSlice(), &routev1.Route{Spec: routev1.RouteSpec{Host: long, Path: long, Port: &routev1.RoutePort{TargetPort: intstr.FromString(long)}}}
	pod.ObjectMeta, slice.ObjectMeta, r.ObjectMeta = meta, meta, meta
	backend := routev1.RouteTargetReference{Kind: long, Name: long}
	r.Spec.To = backend
	slice.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: long, Namespace: long, Name: long, FieldPath: long}
	for range 1000 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: long[:63]})
		slice.Endpoints = append(slice.Endpoints, slice.Endpoints[0])
		slice.Ports = append(slice.Ports, slice.Ports[0])
		r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, backend)
	}
	for o, most := range map[any]int{&corev1.Service{ObjectMeta: meta}: 1 << 10, pod: 1 << 10, slice: 25 << 10, r: 10 << 10} {
		kept := asCached(t, o)
		text, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > most {
			t.Errorf("%T: %d bytes are kept, want at most %d", o, len(text), most)
		}
	}
}

// A Route belongs to its own session, and an object to the session on the Route that it names. An
// object that cannot be a session's belongs to none, whatever labels it has.
func TestWhichSessionAnObjectBelongsTo(t *testing.T) {
	r := armedRoute(t)
	twin, elsewhere := armedRoute(t), armedRoute(t) // with a copy of the session's marks
	twin.Name, elsewhere.Namespace = "twin", "team"
	c := cachesOfRoutes(t, r, twin, elsewhere)
	web := key{namespace: "shop", id: watchedID, route: "web"}
	service := func(change func(*corev1.Service)) *corev1.Service {
		s := sandboxService()
		change(s)
		return s
	}
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := sandboxPod()
		change(p)
		return p
	}
	unknown := sandboxSlice()
	unknown.Labels[record.Label] = "zxwvtsrq"
	for _, test := range []struct {
		name   string
		object any
		want   []key
	}{
		{"Route", r, []key{web}},
		{"Service", sandboxService(), []key{web}},
		{"Service of another name", service(func(s *corev1.Service) { s.Name = "web" }), nil},
		{"Service of another session's name", service(func(s *corev1.Service) { s.Name = record.ServiceName("zxwvtsrq") }), nil},
		{"Service that names no Route", service(func(s *corev1.Service) { delete(s.Annotations, record.RouteNameKey) }), nil},
		{"pod", sandboxPod(), []key{web}},
		{"pod without a runtime class", pod(func(p *corev1.Pod) { p.Spec.RuntimeClassName = nil }), nil},
		{"pod without a sidecar", pod(func(p *corev1.Pod) { p.Spec.Containers = p.Spec.Containers[:1] }), nil},
		{"pod that names no Route", pod(func(p *corev1.Pod) { delete(p.Annotations, record.RouteNameKey) }), nil},
		{"pod of another Route", pod(func(p *corev1.Pod) { p.Annotations[record.RouteNameKey] = "twin" }), []key{{"shop", watchedID, "twin"}}},
		{"EndpointSlice, of every Route with its label", sandboxSlice(), []key{{"shop", watchedID, "twin"}, web}},
		{"EndpointSlice of a session without a Route", unknown, nil},
		{"another kind", &corev1.Secret{ObjectMeta: fullMeta("web")}, nil},
		{"no object", "web", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := sessionsOf(c, test.object); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if got := sessionsOf(c, asCached(t, test.object)); !slices.Equal(got, test.want) {
				t.Errorf("as cached: got %v, want %v", got, test.want)
			}
		})
	}
}

// A list is read page by page, each page once, and the informer gets it as one page.
func TestAListIsReadPageByPage(t *testing.T) {
	const objects = 2*listPage + 1
	calls := 0
	list := newPages().paged(func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
		calls++
		first, _ := strconv.Atoi(o.Continue)
		page := &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
		for n := first; n < min(objects, first+int(o.Limit)); n++ {
			page.Items = append(page.Items, corev1.Service{ObjectMeta: fullMeta(strconv.Itoa(n))})
		}
		if left := int64(objects - first - len(page.Items)); left > 0 {
			page.Continue, page.RemainingItemCount = strconv.Itoa(first+len(page.Items)), &left
		}
		return page, nil
	}, keep)
	got, err := list(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	whole := got.(*keptList)
	if calls != 3 || len(whole.Items) != objects || whole.Continue != "" || whole.RemainingItemCount != nil || whole.ResourceVersion != "7" {
		t.Errorf("%d pages, %d objects, %+v", calls, len(whole.Items), whole.ListMeta)
	}
	for n, o := range whole.Items {
		if p, ok := o.(*part); !ok || p.Name != strconv.Itoa(n) || p.id != watchedID {
			t.Fatalf("object %d is %+v", n, o)
		}
	}
}

// All lists together read maxPages pages at a time, however many there are. One that waits for its turn ends with its
// context.
func TestFewPagesAreReadAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reading, tooMany, read atomic.Int32
		all := newPages()
		page := func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			if reading.Add(1) > maxPages {
				tooMany.Add(1)
			}
			time.Sleep(time.Second)
			reading.Add(-1)
			read.Add(1)
			return &corev1.ServiceList{}, nil
		}
		for range 3 * maxPages {
			go func() {
				if _, err := all.paged(page, keep)(t.Context(), metav1.ListOptions{}); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := all.paged(page, keep)(ctx, metav1.ListOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a list that waits: %v", err)
		}
		time.Sleep(3 * time.Second)
		if n := tooMany.Load(); n > 0 || read.Load() != 3*maxPages {
			t.Errorf("%d pages were read, %d of them while %d others were", read.Load(), n, maxPages)
		}
	})
}

// The caches keep little of a Service or pod, and do not index one that cannot be a session's.
func TestWhatTheCachesKeepOfAPart(t *testing.T) {
	misnamed := sandboxPod()
	misnamed.Name = "web-7d44d67cbb-mmrw6"
	for name, c := range map[string]struct {
		object      any
		route, node string
	}{
		"Service":          {sandboxService(), "web", ""},
		"pod":              {sandboxPod(), "web", "worker-1"},
		"a pod's own name": {misnamed, "", "worker-1"},
	} {
		kept, err := keep(c.object)
		p, ok := kept.(*part)
		if err != nil || !ok {
			t.Fatalf("%s is kept as %T: %v", name, kept, err)
		}
		if p.route != c.route || p.node != c.node || p.id != watchedID || p.UID != "uid-1" || p.Labels != nil || p.Annotations != nil {
			t.Errorf("%s is kept as %+v", name, p)
		}
		again, _ := keep(p)
		values, err := indexSession(p)
		if again != any(p) || err != nil || len(values) != len(sessionsOf(&caches{}, p)) || (len(values) == 1) != (c.route != "") {
			t.Errorf("%s is indexed by %q: %v", name, values, err)
		}
	}
}
