//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// handNode is a node without a machine: pods that select and tolerate it are scheduled
// there, sandboxes too, and the tests play its kubelet.
const handNode = "by-hand"

func makeHandNode(name string) error {
	ctx := context.Background()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{handNode: name, "osc-debug.dev/sandbox": "vm"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: handNode, Effect: corev1.TaintEffectNoSchedule}}},
	}
	if _, err := core.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := heartbeat(ctx, name); err != nil {
		return err
	}
	go func() {
		for range time.Tick(5 * time.Second) {
			_ = heartbeat(ctx, name)
		}
	}()
	return nil
}

// heartbeat keeps the node Ready.
func heartbeat(ctx context.Context, name string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { return beat(ctx, name) })
}

func beat(ctx context.Context, name string) error {
	node, err := core.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10000"), corev1.ResourceMemory: resource.MustParse("10Ti"), corev1.ResourcePods: resource.MustParse("10000"),
	}
	node.Status.Capacity, node.Status.Allocatable = capacity, capacity
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: node.CreationTimestamp, Reason: "ByHand"}}
	_, err = core.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// onHandNode sends a pod there.
func onHandNode(spec *corev1.PodSpec) { onNode(spec, handNode) }

func onNode(spec *corev1.PodSpec, node string) {
	spec.NodeSelector = map[string]string{handNode: node}
	spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: handNode, Operator: corev1.TolerationOpExists})
}

// kubelet runs and ends the pods of a namespace that are on the node.
func (e *env) kubelet(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }()
	for ctx.Err() == nil {
		w, err := core.CoreV1().Pods(e.ns).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for event := range w.ResultChan() {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok || !strings.HasPrefix(pod.Spec.NodeName, handNode) {
				continue
			}
			switch {
			case pod.DeletionTimestamp != nil:
				e.endPod(ctx, pod.Name)
			case pod.Status.PodIP == "" && pod.Labels["never"] == "":
				e.run(ctx, pod)
			}
		}
	}
}

// endPod ends a pod that is being deleted, as the kubelet does when its processes have.
func (e *env) endPod(ctx context.Context, name string) {
	for ctx.Err() == nil {
		err := core.CoreV1().Pods(e.ns).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// address is where the server of a pod listens.
func (e *env) address(pod *corev1.Pod) string {
	if pod.Labels[record.Label] != "" {
		return e.sandboxIP
	}
	return originalIP
}

// cordon makes a node unschedulable, as 'oc adm drain' does first.
func cordon(ctx context.Context, node string) error {
	_, err := core.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	return err
}

// forgedOnACordonedNode sees that a pod which somebody gave all marks of a session's sandbox, on
// a node that is cordoned, does not end that session: only to create pods is no right on Routes.
func (e *env) forgedOnACordonedNode(id string) {
	e.t.Helper()
	ctx, node := e.t.Context(), handNode+"-cordoned-"+e.ns
	e.ok(makeHandNode(node))
	e.t.Cleanup(func() { _ = core.CoreV1().Nodes().Delete(context.Background(), node, metav1.DeleteOptions{}) })
	e.ok(cordon(ctx, node))
	live := e.shop()
	mallory := e.forger("mallory-"+e.ns, may("", "create", "pods"))
	for _, name := range []string{"forged", record.PodName(id, 1)} {
		p := e.podSpec(name)
		sandboxLike(p, id, map[string]string{record.RouteUIDKey: string(live.UID), record.RouteNameKey: live.Name})
		p.Labels["never"] = "ready"
		p.Spec.NodeName, p.Spec.NodeSelector = node, nil
		_, err := mallory.core.CoreV1().Pods(e.ns).Create(ctx, p, metav1.CreateOptions{})
		e.ok(err)
	}
	time.Sleep(5 * time.Second) // the guard looks at once
	if now := e.shop(); now.ResourceVersion != live.ResourceVersion {
		e.t.Errorf("a forged pod on a cordoned node ended the session: %s", looks(now))
	}
}

// A node that is cordoned and drained: the guard gives the traffic back first, and only
// then lets the drain go on, which the session's disruption budget holds until then.
func TestACordonedNodeIsRestoredFirstAndThenLetGo(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	name := handNode + "-" + e.ns
	e.ok(makeHandNode(name))
	t.Cleanup(func() { _ = core.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) { onNode(&d.Spec.Template.Spec, name) })
	e.route(nil)
	before := e.tested()
	id := e.detached("--weight", "100")
	pod, err := core.CoreV1().Pods(e.ns).Get(t.Context(), record.PodName(id, 0), metav1.GetOptions{})
	e.ok(err)
	if pod.Spec.NodeName != name {
		t.Fatalf("the sandbox is on node %s, wanted %s", pod.Spec.NodeName, name)
	}
	evict := func() error {
		return core.PolicyV1().Evictions(e.ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: e.ns}})
	}
	e.eventually("the budget counts the sandbox", func() bool {
		b, err := core.PolicyV1().PodDisruptionBudgets(e.ns).Get(t.Context(), record.ServiceName(id), metav1.GetOptions{})
		return err == nil && b.Status.CurrentHealthy == 1
	})
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Fatalf("the sandbox was evicted from under its users: %v", err)
	}
	e.forgedOnACordonedNode(id)
	e.ok(cordon(t.Context(), name))
	e.eventually("the drain goes on", func() bool {
		err := evict()
		s := record.Of(e.shop())
		if (err == nil || apierrors.IsNotFound(err)) && s != nil && s.Backend {
			t.Errorf("let go while users are sent there: %+v", s)
		}
		return err == nil || apierrors.IsNotFound(err)
	})
	e.ended(before)
}
