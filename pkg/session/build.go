package session

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Timeout is the error of a wait that took too long.
type Timeout struct {
	What string
	Took time.Duration
}

func (e *Timeout) Error() string { return e.Reason().Error() }

// Reason is one of the table's.
func (e *Timeout) Reason() *reason.Error {
	return reason.New(reason.TimedOut, "what", e.What, "took", e.Took.String())
}

// build creates the sandbox and waits until every pod is an endpoint that the router
// would use: readiness of a pod alone does not say that.
func (r *Runner) build(ctx context.Context) error {
	if err := r.around(ctx); err != nil {
		return err
	}
	options := metav1.CreateOptions{FieldManager: record.FieldManager}
	r.built = r.Clock.Now()
	var made []corev1.Pod
	for _, pod := range r.plan.Pods {
		err := create("pod "+pod.Name, func() error {
			created, err := r.Core.CoreV1().Pods(r.Namespace).Create(ctx, pod, options)
			if err == nil {
				made = append(made, *created)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(made) < len(r.plan.Pods) {
		made = nil // one was there already: list them
	}
	// The watches outlive this step's context on purpose: Run stops them.
	w, err := watchSession(context.WithoutCancel(ctx), r.Core, r.Routes, r.current, r.plan.Facts.Namespace, made, r.journal.Session)
	if err != nil {
		return err
	}
	r.watcher = w
	return r.waitReady(ctx)
}

// around creates what the pods need to be there before them: the Service, the mirrored
// NetworkPolicies, the disruption budget.
func (r *Runner) around(ctx context.Context) error {
	service := r.plan.Service
	options := metav1.CreateOptions{FieldManager: record.FieldManager}
	services := r.Core.CoreV1().Services(r.Namespace)
	var made *corev1.Service
	err := create("Service "+service.Name, func() (err error) {
		made, err = services.Create(ctx, service, options)
		return err
	})
	if err != nil {
		return err
	}
	policies := r.plan.Policies
	if len(policies) == 0 && r.plan.Budget == nil {
		return nil
	}
	if made.GetUID() == "" { // it was there: an answer was lost
		if made, err = services.Get(ctx, service.Name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("read Service %s: %w", service.Name, err)
		}
	}
	for _, p := range policies {
		p.OwnerReferences = sandbox.OwnedBy(made)
		err := create("NetworkPolicy "+p.Name, func() error {
			_, err := r.Core.NetworkingV1().NetworkPolicies(r.Namespace).Create(ctx, p, options)
			return err
		})
		if err != nil {
			return err
		}
	}
	if r.plan.Budget == nil {
		return nil
	}
	budget := r.plan.Budget
	budget.OwnerReferences = sandbox.OwnedBy(made)
	return create("PodDisruptionBudget "+budget.Name, func() error {
		_, err := r.Core.PolicyV1().PodDisruptionBudgets(r.Namespace).Create(ctx, budget, options)
		return err
	})
}

// create makes an object by its name, and again where it is not known whether it was made.
// One that is there already is ours: its name is this session's ID.
func create(what string, do func() error) error {
	err := retry.OnError(retry.DefaultBackoff, store.Retriable, do)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s: %w", what, err)
	}
	return nil
}

func (r *Runner) waitReady(ctx context.Context) error {
	begin := time.Now()
	deadline := time.NewTimer(r.Timeout)
	defer deadline.Stop()
	said := ""
	for {
		if n := len(r.endpoints()); n >= len(r.plan.Pods) {
			r.Report.Note("ready after %.1f s", time.Since(begin).Seconds())
			return nil
		}
		if now := r.podNews(); now != said && now != "" {
			said = now
			r.Report.Note("%s", now)
		}
		if err := r.dead(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return &Timeout{fmt.Sprintf("sandbox of %s: not ready (%s)", r.plan.Input.Program, said), r.Timeout}
		case <-r.watcher.changed:
		}
	}
}

// endpoints are the sandbox's servers as the router sees them.
func (r *Runner) endpoints() []route.Endpoint {
	if r.watcher == nil {
		return nil
	}
	return route.Endpoints(r.current, record.ServiceName(r.journal.Session), r.watcher.endpointSlices())
}

// podNews tells in a line what the pods wait for.
func (r *Runner) podNews() string {
	var lines []string
	for _, pod := range r.watcher.podList() {
		news := string(pod.Status.Phase)
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				news = c.Reason + ": " + c.Message
			}
		}
		for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ImagePullBackOff" {
				news = fmt.Sprintf("container %s: %s %s", s.Name, w.Reason, w.Message)
			}
		}
		lines = append(lines, fmt.Sprintf("%s: %s", pod.Name, strings.TrimSpace(news)))
	}
	sort.Strings(lines)
	return strings.Join(lines, "; ")
}

// dead says that a pod ended: it is never started again, so that the crash can be seen.
func (r *Runner) dead() error {
	for _, pod := range r.watcher.podList() {
		for _, s := range pod.Status.ContainerStatuses {
			if t := s.State.Terminated; t != nil {
				return reason.New(reason.ContainerEnded, "pod", pod.Name, "container", s.Name, "status", t.ExitCode, "why", t.Reason, "namespace", r.Namespace)
			}
		}
		if pod.Status.Phase == corev1.PodFailed {
			return reason.New(reason.PodFailed, "pod", pod.Name, "why", pod.Status.Reason+" "+pod.Status.Message)
		}
		if pod.DeletionTimestamp != nil {
			return reason.New(reason.PodDeleted, "pod", pod.Name)
		}
	}
	return nil
}
