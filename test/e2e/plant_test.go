//go:build e2e

package e2e

import (
	"cmp"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// plant puts a session of alice on a Route with one ready sandbox pod, in the way that shift would
// have left it in a state. The session ends after left.
func (e *env) plant(route string, state record.State, left time.Duration) *record.Journal {
	e.t.Helper()
	ctx := e.t.Context()
	store := store.Store{Core: core, Routes: routes}
	r, err := routes.RouteV1().Routes(e.ns).Get(ctx, route, metav1.GetOptions{})
	e.ok(err)
	j := &record.Journal{
		Version: record.JournalVersion, Session: record.NewID(), State: record.Arming, RouteUID: string(r.UID), User: "alice", Asked: 100,
		Workload: "deployment/web", Pods: 1, Servers: 2, // most tests run one; where there is an autoscaler, it seems to have removed the other
		ArmBy: metav1.NewTime(time.Now().Add(left).Truncate(time.Second)),
	}
	r, err = store.Arm(ctx, r, j)
	e.ok(err)
	service, pod := e.sandboxObjects(r, j.Session)
	_, err = core.CoreV1().Services(e.ns).Create(ctx, service, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.CoreV1().Pods(e.ns).Create(ctx, pod, metav1.CreateOptions{})
	e.ok(err)
	if state == record.Arming {
		return j
	}
	e.waitForEndpoints(service.Name, true)
	r = e.goLive(route, j, left)
	switch state {
	case record.Held:
		_, err = store.Hold(ctx, r, j.Session)
	case record.Draining:
		_, _, err = store.Restore(ctx, e.ns, route, j.Session, r)
	}
	e.ok(err)
	return j
}

// goLive gives a planted session all traffic; the session ends after left.
func (e *env) goLive(route string, j *record.Journal, left time.Duration) *routev1.Route {
	e.t.Helper()
	store := store.Store{Core: core, Routes: routes}
	j.State, j.Realised, j.Expires.Time = record.Live, 100, time.Now().Add(left).Truncate(time.Second)
	weights := map[string]int32{record.ServiceName(j.Session): 100}
	for _, b := range j.Before.Backends {
		weights[b.Service] = 0
	}
	r, err := store.Shift(e.t.Context(), e.getRoute(route), j, weights)
	e.ok(err)
	return r
}

// sandboxObjects returns the Service and the pod of a session.
func (e *env) sandboxObjects(r *routev1.Route, id string) (*corev1.Service, *corev1.Pod) {
	kata := "kata"
	meta := metav1.ObjectMeta{
		Name: record.ServiceName(id), Labels: map[string]string{record.Label: id},
		Annotations:     map[string]string{record.RouteUIDKey: string(r.UID), record.RouteNameKey: r.Name},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "route.openshift.io/v1", Kind: "Route", Name: r.Name, UID: r.UID}},
	}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: meta.Labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}
	meta.Name = record.PodName(id, 0)
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{RuntimeClassName: &kata, Containers: []corev1.Container{
		{Name: "web", Image: fakeImage, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: plainPort}}},
		{Name: "osc-debug", Image: fakeImage},
	}}}
	onNode(&pod.Spec, cmp.Or(e.node, fakeNode))
	return service, pod
}

// waitForEndpoints waits until a Service has a ready endpoint or, if ready is false, has none.
func (e *env) waitForEndpoints(service string, ready bool) {
	e.t.Helper()
	e.eventually("endpoints of "+service, func() bool {
		list, err := core.DiscoveryV1().EndpointSlices(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service, ResourceVersion: "0"})
		e.ok(err)
		n := 0
		for _, s := range list.Items {
			for _, p := range s.Endpoints {
				if p.Conditions.Ready != nil && *p.Conditions.Ready {
					n++
				}
			}
		}
		return ready == (n > 0)
	})
}

// createPlainRoute creates a Route and does not wait for a router to serve it.
func (e *env) createPlainRoute(name string) *routev1.Route {
	e.t.Helper()
	weight := int32(100)
	r, err := routes.RouteV1().Routes(e.ns).Create(e.t.Context(), &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: routev1.RouteSpec{Host: name + "-" + e.ns + ".apps.osc-debug.test", To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &weight}}}, metav1.CreateOptions{})
	e.ok(err)
	return r
}
