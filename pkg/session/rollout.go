package session

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// RolledOut ends a session whose original runs another revision by now.
type RolledOut struct {
	Program string // the original
	Pod     string // one of another revision
}

func (e *RolledOut) Error() string { return e.Reason().Error() }

// Reason is one of the table's.
func (e *RolledOut) Reason() *reason.Error {
	return reason.New(reason.RolloutEndedSession, "workload", e.Program, "pod", e.Pod)
}

// rollout notices that the original runs another revision than the one that was cloned:
// by pods among its endpoints that were not there before.
type rollout struct {
	r     *Runner
	known map[string]bool // pods that were looked at, by name and address: a StatefulSet's keep their names
	told  bool
}

func (r *Runner) newRollout() *rollout {
	o := &rollout{r: r, known: map[string]bool{}}
	for _, pod := range r.plan.Facts.Namespace.Behind(r.plan.Input.Service.Name) {
		o.known[pod.Name+"/"+pod.Status.PodIP] = true
	}
	return o
}

// look reads each new pod of the original once, and tells of the first of another
// revision; it is an error where the user wants the session to end then.
func (o *rollout) look(ctx context.Context) error {
	if o.told {
		return nil
	}
	r := o.r
	for _, e := range route.Endpoints(r.current, r.plan.Input.Service.Name, r.watcher.endpointSlices()) {
		key := e.Pod + "/" + e.IP
		if o.known[key] || e.Pod == "" {
			continue
		}
		pod, err := r.Core.CoreV1().Pods(r.Namespace).Get(ctx, e.Pod, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil // the next event is another chance
		}
		o.known[key] = true
		if sameRevision(pod.Labels, r.plan.Input.Program.Live.Labels) {
			continue
		}
		o.told = true
		if r.FollowRollout {
			return &RolledOut{Program: r.plan.Input.Program.String(), Pod: pod.Name}
		}
		r.Report.Warn(reason.New(reason.RolloutHappened, "workload", r.plan.Input.Program, "pod", pod.Name))
	}
	return nil
}

func sameRevision(a, b map[string]string) bool {
	for _, key := range workload.RevisionLabels {
		if a[key] != b[key] {
			return false
		}
	}
	return true
}
