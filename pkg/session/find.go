package session

import (
	"context"
	"fmt"
	"sort"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Found is a Route and its session. Session is nil if the Route has none.
type Found struct {
	Route   *routev1.Route
	Session *record.Session
}

// Finder finds the sessions of a namespace, or of all namespaces ("").
type Finder struct {
	store.Store
	Namespace string
}

// fromCache returns the options of a list. A list of all namespaces comes from the API server's
// cache, which may be slightly stale, because reading every object may take seconds.
func fromCache(namespace string) (o metav1.ListOptions) {
	if namespace == metav1.NamespaceAll {
		o.ResourceVersion = "0"
	}
	return o
}

// List returns the sessions, sorted by namespace and Route. In one namespace, a session is found by
// any of its marks. In all namespaces, which may have many Routes, it is found only by the label,
// and read from the API server's cache.
func (f Finder) List(ctx context.Context) ([]Found, error) {
	options := fromCache(f.Namespace)
	if f.Namespace == metav1.NamespaceAll {
		options.LabelSelector = record.Label
	}
	list, err := f.Routes.RouteV1().Routes(f.Namespace).List(ctx, options)
	if err != nil {
		return nil, f.failedRead(fmt.Errorf("list Routes: %w", err))
	}
	var out []Found
	for i := range list.Items {
		if s := record.Of(&list.Items[i]); s != nil {
			out = append(out, Found{&list.Items[i], s})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].Route, out[j].Route
		return a.Namespace < b.Namespace || a.Namespace == b.Namespace && a.Name < b.Name
	})
	return out, nil
}

// failedRead gives the error of a read its reason if the user lacks the permission in the namespace.
func (f Finder) failedRead(err error) error {
	if apierrors.IsForbidden(err) && f.Namespace != metav1.NamespaceAll {
		return reason.Forbidden(reason.SessionsForbidden, "why", err, "namespace", f.Namespace)
	}
	return err
}

// Which returns the session that the user means: by Route, by ID, or the only one. With a Route,
// its session may be nil.
func (f Finder) Which(ctx context.Context, route, id string) (Found, error) {
	if route != "" {
		r, err := f.Routes.RouteV1().Routes(f.Namespace).Get(ctx, route, metav1.GetOptions{})
		if err != nil {
			return Found{}, f.failedRead(fmt.Errorf("route %s/%s: %w", f.Namespace, route, err))
		}
		s := record.Of(r)
		if s != nil && id != "" && s.ID != id {
			return Found{}, reason.New(reason.OtherSessionOnRoute, "namespace", f.Namespace, "route", route, "session", s.ID, "asked", id)
		}
		return Found{r, s}, nil
	}
	all, err := f.List(ctx)
	if err != nil {
		return Found{}, err
	}
	var match []Found
	for _, one := range all {
		if id == "" || one.Session.ID == id {
			match = append(match, one)
		}
	}
	switch {
	case len(match) == 1:
		return match[0], nil
	case len(match) == 0 && id != "":
		return Found{}, reason.New(reason.NoSuchSession, "namespace", f.Namespace, "session", id)
	case len(match) == 0:
		return Found{}, reason.New(reason.NoSession, "namespace", f.Namespace)
	}
	return Found{}, reason.New(reason.SeveralSessions, "namespace", f.Namespace, "sessions", len(match))
}

// Running is Which for a session that is live or held. Others cannot be changed.
func (f Finder) Running(ctx context.Context, route, id string) (Found, error) {
	found, err := f.Which(ctx, route, id)
	if err != nil {
		return Found{}, err
	}
	return found, found.checkRunning()
}

// None returns the error that the Route has no session.
func (f Found) None() error {
	return reason.New(reason.NoSessionOnRoute, "namespace", f.Route.Namespace, "route", f.Route.Name)
}

// checkRunning refuses a session that is neither live nor held.
func (f Found) checkRunning() error {
	switch {
	case f.Session == nil:
		return f.None()
	case f.Session.Broken != nil:
		return fmt.Errorf("route %s/%s: %w", f.Route.Namespace, f.Route.Name, f.Session.Broken)
	case f.Session.Journal == nil:
		return reason.New(reason.SessionEnding, "namespace", f.Route.Namespace, "route", f.Route.Name, "session", f.Session.ID)
	case f.Session.State == record.Arming:
		return reason.New(reason.SessionStillArming, "namespace", f.Route.Namespace, "route", f.Route.Name, "session", f.Session.ID)
	}
	return nil
}

// Latest returns when a session must end that may last for longest, counted from the creation of
// its first pod.
func (f Finder) Latest(ctx context.Context, found Found, longest time.Duration, now time.Time) (time.Time, error) {
	pods, err := f.Core.CoreV1().Pods(found.Route.Namespace).List(ctx, metav1.ListOptions{LabelSelector: record.Label + "=" + found.Session.ID})
	if err != nil {
		return time.Time{}, fmt.Errorf("list pods: %w", err)
	}
	begin := now
	for _, p := range pods.Items {
		if p.CreationTimestamp.Time.Before(begin) {
			begin = p.CreationTimestamp.Time
		}
	}
	return begin.Add(longest), nil
}
