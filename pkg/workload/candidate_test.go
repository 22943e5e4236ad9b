package workload

import (
	"fmt"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// behindWeb adds ready pods behind Service web: count pods of an owner (kind/name, "" for none). Those that serve
// are endpoints of port http.
func behindWeb(ns *Namespace, owner string, count int, serves bool) {
	kind, name, _ := strings.Cut(owner, "/")
	for n := range count {
		pod := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, n), Labels: map[string]string{"app": "web"}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
		yes := true
		if kind == kindDeployment {
			rs := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name + "-6f7d", UID: types.UID(name), OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}}}
			ns.ReplicaSets = append(ns.ReplicaSets, rs)
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: kindReplicaSet, Name: rs.Name, UID: rs.UID, Controller: &yes}}
		} else if kind != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name), Controller: &yes}}
		}
		ns.Pods = append(ns.Pods, pod)
		if serves {
			ns.Slices[0].Endpoints = append(ns.Slices[0].Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.0.%d.%d", len(ns.Pods), n)}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod.Name},
			})
		}
	}
}

// Only pods that are endpoints of the Route are candidates. If they belong to several workloads, the user must choose.
func TestWhichWorkload(t *testing.T) {
	type pods struct {
		owner  string
		count  int
		serves bool
	}
	for _, c := range []struct {
		what     string
		pods     []pods
		workload string
		want     string // the program, or the refusal's code
		says     string // in the refusal's text
	}{
		{"one", []pods{{"Deployment/web", 2, true}}, "", "deployment/web", ""},
		{"and a Job without the port", []pods{{"Job/cleanup", 1, false}, {"Deployment/web", 2, true}}, "", "deployment/web", ""},
		{"and a Job without the port, chosen", []pods{{"Job/cleanup", 1, false}, {"Deployment/web", 2, true}}, "deployment/web", "deployment/web", ""},
		{"and a Job that serves", []pods{{"Job/cleanup", 1, true}, {"Deployment/web", 2, true}}, "", "SeveralWorkloads", "deployment/web (2 pod(s)), job/cleanup (1 pod(s))"},
		{"and a Job that serves, chosen", []pods{{"Job/cleanup", 1, true}, {"Deployment/web", 2, true}}, "deploy/web", "deployment/web", ""},
		{"a Job alone", []pods{{"Job/cleanup", 1, true}}, "", "JobPods", ""},
		{"two and a debug copy", []pods{{"/a-debug-copy", 1, true}, {"Deployment/blue", 1, true}, {"Deployment/green", 3, true}}, "", "SeveralWorkloads", "deployment/blue (1 pod(s)), deployment/green (3 pod(s)), pod/a-debug-copy-0 (1 pod(s))"},
		{"two and a debug copy, chosen", []pods{{"/a-debug-copy", 1, true}, {"Deployment/blue", 1, true}, {"Deployment/green", 3, true}}, "deployment/green", "deployment/green", ""},
		{"another one chosen", []pods{{"Deployment/web", 2, true}}, "deployment/api", "OtherWorkload", "deployment/web (2 pod(s))"},
		{"none that serves", []pods{{"Deployment/web", 2, false}}, "", "NoReadyPod", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			number, name := int32(8080), "http"
			ns := &Namespace{
				Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}}},
				Slices:   []discoveryv1.EndpointSlice{{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &number}}}},
			}
			for _, p := range c.pods {
				behindWeb(ns, p.owner, p.count, p.serves)
			}
			r := &routev1.Route{Spec: routev1.RouteSpec{To: routev1.RouteTargetReference{Name: "web"}, Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")}}}
			program, err := Find(r, ns, c.workload)
			got := string(reason.CodeOf(err))
			if err == nil {
				got = program.String()
			}
			if got != c.want || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %s (%v), want %s with %q", got, err, c.want, c.says)
			}
		})
	}
}
