package cli

import (
	"context"
	"fmt"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// watchStatus prints the sessions that there are, and each one that changes, until the
// context ends. A watch that breaks goes on where it was.
func (a *app) watchStatus(ctx context.Context, c *clients, f *statusFlags) error {
	p := a.statusPrinter(f)
	const (
		anyRecent  = "0" // a version to begin at: what is there comes first
		watchAgain = time.Second
	)
	version, selector := anyRecent, session.Label
	if f.session != "" {
		selector += "=" + f.session
	}
	for ctx.Err() == nil {
		w, err := c.Routes.RouteV1().Routes(c.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: version})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return fmt.Errorf("watch Routes: %w", err)
		}
		if err != nil {
			w, version = watch.NewEmptyWatch(), anyRecent
		}
		for event := range w.ResultChan() {
			r, ok := event.Object.(*routev1.Route)
			if !ok {
				version = anyRecent // an error: what was missed is gone
				break
			}
			version = r.ResourceVersion
			if f.route != "" && r.Name != f.route {
				continue
			}
			if err := p.printChange(ctx, c, event.Type, r); err != nil {
				return err
			}
		}
		w.Stop()
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
	return nil
}

// printChange prints the row of a Route that changed.
func (p *statusPrinter) printChange(ctx context.Context, c *clients, what watch.EventType, r *routev1.Route) error {
	s := session.Of(r)
	if what == watch.Deleted || s == nil {
		fmt.Fprintf(p.ErrOut, "route %s/%s: no session any more\n", r.Namespace, r.Name)
		return nil
	}
	list, err := c.Core.DiscoveryV1().EndpointSlices(r.Namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	pods, err := c.sandboxPods(ctx, p.statusFlags, r.Namespace)
	if err != nil {
		return err
	}
	return p.print([]sessionStatus{c.status(found{r, s}, list.Items, pods[r.Namespace+"/"+s.ID])})
}
