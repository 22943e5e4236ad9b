package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Leftovers is the error of a teardown that did not finish.
type Leftovers struct {
	Namespace string
	Objects   []string // kind/name
	Err       error
}

func (e *Leftovers) Error() string { return e.Reason().Error() }

// Reason implements reason.Reasoned.
func (e *Leftovers) Reason() *reason.Error {
	return reason.New(reason.ObjectsLeftBehind, "namespace", e.Namespace, "objects", strings.Join(e.Objects, ", "), "why", e.Err)
}

// Unwrap returns the cause.
func (e *Leftovers) Unwrap() error { return e.Err }

// Teardown deletes what a session created on a Route and waits until the pods are gone, as long as
// the context allows. It finds objects by the session's label and by the Route that they name, so
// nothing is deleted for a Route with copied marks of another one. It deletes only the objects that
// it saw. If it does not finish, the error is *Leftovers.
func (s Store) Teardown(ctx context.Context, namespace, route, id string) error {
	if !record.ValidID(id) {
		return reason.New(reason.SessionIDInvalid, "session", strconv.Quote(id))
	}
	parts, pods, err := s.parts(ctx, namespace, route, id)
	if err != nil {
		return &Leftovers{namespace, []string{"objects of the session"}, err}
	}
	t := teardown{wait: func() ([]string, error) { return s.waitForPodsGone(ctx, namespace, route, id, pods) }}
	if err := t.run(ctx, parts); err != nil {
		return &Leftovers{namespace, t.left, err}
	}
	return nil
}

// TeardownOnce is Teardown for a caller that must not wait, and that knows the names of the pods: it leaves
// the Service to a later call while pods exist. It deletes only the objects that ours allows. It returns
// the pods and Services that may still exist, and whether it deleted anything.
func (s Store) TeardownOnce(ctx context.Context, namespace, route, id string, pods []string, ours func(context.Context, Part) (bool, error)) (left []string, deleted bool, err error) {
	parts, err := s.partsByName(ctx, namespace, route, id, pods)
	if err != nil {
		return nil, false, fmt.Errorf("read sandbox objects: %w", err)
	}
	t := teardown{ours: ours}
	err = t.run(ctx, parts)
	return t.left, t.deleted, err
}

// teardown deletes the objects of a sandbox in order: first the pods, and the Service when they are
// gone. The copied NetworkPolicies are deleted with the Service, and must restrict the pods to the end.
type teardown struct {
	ours func(context.Context, Part) (bool, error) // nil: all objects
	// wait waits until the pods are gone, and returns those that are left. nil: do not wait.
	wait func() (left []string, err error)

	left    []string // objects that may still exist, as kind/name
	deleted bool     // something was deleted
}

// run deletes the parts. Unless it returns an error, left has the pods that it did not wait for.
func (t *teardown) run(ctx context.Context, parts []Part) error {
	var pods, others []Part
	for _, p := range parts {
		if p.Pod != nil {
			pods = append(pods, p)
		} else {
			others = append(others, p)
		}
	}
	failed := t.deleteAll(ctx, pods)
	if failed == nil && len(t.left) > 0 && t.wait != nil {
		t.left, failed = t.wait()
	}
	if failed != nil || len(t.left) > 0 {
		for _, p := range others {
			t.left = append(t.left, p.String())
		}
		return failed
	}
	failed = t.deleteAll(ctx, others)
	if failed == nil {
		t.left = nil // nothing waits for a Service
	}
	return failed
}

// deleteAll deletes parts. It adds those to left that may still exist: a deleted pod runs on for a while.
func (t *teardown) deleteAll(ctx context.Context, parts []Part) (failed error) {
	for _, p := range parts {
		if t.ours != nil {
			ours, err := t.ours(ctx, p)
			failed = errors.Join(failed, err)
			if !ours {
				continue
			}
		}
		if p.DeletionTimestamp == nil || p.endsTooLate() {
			err := p.delete(ctx)
			if apierrors.IsNotFound(err) {
				continue
			}
			t.deleted = t.deleted || err == nil
			failed = errors.Join(failed, err)
		}
		t.left = append(t.left, p.String())
	}
	return failed
}

// waitForPodsGone watches from the list pods on until no pod of the session is left. If the watch
// breaks, it starts again with a new list. With an error it returns the pods that are left.
func (s Store) waitForPodsGone(ctx context.Context, namespace, route, id string, pods *corev1.PodList) ([]string, error) {
	for {
		remaining := map[string]bool{}
		for i := range pods.Items {
			if p := &pods.Items[i]; isSessionPod(p, route) {
				remaining["pod/"+p.Name] = true
			}
		}
		if len(remaining) == 0 {
			return nil, nil
		}
		from := sessionListOptions(id)
		from.ResourceVersion = pods.ResourceVersion
		w, err := s.Core.CoreV1().Pods(namespace).Watch(ctx, from)
		if err == nil {
			err = waitForDeletions(ctx, w, remaining)
			w.Stop()
		}
		if err != nil && !Retriable(err) {
			return keys(remaining), err
		}
		if len(remaining) == 0 {
			return nil, nil
		}
		if err := kube.Backoff(ctx, firstPause, 1); err != nil {
			return keys(remaining), err
		}
		if pods, err = s.Core.CoreV1().Pods(namespace).List(ctx, sessionListOptions(id)); err != nil {
			return keys(remaining), err
		}
	}
}

// waitForDeletions removes deleted pods from the set until it is empty or the watch ends.
func waitForDeletions(ctx context.Context, w watch.Interface, remaining map[string]bool) error {
	for len(remaining) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if pod, isPod := event.Object.(*corev1.Pod); isPod && event.Type == watch.Deleted {
				delete(remaining, "pod/"+pod.Name)
			}
		}
	}
	return nil
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

// Event writes an Event on the Route. why is its reason. The session does not depend on Events, so
// callers only report the error.
func (s Store) Event(ctx context.Context, namespace, route, uid, why, note string) error {
	now := metav1.NewTime(time.Now())
	_, err := s.Core.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: record.NamePrefix, Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "route.openshift.io/v1", Kind: "Route", Namespace: namespace, Name: route, UID: types.UID(uid)},
		Reason:         why, Message: note, Type: corev1.EventTypeNormal,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: record.FieldManager},
	}, metav1.CreateOptions{})
	return err
}
