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

// If someone removes the session's label, journal or backend, the guard ends the session cleanly.
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
			before := e.createShop()
			e.detachedShift("--weight", "100")
			_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "other"})
			e.ok(err)
			e.waitForEnd(before)
		})
	}
}

// A Route that a backup tool deleted and recreated with the session's marks is another Route: the
// guard ends the session.
func TestARouteMadeAgainWithItsMarksIsRestored(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	e.detachedShift("--weight", "100")
	r := e.shop()
	e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}))
	again := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Labels: r.Labels, Annotations: r.Annotations}, Spec: r.Spec}
	_, err := routes.RouteV1().Routes(e.ns).Create(t.Context(), again, metav1.CreateOptions{FieldManager: "backup"})
	e.ok(err)
	e.waitForEnd(before)
}

// If the journal cannot be read, the Route's earlier backends are unknown. The guard changes nothing
// while the sandbox serves users. When the sandbox is dead, the guard removes its backend and gives
// the original a weight.
func TestAnUnreadableJournalIsToldAndLeftAloneWhileUsersAreServed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	j := e.plant("shop", record.Live, time.Minute)
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"annotations":{"osc-debug.dev/journal":"{\"version\":99}"}}}`), metav1.PatchOptions{FieldManager: "other"})
	e.ok(err)
	spoiled := e.shop()
	e.eventually("an Event reports the unreadable journal", func() bool { return e.eventMessage("DebugSessionUnreadable") != "" })
	if now := e.shop(); now.ResourceVersion != spoiled.ResourceVersion {
		t.Errorf("the Route was written while users were served: %s", sessionFields(now))
	}
	e.setReady(record.PodName(j.Session, 0), false)
	e.waitForEnd(before)
}

// The guard does not delete objects that have the session's label but are not its sandbox, whatever
// other marks they have.
func TestTheGuardDeletesSandboxesOnly(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	before := e.createShop()
	id := e.detachedShift("--weight", "50")
	r := e.shop()
	marks := map[string]string{record.RouteUIDKey: string(r.UID), record.RouteNameKey: "shop"}
	for name, change := range map[string]func(*corev1.Pod){
		"no-sidecar":  func(p *corev1.Pod) { kata := "kata"; p.Spec.RuntimeClassName = &kata },
		"no-sandbox":  func(p *corev1.Pod) { p.Spec.Containers[0].Name = "osc-debug" },
		"other-route": func(p *corev1.Pod) { p.Annotations[record.RouteUIDKey] = "1-2-3" },
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{record.Label: id, "app": "x"}, Annotations: map[string]string{}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: fakeImage}}}}
		for k, v := range marks {
			p.Annotations[k] = v
		}
		onFakeNode(&p.Spec)
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
	e.expire()
	e.eventually("the guard ends the session", func() bool { return record.Of(e.shop()) == nil })
	time.Sleep(3 * time.Second) // time for the guard to check the labelled objects again
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	services, err := core.CoreV1().Services(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: record.Label})
	e.ok(err)
	if len(pods.Items) != 3 || len(services.Items) != 1 {
		t.Errorf("%d pods and %d Services are left, wanted the 3 and 1 that do not belong to the sandbox", len(pods.Items), len(services.Items))
	}
}
