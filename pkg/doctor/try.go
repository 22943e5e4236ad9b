package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// LongestTry is the longest timeout of Try, whose pod has no mark on the Route. It must end before a guard
// deletes the pod.
const LongestTry = record.OrphanAge - 10*time.Second

// deleteTimeout bounds how long deleting the pod may take.
const deleteTimeout = time.Minute

// Try creates a sandbox pod of the Route that contains only the sidecar, waits until it runs on a node,
// deletes it, and waits until it is gone. The pod never gets traffic. If this process dies, the guard
// deletes the pod as an orphan, and the pod's own deadline ends it. Try reports one finding. Its error is
// a *store.Leftovers if the pod could not be deleted.
func (d *Doctor) Try(ctx context.Context, timeout time.Duration, report func(Finding)) error {
	r, err := d.Routes.RouteV1().Routes(d.Namespace).Get(ctx, d.Route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", d.Namespace, d.Route, err)
	}
	pod := d.newPodOf(r)
	deadline, grace := int64((timeout + deleteTimeout).Seconds()), int64(1)
	pod.Spec.ActiveDeadlineSeconds, pod.Spec.TerminationGracePeriodSeconds = &deadline, &grace
	created, err := d.Core.CoreV1().Pods(d.Namespace).Create(ctx, pod, metav1.CreateOptions{FieldManager: record.FieldManager})
	if err != nil {
		f, err := d.newFinding(ctx, "sandbox starts", "", preflight.Refused("a sandbox pod", err))
		if err == nil {
			report(f)
		}
		return err
	}
	start := time.Now()
	last, waitErr := d.waitUntilRunning(ctx, created, timeout)
	took := time.Since(start)
	deleteCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	if err := d.Teardown(deleteCtx, d.Namespace, d.Route, created.Labels[record.Label]); err != nil {
		return err
	}
	if waitErr != nil && ctx.Err() == nil {
		waitErr = d.explainNotRunning(last)
	}
	f, err := d.newFinding(ctx, "sandbox starts", fmt.Sprintf("runs on node %s after %.0f s, image pulled", last.Spec.NodeName, took.Seconds()), waitErr)
	if err == nil {
		report(f)
	}
	return err
}

// waitUntilRunning waits until the pod's sidecar runs. It returns an error if the sidecar cannot start,
// the pod is deleted or the time is over, and in any case the pod as last seen.
func (d *Doctor) waitUntilRunning(ctx context.Context, pod *corev1.Pod, timeout time.Duration) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	onlyPod := func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", pod.Name).String()
	}
	last := pod
	_, err := watchtools.UntilWithSync(ctx, cache.NewFilteredListWatchFromClient(d.Core.CoreV1().RESTClient(), "pods", d.Namespace, onlyPod), &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			return false, errors.New("the pod was deleted")
		}
		last = p
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil {
				return true, nil
			}
			if w := s.State.Waiting; w != nil && (strings.HasPrefix(w.Reason, "ErrImage") || strings.HasPrefix(w.Reason, "Image") || strings.HasPrefix(w.Reason, "CreateContainer")) {
				return false, errors.New(w.Reason)
			}
		}
		return false, nil
	})
	return last, err
}

// explainNotRunning returns an error with the reason why a pod does not run.
func (d *Doctor) explainNotRunning(p *corev1.Pod) error {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return reason.New(reason.NoNodeForSandbox, "class", d.RuntimeClass, "why", c.Message)
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Message != "" {
			if strings.Contains(w.Reason, "Image") {
				return reason.New(reason.SidecarNotPulled, "node", p.Spec.NodeName, "image", d.Image, "state", w.Reason, "why", w.Message)
			}
			return reason.New(reason.SidecarNotStarted, "node", p.Spec.NodeName, "image", d.Image, "state", w.Reason, "why", w.Message)
		}
	}
	return reason.New(reason.SandboxPodNotStarted, "phase", p.Status.Phase, "node", p.Spec.NodeName)
}
