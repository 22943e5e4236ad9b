//go:build e2e

package e2e

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// handNode is a node without a machine: pods that select and tolerate it are scheduled
// there, sandboxes too, and the tests play its kubelet.
const handNode = "by-hand"

func makeHandNode() error {
	ctx := context.Background()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: handNode, Labels: map[string]string{handNode: "yes", "osc-debug.dev/sandbox": "vm"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: handNode, Effect: corev1.TaintEffectNoSchedule}}},
	}
	if _, err := core.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := heartbeat(ctx); err != nil {
		return err
	}
	go func() {
		for range time.Tick(5 * time.Second) {
			_ = heartbeat(ctx)
		}
	}()
	return nil
}

// heartbeat keeps the node Ready.
func heartbeat(ctx context.Context) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { return beat(ctx) })
}

func beat(ctx context.Context) error {
	node, err := core.CoreV1().Nodes().Get(ctx, handNode, metav1.GetOptions{})
	if err != nil {
		return err
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	node.Status.Capacity, node.Status.Allocatable = capacity, capacity
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: node.CreationTimestamp, Reason: "ByHand"}}
	_, err = core.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// onHandNode sends a pod there.
func onHandNode(spec *corev1.PodSpec) {
	spec.NodeSelector = map[string]string{handNode: "yes"}
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
			if !ok || pod.Spec.NodeName != handNode {
				continue
			}
			switch {
			case pod.DeletionTimestamp != nil:
				now := int64(0)
				_ = core.CoreV1().Pods(e.ns).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
			case pod.Status.PodIP == "" && pod.Labels["never"] == "":
				e.run(ctx, pod)
			}
		}
	}
}

// address is where the server of a pod listens.
func (e *env) address(pod *corev1.Pod) string {
	if pod.Labels[session.Label] != "" {
		return e.sandboxIP
	}
	return originalIP
}
