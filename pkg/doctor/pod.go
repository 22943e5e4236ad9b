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

// pod is a sandbox pod like any, whose program is the sidecar's own.
func (d *Doctor) pod() *corev1.Pod {
	return d.podOf(&routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "doctor", UID: types.UID("doctor")}})
}

func (d *Doctor) podOf(r *routev1.Route) *corev1.Pod {
	p := sandbox.Pods(sandbox.Input{
		Session: record.NewID(), Route: r, Program: &workload.Program{Kind: "Pod", Name: "doctor"},
		RuntimeClass: d.RuntimeClass, Image: d.Image, Replicas: 1,
	})[0]
	return p
}

// dryRun has the API server judge a pod without making it.
func (d *Doctor) dryRun(ctx context.Context, p *corev1.Pod) (*corev1.Pod, error) {
	return d.Core.CoreV1().Pods(d.Namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: record.FieldManager})
}
