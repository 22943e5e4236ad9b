package session

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// TargetOf returns what can be traced in a session that another command started: a container of its pods. container
// is its name, "" for the program that the Route leads to.
func TargetOf(ctx context.Context, core kubernetes.Interface, found Found, container string) (Target, error) {
	namespace, id := found.Route.Namespace, found.Session.ID
	list, err := core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: record.Label + "=" + id})
	if err != nil {
		return Target{}, fmt.Errorf("list pods: %w", err)
	}
	t := Target{Session: id, Namespace: namespace, Container: container, Pods: map[string]string{}}
	for i := range list.Items {
		pod := &list.Items[i]
		if !record.NamesPod(pod.Name, id, found.Session.Journal) || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if t.Container == "" {
			t.Container = sandbox.ProgramContainer(pod)
		}
		t.Pods[pod.Name] = sandbox.ContainerID(pod, t.Container)
	}
	if len(t.Pods) == 0 {
		return Target{}, reason.New(reason.NoRunningSandboxPod, "namespace", namespace, "session", id)
	}
	return t, nil
}
