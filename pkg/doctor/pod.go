package doctor

import (
	"context"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// newPod returns a sandbox pod of a Route that does not exist, for dry runs. It contains only the
// sidecar.
func (d *Doctor) newPod() *corev1.Pod {
	return d.newPodOf(&routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "doctor", UID: types.UID("doctor")}})
}

// newPodOf returns a sandbox pod of a Route. It contains only the sidecar.
func (d *Doctor) newPodOf(r *routev1.Route) *corev1.Pod {
	p := sandbox.Pods(sandbox.Input{
		Session: record.NewID(), Route: r, Program: &workload.Program{Kind: "Pod", Name: "doctor"},
		RuntimeClass: d.RuntimeClass, Image: d.Image, Replicas: 1,
	})[0]
	return p
}

// dryRun sends a dry run of creating a pod, and returns the pod that the API server would store.
func (d *Doctor) dryRun(ctx context.Context, p *corev1.Pod) (*corev1.Pod, error) {
	return d.Core.CoreV1().Pods(d.Namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: record.FieldManager})
}
