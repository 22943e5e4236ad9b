package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// marks are what an object says of its session.
type marks struct{ id, route, routeUID string }

// sweep removes what sessions of a Route left although the Route has no mark, and says whether
// there was something.
func (r Rollback) sweep(ctx context.Context, route, uid string) (swept bool, err error) {
	all, err := r.marked(ctx)
	if err != nil {
		return false, err
	}
	var left []marks
	for m := range all {
		if m.route == route && m.routeUID == uid {
			left = append(left, m)
		}
	}
	return left != nil, r.teardown(ctx, left)
}

// sweepAll removes what sessions left on Routes that have no mark any more, or are gone, and
// says whether there was something. What this command ended itself is not among it.
func (r Rollback) sweepAll(ctx context.Context, ended map[string]bool) (swept bool, failed error) {
	all, err := r.marked(ctx)
	if err != nil {
		return false, err
	}
	var left []marks
	for m := range all {
		// Read after the objects: a session marks its Route before it makes any.
		on, err := r.Routes.RouteV1().Routes(r.Namespace).Get(ctx, m.route, metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			failed = errors.Join(failed, fmt.Errorf("route %s/%s: %w", r.Namespace, m.route, err))
		case err == nil && record.Of(on) != nil, ended[m.id]: // it is ended by its Route
		default:
			left = append(left, m)
		}
	}
	return left != nil, errors.Join(failed, r.teardown(ctx, left))
}

// teardown deletes what sessions left. Somebody may have restored their Routes a moment ago:
// the router lets go of them first.
func (r Rollback) teardown(ctx context.Context, left []marks) (failed error) {
	if left == nil {
		return nil
	}
	r.Report.Step(store.StepDrain, "a router that was told just now lets go")
	if err := Drain(r.Drain, nil, false, nil)(ctx, r.Outage.Late(time.Now())); err != nil {
		return err
	}
	for _, m := range left {
		r.Report.Step(store.StepDelete, fmt.Sprintf("Service and pods of session %s, which route %s does not know", m.id, m.route))
		failed = errors.Join(failed, r.Teardown(ctx, r.Namespace, m.route, m.id))
	}
	return failed
}

// marked lists the sessions that Services and pods of the namespace are of, by their marks.
// What can't be a session's is not among them.
func (r Rollback) marked(ctx context.Context) (map[marks]bool, error) {
	labelled := metav1.ListOptions{LabelSelector: record.Label}
	pods, err := r.Core.CoreV1().Pods(r.Namespace).List(ctx, labelled)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	services, err := r.Core.CoreV1().Services(r.Namespace).List(ctx, labelled)
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	all := map[marks]bool{}
	note := func(o *metav1.ObjectMeta) {
		m := marks{o.Labels[record.Label], o.Annotations[record.RouteNameKey], o.Annotations[record.RouteUIDKey]}
		if record.ValidID(m.id) && m.route != "" {
			all[m] = true
		}
	}
	for i := range pods.Items {
		note(&pods.Items[i].ObjectMeta)
	}
	for i := range services.Items {
		note(&services.Items[i].ObjectMeta)
	}
	return all, nil
}
