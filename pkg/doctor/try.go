package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// LongestTry bounds Try: a guard deletes sandbox pods whose Route has no mark of them after
// two minutes.
const LongestTry = 110 * time.Second

// deletion bounds how long deleting the pod may take.
const deletion = time.Minute

// Try makes a sandbox pod with nothing but the sidecar in it, on the Route's account, sees
// whether a node takes it and its image is pulled, and deletes it. It never has traffic.
// Should this process die, the guard deletes the pod as an orphan, and its own deadline
// ends it.
func (d *Doctor) Try(ctx context.Context, timeout time.Duration, tell func(Finding)) error {
	r, err := d.Routes.RouteV1().Routes(d.Namespace).Get(ctx, d.Route, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read route %s/%s: %w", d.Namespace, d.Route, err)
	}
	pod := d.podOf(r)
	deadline := int64((timeout + deletion).Seconds())
	pod.Spec.ActiveDeadlineSeconds = &deadline
	pods := d.Core.CoreV1().Pods(d.Namespace)
	made, err := pods.Create(ctx, pod, metav1.CreateOptions{FieldManager: record.FieldManager})
	if err != nil {
		f, err := d.found(ctx, "sandbox starts", "", preflight.Refused("a sandbox pod", err))
		if err == nil {
			tell(f)
		}
		return err
	}
	begin := time.Now()
	seen, waited := d.started(ctx, made, timeout)
	deleting, cancel := context.WithTimeout(context.WithoutCancel(ctx), deletion)
	defer cancel()
	err = pods.Delete(deleting, made.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &made.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return &store.Leftovers{Namespace: d.Namespace, Objects: []string{"pod/" + made.Name}, Err: err}
	}
	if waited != nil && ctx.Err() == nil {
		waited = d.whyNot(seen)
	}
	f, err := d.found(ctx, "sandbox starts", fmt.Sprintf("on node %s within %.0f s, its image pulled", seen.Spec.NodeName, time.Since(begin).Seconds()), waited)
	if err == nil {
		tell(f)
	}
	return err
}

// started waits until the pod's sidecar runs, or can't; it returns the pod as last seen.
func (d *Doctor) started(ctx context.Context, pod *corev1.Pod, timeout time.Duration) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pods := d.Core.CoreV1().Pods(d.Namespace)
	named := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", pod.Name).String()
		return o
	}
	list := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return pods.List(ctx, named(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, named(o))
		},
	}
	seen := pod
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		p, ok := e.Object.(*corev1.Pod)
		if !ok || e.Type == watch.Deleted {
			return false, errors.New("the pod is gone")
		}
		seen = p
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
	return seen, err
}

// whyNot says why a pod did not start.
func (d *Doctor) whyNot(p *corev1.Pod) error {
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
