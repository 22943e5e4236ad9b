package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// marks identify the session that an object belongs to.
type marks struct{ id, route, routeUID string }

// sweepRoute deletes what sessions of a Route left although the Route has no marks. swept is true
// if there was something.
func (r Rollback) sweepRoute(ctx context.Context, route, uid string) (swept bool, err error) {
	all, err := r.listMarked(ctx)
	if err != nil {
		return false, err
	}
	var left []marks
	for m := range all {
		if m.route == route && m.routeUID == uid {
			left = append(left, m)
		}
	}
	return left != nil, r.deleteLeftovers(ctx, left)
}

// sweepNamespace deletes what sessions left whose Routes no longer have marks or no longer exist.
// It skips the sessions in ended, which this command has ended. swept is true if there was
// something.
func (r Rollback) sweepNamespace(ctx context.Context, ended map[string]bool) (swept bool, err error) {
	all, err := r.listMarked(ctx)
	if err != nil {
		return false, err
	}
	// Read the Routes after the objects: a session marks its Route before it creates any.
	on, err := Finder{r.Store, r.Namespace}.List(ctx)
	if err != nil {
		return false, err
	}
	inSession := map[string]bool{}
	for _, found := range on {
		inSession[found.Route.Name] = true
	}
	var left []marks
	for m := range all {
		if !inSession[m.route] && !ended[m.id] { // otherwise ending the Route's session deletes it
			left = append(left, m)
		}
	}
	return left != nil, r.deleteLeftovers(ctx, left)
}

// deleteLeftovers deletes what sessions left. It drains first, because their Routes may have been
// restored a moment ago.
func (r Rollback) deleteLeftovers(ctx context.Context, left []marks) (failed error) {
	if left == nil {
		return nil
	}
	r.Report.Step(store.StepDrain, "wait until routers stop sending traffic to the sandbox")
	if err := Drain(r.Drain, nil, false, nil)(ctx, r.Outage.Late(time.Now())); err != nil {
		return err
	}
	for _, m := range left {
		r.Report.Step(store.StepDelete, fmt.Sprintf("Service and pods of session %s, which is no longer on route %s", m.id, m.route))
	}
	// Anyone who can create pods can make some that stay: with a finalizer. So all are deleted before any is
	// waited for.
	errs := make([]error, len(left))
	var running errgroup.Group
	running.SetLimit(maxDeletions)
	for i, m := range left {
		running.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, firstDeletion)
			defer cancel()
			errs[i] = r.Teardown(ctx, r.Namespace, m.route, m.id)
			return nil
		})
	}
	_ = running.Wait() // the errors are in errs
	for i, m := range left {
		if errs[i] != nil {
			running.Go(func() error {
				errs[i] = r.Teardown(ctx, r.Namespace, m.route, m.id)
				return nil
			})
		}
	}
	_ = running.Wait()
	return errors.Join(errs...)
}

// maxDeletions is how many sandboxes are deleted at once. A first try waits for pods for firstDeletion only.
const (
	maxDeletions  = 20
	firstDeletion = 5 * time.Second
)

// listMarked returns the sessions that Services and pods of the namespace belong to, by their
// marks. Invalid marks are ignored.
func (r Rollback) listMarked(ctx context.Context) (map[marks]bool, error) {
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
		if record.ValidID(m.id) && len(validation.IsDNS1123Subdomain(m.route)) == 0 {
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
