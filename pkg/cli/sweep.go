package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/shift"
)

// marks are what an object says of its session.
type marks struct{ id, route, routeUID string }

// sweep removes what sessions of this Route left although the Route bears no mark.
func (a *app) sweep(ctx context.Context, c *clients, f *rollbackFlags, routeName, uid string) error {
	all, err := c.marked(ctx)
	if err != nil {
		return err
	}
	var left []marks
	for m := range all {
		if m.route == routeName && m.routeUID == uid {
			left = append(left, m)
		}
	}
	if left == nil {
		fmt.Fprintf(a.ErrOut, "route %s/%s: no session on it, nothing is left\n", c.namespace, routeName)
	}
	return a.teardown(ctx, c, f, left)
}

// sweepAll removes what sessions left on Routes that bear no mark any more, or are gone, and
// says whether there was something. What this command ended itself is not among it.
func (a *app) sweepAll(ctx context.Context, c *clients, f *rollbackFlags, ended map[string]bool) (swept bool, failed error) {
	all, err := c.marked(ctx)
	if err != nil {
		return false, err
	}
	var left []marks
	for m := range all {
		// Read after the objects: a session marks its Route before it makes any.
		r, err := c.Routes.RouteV1().Routes(c.namespace).Get(ctx, m.route, metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			failed = errors.Join(failed, fmt.Errorf("route %s/%s: %w", c.namespace, m.route, err))
		case err == nil && session.Of(r) != nil, ended[m.id]: // it is ended by way of its Route
		default:
			left = append(left, m)
		}
	}
	return left != nil, errors.Join(failed, a.teardown(ctx, c, f, left))
}

// teardown deletes what sessions left. Somebody may have restored their Routes a moment ago:
// the router lets go of them first.
func (a *app) teardown(ctx context.Context, c *clients, f *rollbackFlags, left []marks) (failed error) {
	if left == nil {
		return nil
	}
	report := a.report()
	report.Step(session.StepDrain, "a router that was told just now lets go")
	if err := shift.Drain(f.drain, nil, false, nil)(ctx, c.Outage.Late(time.Now())); err != nil {
		return err
	}
	for _, m := range left {
		report.Step(session.StepDelete, fmt.Sprintf("Service and pods of session %s, which route %s does not know", m.id, m.route))
		failed = errors.Join(failed, c.Teardown(ctx, c.namespace, m.route, m.id))
	}
	return failed
}

// marked lists the sessions that Services and pods of the namespace are of, by their marks.
// What can't be a session's is not among them.
func (c *clients) marked(ctx context.Context) (map[marks]bool, error) {
	labelled := metav1.ListOptions{LabelSelector: session.Label}
	pods, err := c.Core.CoreV1().Pods(c.namespace).List(ctx, labelled)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	services, err := c.Core.CoreV1().Services(c.namespace).List(ctx, labelled)
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	all := map[marks]bool{}
	note := func(o *metav1.ObjectMeta) {
		m := marks{o.Labels[session.Label], o.Annotations[session.RouteNameKey], o.Annotations[session.RouteUIDKey]}
		if session.ValidID(m.id) && m.route != "" {
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
