package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

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

// Reason is one of the table's.
func (e *Leftovers) Reason() *reason.Error {
	return reason.New(reason.ObjectsLeftBehind, "namespace", e.Namespace, "objects", e.Objects, "why", e.Err)
}

func (e *Leftovers) Unwrap() error { return e.Err }

// Teardown deletes what a session created on a Route and waits until it is gone, as long
// as the context allows. It goes by the session's label and the Route that each object
// names, never by a name of its own: a Route with a copy of another's marks has nothing
// here. It deletes only the very objects it saw, and none that a controller owns.
func (s Store) Teardown(ctx context.Context, namespace, route, id string) error {
	if !record.ValidID(id) {
		return reason.New(reason.SessionIDInvalid, "session", strconv.Quote(id))
	}
	parts, pods, err := s.Parts(ctx, namespace, route, id)
	if err != nil {
		return &Leftovers{namespace, []string{"unknown"}, err}
	}
	isPod := func(p Part) bool { return p.Pod != nil }
	left, failed := remove(ctx, parts, isPod)
	if failed == nil {
		left, failed = s.waitGone(ctx, namespace, route, id, pods)
	}
	if failed != nil {
		for _, p := range parts {
			if !isPod(p) {
				left = append(left, p.Kind+"/"+p.Name)
			}
		}
	} else {
		// The copied NetworkPolicies go with the Service: they bind the pods to the last.
		left, failed = remove(ctx, parts, func(p Part) bool { return !isPod(p) })
	}
	if failed != nil {
		return &Leftovers{namespace, left, failed}
	}
	return nil
}

// remove deletes those parts that are wanted, and names what is left.
func remove(ctx context.Context, parts []Part, wanted func(Part) bool) (left []string, failed error) {
	for _, p := range parts {
		if !wanted(p) {
			continue
		}
		if err := p.Delete(ctx); err != nil && !apierrors.IsNotFound(err) {
			left, failed = append(left, p.Kind+"/"+p.Name), errors.Join(failed, err)
		}
	}
	return left, failed
}

// waitGone watches, from a list on, until no pod of the session is there any more. A
// watch that breaks is begun again with a fresh list.
func (s Store) waitGone(ctx context.Context, namespace, route, id string, pods *corev1.PodList) ([]string, error) {
	for {
		there := map[string]bool{}
		for i := range pods.Items {
			if p := &pods.Items[i]; madePod(p, route) {
				there["pod/"+p.Name] = true
			}
		}
		if len(there) == 0 {
			return nil, nil
		}
		from := labelled(id)
		from.ResourceVersion = pods.ResourceVersion
		w, err := s.Core.CoreV1().Pods(namespace).Watch(ctx, from)
		if err == nil {
			err = untilEmpty(ctx, w, there)
			w.Stop()
		}
		if err != nil && !Retriable(err) {
			return keys(there), err
		}
		if len(there) == 0 {
			return nil, nil
		}
		if err := pause(ctx, 1); err != nil {
			return keys(there), err
		}
		if pods, err = s.Core.CoreV1().Pods(namespace).List(ctx, labelled(id)); err != nil {
			return keys(there), err
		}
	}
}

// untilEmpty takes deleted pods out of the set; nil when it is empty or the watch ends.
func untilEmpty(ctx context.Context, w watch.Interface, there map[string]bool) error {
	for len(there) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if pod, isPod := event.Object.(*corev1.Pod); isPod && event.Type == watch.Deleted {
				delete(there, "pod/"+pod.Name)
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

// Event writes an Event on the Route. It is a courtesy: an error is for the log only.
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
