//go:build e2e

package e2e

import (
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// What somebody prunes ends the session cleanly.
func TestPrunedMarksEndTheSession(t *testing.T) {
	t.Parallel()
	for name, patch := range map[string]string{
		"label":      `[{"op":"remove","path":"/metadata/labels/osc-debug.dev~1session"}]`,
		"annotation": `[{"op":"remove","path":"/metadata/annotations/osc-debug.dev~1journal"}]`,
		"backend":    `[{"op":"remove","path":"/spec/alternateBackends"},{"op":"replace","path":"/spec/to/weight","value":100}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			before := e.standard()
			e.detached("--weight", "100")
			_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "other"})
			e.ok(err)
			e.ended(before)
		})
	}
}

// A Route that a backup tool made again, marks and all, is another Route: the session ends.
func TestARouteMadeAgainWithItsMarksIsRestored(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	e.detached("--weight", "100")
	r := e.shop()
	e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}))
	again := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Labels: r.Labels, Annotations: r.Annotations}, Spec: r.Spec}
	_, err := routes.RouteV1().Routes(e.ns).Create(t.Context(), again, metav1.CreateOptions{FieldManager: "backup"})
	e.ok(err)
	e.ended(before)
}

// A journal that can't be read: nobody knows what the Route was. Users stay where they
// are served; when the sandbox is dead, its backend goes and the original gets a weight.
func TestAnUnreadableJournalIsToldAndLeftAloneWhileUsersAreServed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	j := e.plant("shop", record.Live, time.Minute)
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"annotations":{"osc-debug.dev/journal":"{\"version\":99}"}}}`), metav1.PatchOptions{FieldManager: "other"})
	e.ok(err)
	spoiled := e.shop()
	e.eventually("the Event", func() bool { return e.eventOf("DebugSessionUnreadable") != "" })
	if now := e.shop(); now.ResourceVersion != spoiled.ResourceVersion {
		t.Errorf("the Route was written while users were served: %s", looks(now))
	}
	e.ready(record.PodName(j.Session, 0), false)
	e.ended(before)
}

// Nothing that only bears the label is deleted, whatever else it says of itself.
func TestTheGuardDeletesSandboxesOnly(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.standard()
	id := e.detached("--weight", "50")
	r := e.shop()
	marks := map[string]string{record.RouteUIDKey: string(r.UID), record.RouteNameKey: "shop"}
	for name, change := range map[string]func(*corev1.Pod){
		"no-sidecar":  func(p *corev1.Pod) { kata := "kata"; p.Spec.RuntimeClassName = &kata },
		"no-sandbox":  func(p *corev1.Pod) { p.Spec.Containers[0].Name = "osc-debug" },
		"other-route": func(p *corev1.Pod) { p.Annotations[record.RouteUIDKey] = "1-2-3" },
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{record.Label: id, "app": "x"}, Annotations: map[string]string{}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: handImage}}}}
		for k, v := range marks {
			p.Annotations[k] = v
		}
		onHandNode(&p.Spec)
		if name == "other-route" {
			kata := "kata"
			p.Spec.RuntimeClassName, p.Spec.Containers[0].Name = &kata, "osc-debug"
		}
		change(p)
		_, err := core.CoreV1().Pods(e.ns).Create(t.Context(), p, metav1.CreateOptions{})
		e.ok(err)
	}
	_, err := core.CoreV1().Services(e.ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{record.Label: id}, Annotations: marks},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	e.ok(err)
	e.over()
	e.eventually("the guard ends the session", func() bool { return record.Of(e.shop()) == nil })
	time.Sleep(3 * time.Second) // what bears the label is looked at again
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	services, err := core.CoreV1().Services(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	if len(pods.Items) != 3 || len(services.Items) != 1 {
		t.Errorf("%d pods and %d Services are left, wanted the 3 and 1 that are no sandbox", len(pods.Items), len(services.Items))
	}
}
