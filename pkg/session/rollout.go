package session

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// RolledOut is the error that ends a session whose original now runs another revision.
type RolledOut struct {
	Program string // the original workload
	Pod     string // a pod of the other revision
}

func (e *RolledOut) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *RolledOut) Reason() *reason.Error {
	return reason.New(reason.RolloutEndedSession, "workload", e.Program, "pod", e.Pod)
}

// rolloutWatch notices when the original runs another revision than the one that was cloned, by new
// pods among its endpoints.
type rolloutWatch struct {
	r        *Runner
	known    map[string]bool // pods already checked, by name and address, because pods of a StatefulSet keep their names
	reported bool
}

func (r *Runner) newRolloutWatch() *rolloutWatch {
	o := &rolloutWatch{r: r, known: map[string]bool{}}
	for _, pod := range r.plan.Facts.Namespace.Behind(r.plan.Input.Service.Name) {
		o.known[pod.Name+"/"+pod.Status.PodIP] = true
	}
	return o
}

// checkPods reads each new pod of the original once, and reports the first one of another revision.
// With FollowRollout that is an error, which ends the session.
func (o *rolloutWatch) checkPods(ctx context.Context) error {
	if o.reported {
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
			return nil // try again at the next event
		}
		o.known[key] = true
		if sameRevision(pod.Labels, r.plan.Input.Program.Live.Labels) {
			continue
		}
		o.reported = true
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
