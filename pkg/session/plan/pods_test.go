package plan_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

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
