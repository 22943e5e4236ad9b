package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
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
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

const (
	watchAgain = time.Second            // after a watch that ended
	settles    = 100 * time.Millisecond // changes within this time are printed together

	redrawEvery = time.Second // for the time that sessions have left: nothing is read for it
)

// drawnFormats are those that a terminal shows at one look.
var drawnFormats = []string{"", "wide", "tree"}

// statusWatch knows the Routes with a session, and what was last printed of each.
type statusWatch struct {
	*clients
	*statusPrinter
	routes  map[string]*routev1.Route // by namespace/name
	printed map[string]string
	due     map[string]bool // may have changed
	passing map[string]bool // have a problem that passes by itself, without an event
	redraws bool            // on a terminal: all sessions, every redrawEvery
	shown   map[string]shownStatus
	failing time.Time // since when the API server has not answered; zero if it does
}

// shownStatus is a session on a terminal, with the time at which it was read.
type shownStatus struct {
	session.Status
	read time.Time
}

// watchStatus prints the sessions, and each one that changes (its Route, the endpoints of its
// backends, its pods), until the context ends.
func (a *app) watchStatus(ctx context.Context, c *clients, f *statusFlags) error {
	s := &statusWatch{
		clients: c, statusPrinter: a.statusPrinter(f), routes: map[string]*routev1.Route{}, printed: map[string]string{}, due: map[string]bool{}, passing: map[string]bool{},
		redraws: isTerminal(a.raw.Out) && os.Getenv("TERM") != "dumb" && slices.Contains(drawnFormats, f.output), shown: map[string]shownStatus{},
	}
	g, ctx := errgroup.WithContext(ctx)
	events := make(chan watch.Event)
	of := record.Label
	if f.session != "" {
		of += "=" + f.session
	}
	backends := "" // all EndpointSlices of a namespace; those of a whole cluster are too many
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

// follow passes on the events of a watch, existing objects first, until the context ends. A watch
// that breaks continues where it was, even if the API server was away for a while.
func follow(ctx context.Context, events chan<- watch.Event, selector string, begin func(metav1.ListOptions) (watch.Interface, error)) error {
	const anyRecent = "0" // a resourceVersion: existing objects come first
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
				version = anyRecent // an error: list again, since events were missed
				break
			}
			version = o.GetResourceVersion()
			select {
			case events <- event:
			case <-ctx.Done():
			}
		}
		w.Stop()
		_ = kube.Sleep(ctx, watchAgain) // the loop ends with ctx
	}
	return nil
}

// unlessForbidden drops the error of a user whose role allows only Routes: they see what Routes show.
func unlessForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// print prints the sessions that events concern, a little later, so that changes at the same time
// are printed once.
func (s *statusWatch) print(ctx context.Context, events <-chan watch.Event) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	redraw := time.NewTicker(redrawEvery)
	defer redraw.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-redraw.C:
			for key := range s.passing {
				if len(s.due) == 0 {
					timer.Reset(settles)
				}
				s.due[key] = true
			}
			s.draw()
		case event := <-events:
			waiting := len(s.due) > 0
			if s.note(event.Type, event.Object); len(s.due) > 0 && !waiting {
				timer.Reset(settles)
			}
		case <-timer.C:
			for _, key := range slices.Sorted(maps.Keys(s.due)) {
				err := s.printDue(ctx, s.routes[key])
				passes := store.Retriable(err) || kube.Refused(err) && len(s.printed)+len(s.shown) > 0 // the user has the rights
				if err != nil && !passes {
					return err
				}
				switch {
				case err == nil:
					delete(s.due, key)
					s.failing = time.Time{}
				case s.failing.IsZero():
					s.failing = s.clock.Now()
				}
			}
			s.draw()
			if len(s.due) > 0 { // the API server is away: the watches end when it refuses for good
				timer.Reset(watchAgain)
			}
		}
	}
}

// note takes in an event.
func (s *statusWatch) note(what watch.EventType, o runtime.Object) {
	switch o := o.(type) {
	case *routev1.Route:
		key, found := o.Namespace+"/"+o.Name, record.Of(o)
		switch {
		case s.route != "" && o.Name != s.route:
		case what == watch.Deleted || found == nil:
			if _, known := s.routes[key]; known {
				s.gone(key)
			}
			delete(s.routes, key)
			delete(s.printed, key)
			delete(s.due, key)
			delete(s.passing, key)
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

// touch marks the Routes of a namespace that a change concerns.
func (s *statusWatch) touch(namespace string, concerns func(*routev1.Route) bool) {
	for key, r := range s.routes {
		if r.Namespace == namespace && concerns(r) {
			s.due[key] = true
		}
	}
}

// printDue prints the session of a Route if it changed since it was printed.
func (s *statusWatch) printDue(ctx context.Context, r *routev1.Route) error {
	row, err := s.finder().Status(ctx, session.Found{Route: r, Session: record.Of(r)}, s.showsPods(), s.clock.Now())
	if err != nil {
		return err
	}
	key := r.Namespace + "/" + r.Name
	delete(s.passing, key)
	if row.ProblemCode == reason.NotServedYet {
		s.passing[key] = true
	}
	s.wordProblem(&row)
	if s.redraws {
		s.shown[key] = shownStatus{row, s.clock.Now()}
		return nil
	}
	text, err := json.Marshal(row)
	if err != nil || s.printed[key] == string(text) {
		return err
	}
	s.printed[key] = string(text)
	return s.statusPrinter.print([]session.Status{row})
}

// gone reports that a Route has no session any more.
func (s *statusWatch) gone(key string) {
	if s.redraws {
		delete(s.shown, key)
		s.draw()
		return
	}
	fmt.Fprintf(s.ErrOut, "route %s: no session any more\n", key)
}

// home moves the cursor to the first line of a terminal and clears what is below.
const home = "\x1b[H\x1b[J"

// draw prints all sessions over what the terminal showed before.
func (s *statusWatch) draw() {
	if !s.redraws {
		return
	}
	now := s.clock.Now()
	fmt.Fprint(s.raw.Out, home)
	fmt.Fprintf(s.Out, "%s, Ctrl-C to quit\n\n", clockTime(now))
	if !s.failing.IsZero() {
		fmt.Fprintf(s.Out, "The API server has not answered since %s. Last seen:\n\n", clockTime(s.failing))
	}
	rows := []session.Status{}
	for _, key := range slices.Sorted(maps.Keys(s.shown)) {
		row := s.shown[key]
		row.Left = max(row.Left-now.Sub(row.read), 0)
		rows = append(rows, row.Status)
	}
	s.begun = false
	_ = s.statusPrinter.print(rows) // to a terminal
}
