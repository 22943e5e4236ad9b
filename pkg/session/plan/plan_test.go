package plan_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
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
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d", i, n+1)}})
		}
		ns.Slices = append(ns.Slices, slice)
	}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": primary.service, "pod-template-hash": "6f7d"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "quay.io/shop/web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
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

// The Route in the plan is byte for byte the one that a session's first two patches write: label,
// journal, weights and the sandbox's backend.
func TestThePlannedRouteIsTheOneThatASessionWrites(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   *preflight.Facts
		percent route.Percent
		floor   route.Floor
	}{
		{"one backend", shop(web(1)), 20, route.KeepFloor},
		{"no weight set", shop(backend{"web", nil, 1}), 20, route.KeepFloor},
		{"alternate backends", shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}), 50, route.KeepFloor},
		{"no clients", shop(web(1)), 0, route.KeepFloor},
		{"all clients, with a floor", shop(web(1)), 100, route.KeepFloor},
		{"all clients, exactly", shop(web(1)), 100, route.Exact},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustMake(t, c.facts, request(c.percent, c.floor))
			armed, live := mustLive(t, p)
			wantArmed, wantLive := written(t, p)
			if !reflect.DeepEqual(armed, wantArmed) {
				t.Errorf("armed: %+v\nwant   %+v", armed, wantArmed)
			}
			if !reflect.DeepEqual(live, wantLive) {
				t.Errorf("live: %+v\nwant  %+v", live, wantLive)
			}
			id := p.Input.Session
			if weightOf(armed, record.ServiceName(id)) != 0 || !reflect.DeepEqual(armed.Spec.To, c.facts.Route.Spec.To) {
				t.Errorf("arming shifts traffic: %+v", armed.Spec)
			}
			s := record.Of(live)
			if s == nil || s.Journal == nil {
				t.Fatalf("the live Route has no session: %+v", live.ObjectMeta)
			}
			if live.Labels[record.Label] != id || s.ID != id || s.State != record.Live || !s.Backend {
				t.Errorf("label %q, session %+v, want a live session %s with its backend", live.Labels[record.Label], s, id)
			}
			if !s.Journal.Expires.Time.Equal(ends.Time) || s.Journal.Asked != c.percent || s.Journal.Failover != (c.floor == route.KeepFloor) {
				t.Errorf("journal %+v", s.Journal)
			}
			if got := weightOf(live, record.ServiceName(id)); got != p.Split.Sandbox {
				t.Errorf("the sandbox has weight %d, want %d", got, p.Split.Sandbox)
			}
		})
	}
}

// Live needs a Route that is armed: without the journal there is nothing to shift.
func TestARouteThatIsNotArmedCannotBeLive(t *testing.T) {
	f := shop(web(1))
	p := mustMake(t, f, request(20, route.KeepFloor))
	if r, err := p.Live(f.Route, ends); err == nil {
		t.Errorf("got %+v, want an error", r.Spec)
	}
}

// The sandbox gets the share that was asked for, and the originals keep their ratio to each other
// in the rest. A backend without traffic gets none.
func TestOriginalBackendsKeepTheirRatio(t *testing.T) {
	f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}, backend{"c", ptr[int32](0), 1})
	p := mustMake(t, f, request(50, route.KeepFloor))
	_, live := mustLive(t, p)
	own := record.ServiceName(p.Input.Session)
	ready := f.Servers()
	ready[own] = len(p.Pods)
	shares := route.Shares(route.Backends(live, ready))
	// By weight, web has 60 of 80 clients and b has 20; half of them stay.
	for service, want := range map[string]float64{own: 0.5, "web": 0.375, "b": 0.125, "c": 0} {
		if got := float64(shares[service]); math.Abs(got-want) > 0.001 {
			t.Errorf("%s gets %.4f of new clients, want %.4f", service, got, want)
		}
	}
}

// At 100 percent, Exact takes every client from the originals. KeepFloor leaves each of them that had
// traffic a little, so that the router can fail over.
func TestWhatTheOriginalsKeepAtAHundredPercent(t *testing.T) {
	for _, c := range []struct {
		name  string
		floor route.Floor
		keeps map[string]bool // whether a Service has a weight
		least float64         // share of the sandbox
	}{
		{"exactly", route.Exact, map[string]bool{"web": false, "b": false, "c": false}, 1},
		{"with a floor", route.KeepFloor, map[string]bool{"web": true, "b": true, "c": false}, 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}, backend{"c", ptr[int32](0), 1})
			p := mustMake(t, f, request(100, c.floor))
			_, live := mustLive(t, p)
			for service, keeps := range c.keeps {
				if w := weightOf(live, service); w < 0 || (w > 0) != keeps {
					t.Errorf("%s has weight %d, keeps traffic: want %v", service, w, keeps)
				}
			}
			if weightOf(live, record.ServiceName(p.Input.Session)) <= 0 {
				t.Errorf("the sandbox has no weight: %+v", live.Spec)
			}
			if share := float64(p.Split.Share); share < c.least || share > 1 || (share == 1) != (c.floor == route.Exact) {
				t.Errorf("the sandbox gets %.4f of new clients", share)
			}
		})
	}
}

// Planning changes neither the user's request nor the Route that was read.
func TestPlanningLeavesItsInputAlone(t *testing.T) {
	asked := func() plan.Request {
		q := request(10, route.KeepFloor)
		q.Steps = []route.Percent{10, 50}
		q.Routers = []string{"10.0.0.1", "10.0.0.2"}
		q.Changes = sandbox.Changes{
			Images:       map[string]string{"web": "quay.io/shop/web:2"},
			Env:          map[string][]corev1.EnvVar{"web": {{Name: "LOG", Value: "debug"}}},
			EmptyVolumes: []string{"cache"},
		}
		q.Force = true
		return q
	}
	f := shop(web(4), backend{"b", ptr[int32](20), 1})
	changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	})
	q, was := asked(), f.Route.DeepCopy()
	p, err := plan.Make(f, q, seesNodes, armFor)
	if err != nil {
		t.Fatal(err)
	}
	mustLive(t, p)
	if err := p.Fit([]corev1.LimitRange{limitRange("256Mi")}); err != nil {
		t.Fatal(err)
	}
	if want := asked(); !reflect.DeepEqual(q, want) {
		t.Errorf("the request is %+v\nit was         %+v", q, want)
	}
	if !reflect.DeepEqual(f.Route, was) {
		t.Errorf("the Route is %+v\nit was       %+v", f.Route, was)
	}
}

// A sandbox has so many pods that, at the largest step, none carries more than LoadFactor times what
// an original pod does. More than MaxReplicas is refused unless the user gives the number.
func TestReplicasFollowTheLargestStep(t *testing.T) {
	for _, c := range []struct {
		name     string
		ready    int
		percent  route.Percent
		steps    []route.Percent
		replicas int // asked for
		want     int // 0: too much load
	}{
		{"no clients", 4, 0, nil, 0, 1},
		{"the load of less than a pod", 4, 20, nil, 0, 1},
		{"the load of two pods", 4, 50, nil, 0, 2},
		{"the load of four pods", 4, 100, nil, 0, 3},
		{"the last step is the largest", 4, 10, []route.Percent{10, 50, 100}, 0, 3},
		{"the first step is the largest", 4, 100, []route.Percent{100, 10}, 0, 3},
		{"the load of seven pods", 7, 100, nil, 0, plan.MaxReplicas},
		{"the load of eight pods", 8, 100, nil, 0, 0},
		{"the load of eight pods in the last step", 8, 10, []route.Percent{10, 100}, 0, 0},
		{"the most of eight pods", 8, 93, nil, 0, plan.MaxReplicas},
		{"the user gives the number", 8, 100, nil, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := request(c.percent, route.KeepFloor)
			q.Steps, q.Replicas = c.steps, c.replicas
			p, err := plan.Make(shop(web(c.ready)), q, seesNodes, armFor)
			if c.want == 0 {
				if reason.CodeOf(err) != reason.TooMuchLoad {
					t.Errorf("got %v, want %s", err, reason.TooMuchLoad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Pods) != c.want || p.Journal.Pods != c.want {
				t.Errorf("%d pods, %d in the journal, want %d", len(p.Pods), p.Journal.Pods, c.want)
			}
			for n, pod := range p.Pods {
				if !record.NamesPod(pod.Name, p.Input.Session, &p.Journal) {
					t.Errorf("pod %d has name %s, which is not one of the session's", n, pod.Name)
				}
			}
		})
	}
}

// What is only risky is refused, and with Force it becomes a warning. What cannot work is refused
// either way.
func TestForceTurnsRisksIntoWarnings(t *testing.T) {
	everything := &metav1.LabelSelector{}
	for _, c := range []struct {
		name     string
		change   func(*preflight.Facts)
		code     reason.Code
		forcible bool
	}{
		{"secondary networks", func(f *preflight.Facts) {
			changeTemplate(f, func(meta *metav1.ObjectMeta, _ *corev1.PodSpec) {
				meta.Annotations = map[string]string{"k8s.v1.cni.cncf.io/networks": "storage"}
			})
		}, reason.SecondaryNetworks, true},
		{"a claim that one pod writes", func(f *preflight.Facts) {
			f.Namespace.Claims = []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}},
			}}
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
				spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
				}}}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
			})
		}, reason.ClaimHasOneWriter, true},
		{"a disruption budget that selects every pod", func(f *preflight.Facts) {
			f.Namespace.Budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: everything}}}
		}, reason.BudgetSelectsEveryPod, true},
		{"a router that is not probed", func(f *preflight.Facts) { admit(f, corev1.ConditionTrue, "default", "internal") }, reason.RoutersNotProbed, true},
		{"a controller that selects every pod", func(f *preflight.Facts) {
			f.Namespace.StatefulSets = []appsv1.StatefulSet{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: appsv1.StatefulSetSpec{Selector: everything}}}
		}, reason.SelectsEveryPod, false},
		{"the node's network", func(f *preflight.Facts) {
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) { spec.HostNetwork = true })
		}, reason.HostNamespaces, false},
		{"no ready pod", func(f *preflight.Facts) { f.Namespace.Pods = nil }, reason.NoReadyPod, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := shop(web(1))
			c.change(f)
			q := request(20, route.KeepFloor)
			if _, err := plan.Make(f, q, plan.NoGuard, armFor); reason.CodeOf(err) != c.code {
				t.Errorf("without force: %v, want %s", err, c.code)
			}
			q.Force = true
			p, err := plan.Make(f, q, plan.NoGuard, armFor)
			if !c.forcible {
				if reason.CodeOf(err) != c.code {
					t.Errorf("with force: %v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatalf("with force: %v", err)
			}
			var forced *reason.Forced
			if len(p.Warnings) != 1 || !errors.As(p.Warnings[0], &forced) || reason.CodeOf(forced.Refused) != c.code {
				t.Errorf("with force: warnings %v, want the refusal %s", p.Warnings, c.code)
			}
		})
	}
}

// Routers that serve the Route need no --force if each of them is probed, or if none is.
func TestRoutersThatAreProbed(t *testing.T) {
	for name, change := range map[string]func(*plan.Request){
		"each is probed": func(q *plan.Request) { q.Routers = []string{"10.0.0.1", "10.0.0.2"} },
		"none is probed": func(q *plan.Request) { q.NoProbe = true },
	} {
		f := shop(web(1))
		admit(f, corev1.ConditionTrue, "default", "internal")
		q := request(20, route.KeepFloor)
		change(&q)
		if p, err := plan.Make(f, q, plan.NoGuard, armFor); err != nil || len(p.Warnings) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The user is warned of what may go wrong during the session but does not keep it from starting.
func TestWarnings(t *testing.T) {
	autoscaler := autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web"}},
	}
	other := autoscaler
	other.Spec.ScaleTargetRef.Name = "other"
	for _, c := range []struct {
		name   string
		change func(*preflight.Facts, *plan.Request)
		want   reason.Code // "" for no warning
	}{
		{"nothing special", func(*preflight.Facts, *plan.Request) {}, ""},
		{"an autoscaler", func(f *preflight.Facts, _ *plan.Request) {
			f.Namespace.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{autoscaler}
		}, reason.AutoscalerMayShrink},
		{"an autoscaler of a detached session", func(f *preflight.Facts, q *plan.Request) {
			f.Namespace.Autoscalers, q.Detach = []autoscalingv2.HorizontalPodAutoscaler{autoscaler}, true
		}, reason.DetachedMayShrink},
		{"another workload's autoscaler", func(f *preflight.Facts, _ *plan.Request) {
			f.Namespace.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{other}
		}, ""},
		{"kinds that cannot be listed", func(f *preflight.Facts, _ *plan.Request) { f.Namespace.Unreadable = []string{"NetworkPolicies"} }, reason.RightsToListMissing},
		{"a router that does not serve the Route", func(f *preflight.Facts, _ *plan.Request) {
			admit(f, corev1.ConditionTrue, "default")
			admit(f, corev1.ConditionFalse, "internal")
		}, reason.RouterNotServing},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, q := shop(web(2)), request(20, route.KeepFloor)
			c.change(f, &q)
			p := mustMake(t, f, q)
			if c.want == "" && len(p.Warnings) == 0 {
				return
			}
			if len(p.Warnings) != 1 || reason.CodeOf(p.Warnings[0]) != c.want {
				t.Errorf("warnings %v, want %q", p.Warnings, c.want)
			}
		})
	}
}

// The pods have the newest shape that command and guard both know. The journal does not mention
// shape 1, which is the only one so far, so older guards read it as before.
func TestThePodsHaveAShapeThatTheGuardKnows(t *testing.T) {
	for _, known := range []int{1, record.PodShape, record.PodShape + 1} {
		p, err := plan.Make(shop(web(1)), request(20, route.KeepFloor), plan.Guard{Shape: known}, armFor)
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.Journal.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if shape := max(p.Journal.Shape, 1); shape > known || shape > record.PodShape || strings.Contains(text, "shape") != (shape > 1) {
			t.Errorf("guard knows shape %d: the journal says %d: %s", known, shape, text)
		}
	}
}

// A session has a disruption budget only if the guard sees cordoned nodes: otherwise no one would
// move the traffic before a drain, and the drain would hang.
func TestOnlyAGuardThatSeesNodesGetsABudget(t *testing.T) {
	for _, nodes := range []bool{false, true} {
		q := request(20, route.KeepFloor)
		q.Replicas = 2
		p, err := plan.Make(shop(web(1)), q, plan.Guard{Nodes: nodes, Shape: 1}, armFor)
		if err != nil {
			t.Fatal(err)
		}
		if (p.Budget != nil) != nodes {
			t.Errorf("sees nodes: %v, budget %+v", nodes, p.Budget)
		}
		if p.Budget == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(p.Budget.Spec.Selector)
		if err != nil {
			t.Fatal(err)
		}
		if requirements, _ := selector.Requirements(); len(requirements) != 1 || requirements[0].Key() != record.Label || !requirements[0].Values().Has(p.Input.Session) {
			t.Errorf("the budget selects %s, want the pods of session %s", selector, p.Input.Session)
		}
		if least := p.Budget.Spec.MinAvailable; least == nil || least.IntValue() != 2 {
			t.Errorf("the budget wants %v available pods, want 2", least)
		}
	}
}

// Before arming, the journal has what is known of the session, and nothing of the Route's weights or
// of the session's end.
func TestTheJournalBeforeArming(t *testing.T) {
	q := request(10, route.Exact)
	q.Steps = []route.Percent{10, 100}
	p := mustMake(t, shop(web(4), backend{"b", ptr[int32](0), 1}), q)
	got := p.Journal
	if want := time.Date(2026, 1, 2, 15, 6, 5, 0, time.UTC); !got.ArmBy.Time.Equal(want) {
		t.Errorf("arm by %s, want %s", got.ArmBy, want)
	}
	if !record.ValidID(got.Session) || got.Session != p.Input.Session {
		t.Errorf("session %q, the sandbox's is %q", got.Session, p.Input.Session)
	}
	got.ArmBy, got.Session = metav1.Time{}, ""
	want := record.Journal{
		Version: record.JournalVersion, State: record.Arming, RouteUID: "route-uid", User: "alice",
		Workload: "deployment/web", Asked: 10, Servers: 4, Pods: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("journal %+v\nwant    %+v", got, want)
	}
	if other := mustMake(t, shop(web(4)), q); other.Journal.Session == p.Journal.Session {
		t.Errorf("two plans have the same session %s", p.Journal.Session)
	}
}

// Fit makes the pods again so that the sidecar keeps to the namespace's limits. The session stays the
// same.
func TestFitKeepsTheSidecarWithinLimits(t *testing.T) {
	const most = "256Mi"
	q := request(20, route.KeepFloor)
	q.Replicas = 2
	p := mustMake(t, shop(web(1)), q)
	if limit := sidecarMemory(t, p.Pods[0]); limit.Cmp(resource.MustParse(most)) <= 0 {
		t.Fatalf("the sidecar's limit is %s before, which proves nothing", limit.String())
	}
	var names []string
	for _, pod := range p.Pods {
		names = append(names, pod.Name)
	}
	service, session := p.Service.Name, p.Journal.Session
	if err := p.Fit([]corev1.LimitRange{limitRange(most)}); err != nil {
		t.Fatal(err)
	}
	if len(p.Pods) != len(names) {
		t.Fatalf("%d pods, want %d", len(p.Pods), len(names))
	}
	for n, pod := range p.Pods {
		if limit := sidecarMemory(t, pod); limit.Cmp(resource.MustParse(most)) != 0 {
			t.Errorf("pod %d: the sidecar's limit is %s, want %s", n, limit.String(), most)
		}
		if pod.Name != names[n] {
			t.Errorf("pod %d is %s, was %s", n, pod.Name, names[n])
		}
	}
	if p.Service.Name != service || p.Journal.Session != session || p.Input.Session != session {
		t.Errorf("Service %s, session %s; were %s, %s", p.Service.Name, p.Journal.Session, service, session)
	}
}

func limitRange(memory string) corev1.LimitRange {
	return corev1.LimitRange{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
	}}}}
}

// sidecarMemory is the memory limit of a pod's sidecar.
func sidecarMemory(t *testing.T, pod *corev1.Pod) resource.Quantity {
	t.Helper()
	for _, c := range pod.Spec.Containers {
		if c.Name == record.Sidecar {
			return c.Resources.Limits[corev1.ResourceMemory]
		}
	}
	t.Fatalf("pod %s has no sidecar", pod.Name)
	return resource.Quantity{}
}

// The originals of a Route are its backends as they would be without the session, whatever weights the
// session gave them.
func TestOriginalsAreTheBackendsWithoutTheSession(t *testing.T) {
	f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1})
	p := mustMake(t, f, request(50, route.KeepFloor))
	armed, live := mustLive(t, p)
	want := route.Backends(f.Route, f.Servers())
	for name, r := range map[string]*routev1.Route{"before": f.Route, "armed": armed, "live": live} {
		if got := plan.Originals(r, p.Input.Session, f.Namespace.Slices); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	live.Spec.AlternateBackends[0].Weight = ptr[int32](77) // changed by another user
	want[1].Weight = ptr[int32](77)
	if got := plan.Originals(live, p.Input.Session, f.Namespace.Slices); !reflect.DeepEqual(got, want) {
		t.Errorf("changed by another user: %+v, want %+v", got, want)
	}
}

// Shift notes in the journal what the session is with its new share. If the share is impossible, the
// journal stays as it is.
func TestShiftNotesTheShareInTheJournal(t *testing.T) {
	originals := []route.Backend{{Service: "web", Weight: ptr[int32](100), Ready: 1}, {Service: "b", Weight: ptr[int32](0), Ready: 1}}
	for _, floor := range []route.Floor{route.KeepFloor, route.Exact} {
		j := &record.Journal{Session: "bcdfghjk", State: record.Held, Asked: 50, Expires: ends}
		weights, err := plan.Shift(j, originals, 1, 50, floor)
		if err != nil {
			t.Fatal(err)
		}
		if own := record.ServiceName(j.Session); len(weights) != 3 || weights[own] <= 0 || weights[own] != weights["web"] || weights["b"] != 0 {
			t.Errorf("weights %v, want the same for web and the sandbox, and 0 for b", weights)
		}
		if j.State != record.Live || math.Abs(float64(j.Realised)-50) > 0.01 || j.Failover != (floor == route.KeepFloor) || !j.Expires.Equal(&ends) {
			t.Errorf("journal %+v", j)
		}
	}
	j := &record.Journal{Session: "bcdfghjk", State: record.Held}
	was := *j
	if _, err := plan.Shift(j, originals, 0, 50, route.KeepFloor); reason.CodeOf(err) != reason.SandboxNotReady || !reflect.DeepEqual(*j, was) {
		t.Errorf("without servers: %v, journal %+v", err, j)
	}
}
