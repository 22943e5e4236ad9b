package session

import (
	"context"
	"maps"
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

// creating are the states of a container whose image is pulled, whose volumes are mounted or whose VM is started:
// the second, of a pod with init containers. Only the pod's Events tell which, and whether that fails.
var creating = []string{"ContainerCreating", "PodInitializing"}

// creationFailures are the reasons of Events of a pod that cannot be created.
var creationFailures = []string{"FailedMount", "FailedMapVolume", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedCreatePodContainer"}

// stuck is a sandbox pod that may not start.
type stuck struct {
	why      *reason.Error     // nil if pods are being created: see confirmStuck
	creating map[string]string // pods that are being created, with a container that waits for that
}

// isUnschedulable reports whether the pod has no node.
func (s *stuck) isUnschedulable() bool { return s.why != nil && s.why.Code == reason.PodUnschedulable }

// isLike reports whether two pods do not start for the same reason.
func (s *stuck) isLike(other *stuck) bool {
	return other != nil && (s.why == nil) == (other.why == nil) && (s.why == nil || s.why.Code == other.why.Code)
}

// stuckPod returns a sandbox pod that may not start, nil if all do.
func (r *Runner) stuckPod() *stuck {
	slow := map[string]string{}
	for _, pod := range r.watcher.podList() {
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			w := s.State.Waiting
			switch {
			case w == nil || w.Reason == "":
			case slices.Contains(creating, w.Reason):
				slow[pod.Name] = s.Name
			default:
				return &stuck{why: reason.New(reason.ContainerStuck, "pod", pod.Name, "container", s.Name, "state", w.Reason, "why", strings.TrimSpace(w.Message))}
			}
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && pod.Status.NominatedNodeName == "" {
				return &stuck{why: reason.New(reason.PodUnschedulable, "pod", pod.Name, "class", r.plan.Input.RuntimeClass, "why", c.Message)}
			}
		}
	}
	if len(slow) > 0 {
		return &stuck{creating: slow}
	}
	return nil
}

// confirmStuck returns why a sandbox pod that has not started for a while will not start, nil if it may. The Events
// of the pods tell that an autoscaler of nodes is making room, which takes minutes, or why a container is not created.
func (r *Runner) confirmStuck(ctx context.Context, s *stuck) *reason.Error {
	if s.why != nil && !s.isUnschedulable() {
		return s.why
	}
	ctx, cancel := context.WithTimeout(ctx, optionalReadTimeout)
	defer cancel()
	selector := fields.Set{"involvedObject.kind": "Pod"}.AsSelector().String()
	list, err := r.Core.CoreV1().Events(r.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
	var events []corev1.Event
	if err == nil {
		events = slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
			return !slices.ContainsFunc(r.plan.Pods, func(p *corev1.Pod) bool { return p.Name == e.InvolvedObject.Name })
		})
	}
	if s.why == nil {
		return creationFailure(events, s.creating, r.Clock.Now())
	}
	if slices.ContainsFunc(events, func(e corev1.Event) bool {
		return e.Reason == "TriggeredScaleUp" || e.Reason == "Nominated" // of the cluster autoscaler and of Karpenter
	}) {
		return nil
	}
	return s.why
}

// creationFailure returns why a pod of pods is not created, nil if all may be. pods has a container of each.
func creationFailure(events []corev1.Event, pods map[string]string, now time.Time) *reason.Error {
	for _, pod := range slices.Sorted(maps.Keys(pods)) {
		last := corev1.Event{}
		for _, e := range events {
			if e.InvolvedObject.Name == pod && eventTime(e).After(eventTime(last)) {
				last = e
			}
		}
		if slices.Contains(creationFailures, last.Reason) && goesOn(last, now) {
			return reason.New(reason.ContainerStuck, "pod", pod, "container", pods[pod], "state", last.Reason, "why", strings.TrimSpace(last.Message))
		}
	}
	return nil
}

// retrySlack is how much later than expected the next try of the kubelet may come.
const retrySlack = 10 * time.Second

// goesOn reports whether a failure that an Event tells of goes on: it happened more than once, and the next time is not
// overdue. The kubelet waits twice as long from one try to the next, and reports the first success only if it then
// pulls an image.
func goesOn(e corev1.Event, now time.Time) bool {
	times := e.Count
	if e.Series != nil {
		times = e.Series.Count
	}
	first, last := e.FirstTimestamp.Time, eventTime(e)
	if first.IsZero() {
		first = e.EventTime.Time
	}
	return times > 1 && now.Sub(last) <= 2*last.Sub(first)+retrySlack
}

// eventTime returns when an Event last happened. Which of its times is set depends on who wrote it.
func eventTime(e corev1.Event) time.Time {
	last := e.EventTime.Time
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if e.LastTimestamp.After(last) {
		last = e.LastTimestamp.Time
	}
	return last
}

// stuckWatch ends the wait for a sandbox whose pods have been stuck for stuckGrace.
type stuckWatch struct {
	timer *time.Timer // runs while a pod is stuck
	pod   *stuck
}

func newStuckWatch() *stuckWatch {
	w := &stuckWatch{timer: time.NewTimer(time.Hour)}
	w.timer.Stop()
	return w
}

// look notes whether a pod is stuck now.
func (w *stuckWatch) look(now *stuck) {
	switch {
	case now == nil:
		w.timer.Stop()
	case now.isLike(w.pod):
	case now.isUnschedulable():
		w.timer.Reset(unschedulableGrace)
	default:
		w.timer.Reset(stuckGrace)
	}
	w.pod = now
}

// again waits for another grace period.
func (w *stuckWatch) again() { w.timer.Reset(stuckGrace) }
