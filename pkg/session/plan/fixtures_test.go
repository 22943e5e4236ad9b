package plan_test

import (
	"fmt"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

const armFor = 2 * time.Minute

var (
	now  = time.Date(2026, 1, 2, 15, 4, 5, 987_000_000, time.UTC)
	ends = metav1.NewTime(time.Date(2026, 1, 2, 15, 34, 5, 0, time.UTC))
)

func ptr[T any](v T) *T { return &v }

// backend is a Service of the fixture's Route.
type backend struct {
	service string
	weight  *int32
	ready   int // endpoints
}

// shop is what preflight reads of namespace shop with route web. The first backend is the primary
// Service, whose ready pods are those of Deployment web.
func shop(primary backend, alternates ...backend) *preflight.Facts {
	r := &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "route-uid", ResourceVersion: "7"},
		Spec: routev1.RouteSpec{
			Host: "web.example.com",
			To:   routev1.RouteTargetReference{Kind: "Service", Name: primary.service, Weight: primary.weight},
			Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")},
		},
	}
	ns := &workload.Namespace{Name: "shop"}
	for i, b := range append([]backend{primary}, alternates...) {
		if i > 0 {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, routev1.RouteTargetReference{Kind: "Service", Name: b.service, Weight: b.weight})
		}
		ns.Services = append(ns.Services, corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: b.service},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": b.service},
				Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
			},
		})
		slice := discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: b.service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: b.service}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080)}},
		}
		for n := range b.ready {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.0.%d.%d", i, n+1)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("%s-6f7d-%d", b.service, n)},
			})
		}
		ns.Slices = append(ns.Slices, slice)
	}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": primary.service, "pod-template-hash": "6f7d"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "quay.io/shop/web:1", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"),
			}}, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		}}},
	}
	ns.ReplicaSets = []appsv1.ReplicaSet{{
		ObjectMeta: metav1.ObjectMeta{Name: "web-6f7d", UID: "replicaset-uid", OwnerReferences: controlledBy("Deployment", "web", "deployment-uid")},
		Spec:       appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
	}}
	for n := range primary.ready {
		ns.Pods = append(ns.Pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: fmt.Sprintf("web-6f7d-%d", n), Labels: template.Labels,
				OwnerReferences: controlledBy("ReplicaSet", "web-6f7d", "replicaset-uid"),
			},
			Spec:   *template.Spec.DeepCopy(),
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	return &preflight.Facts{Route: r, Namespace: ns, User: "alice", Now: now}
}

func controlledBy(kind, name string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{Kind: kind, Name: name, UID: uid, Controller: ptr(true)}}
}

// web is the primary backend with weight 100.
func web(ready int) backend { return backend{"web", ptr[int32](100), ready} }

// changeTemplate changes the template of Deployment web and its pods alike.
func changeTemplate(f *preflight.Facts, change func(*metav1.ObjectMeta, *corev1.PodSpec)) {
	template := &f.Namespace.ReplicaSets[0].Spec.Template
	change(&template.ObjectMeta, &template.Spec)
	for i := range f.Namespace.Pods {
		change(&f.Namespace.Pods[i].ObjectMeta, &f.Namespace.Pods[i].Spec)
	}
}

// admit lets routers serve the Route.
func admit(f *preflight.Facts, status corev1.ConditionStatus, routers ...string) {
	for _, router := range routers {
		f.Route.Status.Ingress = append(f.Route.Status.Ingress, routev1.RouteIngress{
			RouterName: router, Conditions: []routev1.RouteIngressCondition{{Type: routev1.RouteAdmitted, Status: status}},
		})
	}
}

func request(percent route.Percent, floor route.Floor) plan.Request {
	return plan.Request{
		Namespace: "shop", Route: "web", Percent: percent, Floor: floor,
		RuntimeClass: "kata", Image: "quay.io/osc-debug/sidecar@sha256:5de", TTL: 30 * time.Minute,
	}
}

// seesNodes is a guard that watches for cordoned nodes.
var seesNodes = plan.Guard{Nodes: true, Shape: record.PodShape}

func mustMake(t *testing.T, f *preflight.Facts, q plan.Request) *plan.Plan {
	t.Helper()
	p, err := plan.Make(f, q, plan.NoGuard, armFor)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustLive returns the Route as arming writes it, and as it is once the session is live.
func mustLive(t *testing.T, p *plan.Plan) (armed, live *routev1.Route) {
	t.Helper()
	armed, err := p.Armed()
	if err != nil {
		t.Fatal(err)
	}
	live, err = p.Live(armed, ends)
	if err != nil {
		t.Fatal(err)
	}
	return armed, live
}

// written takes the plan's Route through the first two patches of a session.
func written(t *testing.T, p *plan.Plan) (armed, live *routev1.Route) {
	t.Helper()
	j, judged := p.Journal, p.Facts.Route
	armed = judged.DeepCopy()
	if err := record.ArmRoute(&j, judged)(armed); err != nil {
		t.Fatal(err)
	}
	weights := map[string]int32{record.ServiceName(j.Session): p.Split.Sandbox}
	for i, b := range route.Backends(judged, nil) {
		weights[b.Service] = p.Split.Originals[i]
	}
	j.State, j.Realised, j.Failover, j.Expires = record.Live, p.Split.Share.Percent(), p.Floor == route.KeepFloor, ends
	live = armed.DeepCopy()
	if err := record.ShiftRoute(&j, weights, false)(live); err != nil {
		t.Fatal(err)
	}
	return armed, live
}

// weightOf is a Service's weight on the Route, -1 if it is none of its backends.
func weightOf(r *routev1.Route, service string) int32 {
	for _, b := range route.Backends(r, nil) {
		if b.Service == service {
			return b.Value()
		}
	}
	return -1
}
