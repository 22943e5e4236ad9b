package session

import (
	"cmp"
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

// Reason implements reason.Reasoned.
func (e *Timeout) Reason() *reason.Error {
	return reason.New(reason.TimedOut, "what", e.What, "took", e.Took.String())
}

// buildSandbox creates the sandbox and waits until every pod is an endpoint that the router would
// use. That a pod is ready is not enough.
func (r *Runner) buildSandbox(ctx context.Context) error {
	if err := r.createSupporting(ctx); err != nil {
		return err
	}
	options := metav1.CreateOptions{FieldManager: record.FieldManager}
	r.buildStarted = r.Clock.Now()
	var made []corev1.Pod
	for _, pod := range r.plan.Pods {
		err := createWithRetry("pod "+pod.Name, func() error {
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
		made = nil // one existed already: list them
	}
	// The watches outlive this step's context on purpose. Run stops them.
	w, err := watchSession(context.WithoutCancel(ctx), r.Core, r.Routes, r.current, r.plan.Facts.Namespace, made, r.journal.Session)
	if err != nil {
		return err
	}
	r.watcher = w
	return r.waitReady(ctx)
}

// createSupporting creates what must exist before the pods: the Service, the copied NetworkPolicies
// and the disruption budget.
func (r *Runner) createSupporting(ctx context.Context) error {
	service := r.plan.Service
	options := metav1.CreateOptions{FieldManager: record.FieldManager}
	services := r.Core.CoreV1().Services(r.Namespace)
	var made *corev1.Service
	err := createWithRetry("Service "+service.Name, func() (err error) {
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
	if made.GetUID() == "" { // it existed already: a response was lost
		if made, err = services.Get(ctx, service.Name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("read Service %s: %w", service.Name, err)
		}
	}
	for _, p := range policies {
		p.OwnerReferences = sandbox.OwnedBy(made)
		err := createWithRetry("NetworkPolicy "+p.Name, func() error {
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
	return createWithRetry("PodDisruptionBudget "+budget.Name, func() error {
		_, err := r.Core.PolicyV1().PodDisruptionBudgets(r.Namespace).Create(ctx, budget, options)
		return err
	})
}

// createWithRetry creates an object, and retries where it is unknown whether the object was
// created. An object that exists already is ours, because its name contains this session's ID.
func createWithRetry(what string, do func() error) error {
	err := retry.OnError(retry.DefaultBackoff, store.Retriable, do)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s: %w", what, err)
	}
	return nil
}

// waitReady waits until every pod is an endpoint of the sandbox. A pod can be several: one for each port and
// each address.
func (r *Runner) waitReady(ctx context.Context) error {
	begin := time.Now()
	deadline := time.NewTimer(r.Timeout)
	defer deadline.Stop()
	stuck := newStuckWatch()
	defer stuck.timer.Stop()
	reported := ""
	for {
		if route.PodsOf(r.sandboxEndpoints()) >= len(r.plan.Pods) {
			r.Report.Note("ready after %.1f s", time.Since(begin).Seconds())
			return nil
		}
		if now := r.describePods(); now != reported && now != "" {
			reported = now
			r.Report.Note("%s", now)
		}
		if err := r.podFailure(); err != nil {
			return err
		}
		stuck.look(r.stuckPod())
		select {
		case <-stuck.timer.C:
			if stuck.pod != nil {
				if confirmed := r.confirmStuck(ctx, stuck.pod); confirmed != nil {
					return confirmed
				}
				stuck.again()
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return &Timeout{fmt.Sprintf("sandbox of %s not ready (%s)", r.plan.Input.Program, reported), r.Timeout}
		case <-r.watcher.changed:
		}
	}
}

// sandboxEndpoints returns the ready endpoints of the sandbox as the router sees them.
func (r *Runner) sandboxEndpoints() []route.Endpoint {
	if r.watcher == nil {
		return nil
	}
	return route.Endpoints(r.current, record.ServiceName(r.journal.Session), r.watcher.endpointSlices())
}

// describePods describes in one line what the pods are waiting for.
func (r *Runner) describePods() string {
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

// hasRun reports whether a container that has ended ever ran, so that it has logs.
func hasRun(t *corev1.ContainerStateTerminated) bool {
	return t.Reason != "StartError" && t.Reason != "ContainerCannotRun" && t.Reason != "CreateContainerError"
}

// podFailure returns an error if a pod has ended or is being deleted. Pods are never restarted, so
// that a crash can be inspected.
func (r *Runner) podFailure() error {
	for _, pod := range r.watcher.podList() {
		for _, s := range pod.Status.ContainerStatuses {
			if t := s.State.Terminated; t != nil && !hasRun(t) {
				return reason.New(reason.ContainerNotStarted, "pod", pod.Name, "container", s.Name, "why", cmp.Or(strings.TrimSpace(t.Message), t.Reason))
			} else if t != nil {
				return reason.New(reason.ContainerEnded, "pod", pod.Name, "container", s.Name, "status", t.ExitCode, "why", t.Reason, "namespace", r.Namespace)
			}
		}
		if pod.Status.Phase == corev1.PodFailed {
			return reason.New(reason.PodFailed, "pod", pod.Name, "why", cmp.Or(strings.TrimSpace(pod.Status.Reason+" "+pod.Status.Message), "no reason given"))
		}
		if pod.DeletionTimestamp != nil {
			return reason.New(reason.PodDeleted, "pod", pod.Name)
		}
	}
	return nil
}
