package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/osc-debug/osc-debug/pkg/kube"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

const (
	watchAgain = time.Second            // after a watch that ended
	settles    = 100 * time.Millisecond // what changes together is printed once
)

// statusWatch knows the Routes with a session, and what of each was printed last.
type statusWatch struct {
	*clients
	*statusPrinter
	routes  map[string]*routev1.Route // by namespace/name
	printed map[string]string
	due     map[string]bool // may have changed
}

// watchStatus prints the sessions that there are, and each one of which something changes (its
// Route, the endpoints of its backends, its pods), until the context ends.
func (a *app) watchStatus(ctx context.Context, c *clients, f *statusFlags) error {
	s := &statusWatch{c, a.statusPrinter(f), map[string]*routev1.Route{}, map[string]string{}, map[string]bool{}}
	g, ctx := errgroup.WithContext(ctx)
	events := make(chan watch.Event)
	of := record.Label
	if f.session != "" {
		of += "=" + f.session
	}
	backends := "" // of others too; those of a whole cluster are too many
	if c.namespace == metav1.NamespaceAll {
		backends = of
	}
	g.Go(func() error {
		return follow(ctx, events, of, func(o metav1.ListOptions) (watch.Interface, error) {
			return c.Routes.RouteV1().Routes(c.namespace).Watch(ctx, o)
		})
	})
	g.Go(func() error {
		return unlessForbidden(follow(ctx, events, backends, func(o metav1.ListOptions) (watch.Interface, error) {
			return c.Core.DiscoveryV1().EndpointSlices(c.namespace).Watch(ctx, o)
		}))
	})
	if s.showsPods() {
		g.Go(func() error {
			return unlessForbidden(follow(ctx, events, of, func(o metav1.ListOptions) (watch.Interface, error) {
				return c.Core.CoreV1().Pods(c.namespace).Watch(ctx, o)
			}))
		})
	}
	g.Go(func() error { return s.print(ctx, events) })
	return g.Wait()
}

// follow passes on what a watch tells, from what is there on, until the context ends. A watch
// that breaks goes on where it was, also after an API server that was away for a while.
func follow(ctx context.Context, events chan<- watch.Event, selector string, begin func(metav1.ListOptions) (watch.Interface, error)) error {
	const anyRecent = "0" // a version to begin at: what is there comes first
	version, refusals := anyRecent, kube.Refusals{}
	for ctx.Err() == nil {
		w, err := begin(metav1.ListOptions{LabelSelector: selector, ResourceVersion: version})
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil:
			refusals.Served()
		case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			w, version = watch.NewEmptyWatch(), anyRecent
		case refusals.Allowed && store.Retriable(err):
			refusals.Served()
			w = watch.NewEmptyWatch()
		case refusals.MayPass(err):
			w = watch.NewEmptyWatch()
		default:
			return fmt.Errorf("watch: %w", err)
		}
		for event := range w.ResultChan() {
			o, err := meta.Accessor(event.Object)
			if err != nil {
				version = anyRecent // an error: what was missed is gone
				break
			}
			version = o.GetResourceVersion()
			select {
			case events <- event:
			case <-ctx.Done():
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

// unlessForbidden: who may look at Routes alone sees what they tell.
func unlessForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// print prints what events tell of, a little later, so that what changes together is one.
func (s *statusWatch) print(ctx context.Context, events <-chan watch.Event) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			waiting := len(s.due) > 0
			if s.note(event.Type, event.Object); len(s.due) > 0 && !waiting {
				timer.Reset(settles)
			}
		case <-timer.C:
			for _, key := range slices.Sorted(maps.Keys(s.due)) {
				err := s.printDue(ctx, s.routes[key])
				passes := store.Retriable(err) || kube.Refused(err) && len(s.printed) > 0 // he may
				if err != nil && !passes {
					return err
				}
				if err == nil {
					delete(s.due, key)
				}
			}
			if len(s.due) > 0 { // the API server is away: the watches tell when for good
				timer.Reset(watchAgain)
			}
		}
	}
}

// note takes in what a watch told of an object.
func (s *statusWatch) note(what watch.EventType, o runtime.Object) {
	switch o := o.(type) {
	case *routev1.Route:
		key, found := o.Namespace+"/"+o.Name, record.Of(o)
		switch {
		case s.route != "" && o.Name != s.route:
		case what == watch.Deleted || found == nil:
			if _, known := s.routes[key]; known {
				fmt.Fprintf(s.ErrOut, "route %s: no session any more\n", key)
			}
			delete(s.routes, key)
			delete(s.printed, key)
			delete(s.due, key)
		default:
			s.routes[key], s.due[key] = o, true
		}
	case *discoveryv1.EndpointSlice:
		s.touch(o.Namespace, func(r *routev1.Route) bool {
			service := o.Labels[discoveryv1.LabelServiceName]
			return r.Spec.To.Name == service || slices.ContainsFunc(r.Spec.AlternateBackends, func(b routev1.RouteTargetReference) bool { return b.Name == service })
		})
	case *corev1.Pod:
		s.touch(o.Namespace, func(r *routev1.Route) bool { return record.Of(r).ID == o.Labels[record.Label] })
	}
}

// touch marks the Routes of a namespace that something may have changed for.
func (s *statusWatch) touch(namespace string, concerns func(*routev1.Route) bool) {
	for key, r := range s.routes {
		if r.Namespace == namespace && concerns(r) {
			s.due[key] = true
		}
	}
}

// printDue prints a Route's session if it is no longer as it was printed.
func (s *statusWatch) printDue(ctx context.Context, r *routev1.Route) error {
	row, err := s.finder().Status(ctx, session.Found{Route: r, Session: record.Of(r)}, s.showsPods(), s.clock.Now())
	if err != nil {
		return err
	}
	s.wordProblem(&row)
	text, err := json.Marshal(row)
	key := r.Namespace + "/" + r.Name
	if err != nil || s.printed[key] == string(text) {
		return err
	}
	s.printed[key] = string(text)
	return s.statusPrinter.print([]session.Status{row})
}
