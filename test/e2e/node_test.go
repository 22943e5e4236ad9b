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

// fakeNode is a Node without a machine. Pods that select and tolerate it are scheduled there,
// sandboxes included, and the tests play its kubelet.
const fakeNode = "by-hand"

func createFakeNode(name string) error {
	ctx := context.Background()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{fakeNode: name, "osc-debug.dev/sandbox": "vm"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: fakeNode, Effect: corev1.TaintEffectNoSchedule}}},
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

// heartbeat sets the node Ready.
func heartbeat(ctx context.Context, name string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { return updateNodeStatus(ctx, name) })
}

func updateNodeStatus(ctx context.Context, name string) error {
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

// onFakeNode has a pod scheduled to fakeNode.
func onFakeNode(spec *corev1.PodSpec) { onNode(spec, fakeNode) }

func onNode(spec *corev1.PodSpec, node string) {
	spec.NodeSelector = map[string]string{fakeNode: node}
	spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: fakeNode, Operator: corev1.TolerationOpExists})
}

// playKubelet runs and ends the namespace's pods on fake nodes, until stop is closed.
func (e *env) playKubelet(stop <-chan struct{}) {
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
			if !ok || !strings.HasPrefix(pod.Spec.NodeName, fakeNode) {
				continue
			}
			switch {
			case pod.DeletionTimestamp != nil:
				e.endPod(ctx, pod.Name)
			case pod.Status.PodIP == "" && pod.Labels["never"] == "":
				e.markRunning(ctx, pod)
			}
		}
	}
}

// endPod removes a pod that is being deleted, as the kubelet does when its processes have ended.
func (e *env) endPod(ctx context.Context, name string) {
	for ctx.Err() == nil {
		err := core.CoreV1().Pods(e.ns).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// podAddress returns the address at which a fake pod's server listens.
func (e *env) podAddress(pod *corev1.Pod) string {
	if pod.Labels[record.Label] != "" {
		return e.sandboxIP
	}
	return originalIP
}

// cordon makes a node unschedulable, the first thing that 'oc adm drain' does.
func cordon(ctx context.Context, node string) error {
	_, err := core.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	return err
}

// checkForgedPodOnCordonedNode checks that a pod with all marks of a session's sandbox, created by
// a user on a cordoned node, does not end that session: permission to create pods must not give
// power over Routes.
func (e *env) checkForgedPodOnCordonedNode(id string) {
	e.t.Helper()
	ctx, node := e.t.Context(), fakeNode+"-cordoned-"+e.ns
	e.ok(createFakeNode(node))
	e.t.Cleanup(func() { _ = core.CoreV1().Nodes().Delete(context.Background(), node, metav1.DeleteOptions{}) })
	e.ok(cordon(ctx, node))
	live := e.shop()
	mallory := e.createUser("mallory-"+e.ns, allow("", "create", "pods"))
	for _, name := range []string{"forged", record.PodName(id, 1)} {
		p := e.fakePodSpec(name)
		makeLookLikeSandbox(p, id, map[string]string{record.RouteUIDKey: string(live.UID), record.RouteNameKey: live.Name})
		p.Labels["never"] = "ready"
		p.Spec.NodeName, p.Spec.NodeSelector = node, nil
		_, err := mallory.core.CoreV1().Pods(e.ns).Create(ctx, p, metav1.CreateOptions{})
		e.ok(err)
	}
	time.Sleep(5 * time.Second) // the guard would react at once
	if now := e.shop(); now.ResourceVersion != live.ResourceVersion {
		e.t.Errorf("a forged pod on a cordoned node ended the session: %s", sessionFields(now))
	}
	e.ok(core.CoreV1().Pods(e.ns).Delete(ctx, "forged", *metav1.NewDeleteOptions(0))) // the guard does not: it is not named like a sandbox
}

// When the sandbox's node is cordoned and drained, the guard first gives the traffic back. Until
// then the session's PodDisruptionBudget blocks the drain.
func TestACordonedNodeIsRestoredFirstAndThenLetGo(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	name := fakeNode + "-" + e.ns
	e.ok(createFakeNode(name))
	t.Cleanup(func() { _ = core.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) { onNode(&d.Spec.Template.Spec, name) })
	e.route(nil)
	before := e.snapshot()
	id := e.detachedShift("--weight", "100")
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
		t.Fatalf("the sandbox was evicted while it served users: %v", err)
	}
	e.checkForgedPodOnCordonedNode(id)
	e.ok(cordon(t.Context(), name))
	e.eventually("the drain continues", func() bool {
		err := evict()
		s := record.Of(e.shop())
		if (err == nil || apierrors.IsNotFound(err)) && s != nil && s.Backend {
			t.Errorf("the sandbox could be evicted while users were still sent to it: %+v", s)
		}
		return err == nil || apierrors.IsNotFound(err)
	})
	e.waitForEnd(before)
}
