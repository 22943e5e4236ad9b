package session

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// stuckGrace is how long a sandbox pod may be in a state that rarely passes by itself: its image cannot be pulled, or
// a container cannot be created. Kubernetes retries within this time. A pod that cannot be scheduled gets longer: an
// autoscaler of nodes needs some time to notice it.
const (
	stuckGrace         = 20 * time.Second
	unschedulableGrace = time.Minute
)

// passingStates are the reasons for which a container that starts as it should waits.
var passingStates = []string{"", "ContainerCreating", "PodInitializing"}

// stuckPod returns why a sandbox pod is not starting, nil if all pods do.
func (r *Runner) stuckPod() *reason.Error {
	for _, pod := range r.watcher.podList() {
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			if w := s.State.Waiting; w != nil && !slices.Contains(passingStates, w.Reason) {
				return reason.New(reason.ContainerStuck, "pod", pod.Name, "container", s.Name, "state", w.Reason, "why", strings.TrimSpace(w.Message))
			}
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && pod.Status.NominatedNodeName == "" {
				return reason.New(reason.PodUnschedulable, "pod", pod.Name, "class", r.plan.Input.RuntimeClass, "why", c.Message)
			}
		}
	}
	return nil
}

// isScalingUp reports whether an autoscaler of nodes is making room for a pod. That takes minutes.
func (r *Runner) isScalingUp(ctx context.Context, why *reason.Error) bool {
	if !reason.Is(why, reason.PodUnschedulable) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, optionalReadTimeout)
	defer cancel()
	selector := fields.Set{"involvedObject.kind": "Pod"}.AsSelector().String()
	events, err := r.Core.CoreV1().Events(r.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
		// Of the cluster autoscaler and of Karpenter.
		return (e.Reason == "TriggeredScaleUp" || e.Reason == "Nominated") && slices.ContainsFunc(r.plan.Pods, func(p *corev1.Pod) bool { return p.Name == e.InvolvedObject.Name })
	})
}

// stuckWatch ends the wait for a sandbox whose pods have been stuck for stuckGrace.
type stuckWatch struct {
	timer *time.Timer // runs while a pod is stuck
	why   *reason.Error
}

func newStuckWatch() *stuckWatch {
	w := &stuckWatch{timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// look notes whether a pod is stuck now.
func (w *stuckWatch) look(now *reason.Error) {
	switch {
	case now == nil:
		w.timer.Stop()
	case w.why == nil && now.Code == reason.PodUnschedulable:
		w.timer.Reset(unschedulableGrace)
	case w.why == nil || w.why.Code != now.Code:
		w.timer.Reset(stuckGrace)
	}
	w.why = now
}
