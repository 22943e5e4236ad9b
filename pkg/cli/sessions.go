package cli

import (
	"context"
	"fmt"
	"sort"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
)

// found is a session and the Route it is on.
type found struct {
	route   *routev1.Route
	session *session.Session
}

// listOf has a list of all namespaces served from the API server's cache, which may be a
// moment behind: to read every Route there is may take seconds.
func listOf(namespace string) (o metav1.ListOptions) {
	if namespace == metav1.NamespaceAll {
		o.ResourceVersion = "0"
	}
	return o
}

// sessions lists the sessions of a namespace by what the Routes say, whichever mark is
// left; of all namespaces (""), where Routes may be many, by the label and from the cache.
func (c *clients) sessions(ctx context.Context, namespace string) ([]found, error) {
	options := listOf(namespace)
	if namespace == metav1.NamespaceAll {
		options.LabelSelector = session.Label
	}
	list, err := c.Routes.RouteV1().Routes(namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list Routes: %w", err)
	}
	var out []found
	for i := range list.Items {
		if s := session.Of(&list.Items[i]); s != nil {
			out = append(out, found{&list.Items[i], s})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].route, out[j].route
		return a.Namespace < b.Namespace || a.Namespace == b.Namespace && a.Name < b.Name
	})
	return out, nil
}

// which picks the session that the user means: by Route, by ID, or the only one.
func (c *clients) which(ctx context.Context, routeName, id string) (found, error) {
	if routeName != "" {
		r, err := c.Routes.RouteV1().Routes(c.namespace).Get(ctx, routeName, metav1.GetOptions{})
		if err != nil {
			return found{}, fmt.Errorf("route %s/%s: %w", c.namespace, routeName, err)
		}
		s := session.Of(r)
		switch {
		case s == nil:
			return found{route: r}, nil
		case id != "" && s.ID != id:
			return found{}, reason.New(reason.OtherSessionOnRoute, "namespace", c.namespace, "route", routeName, "session", s.ID, "asked", id)
		}
		return found{r, s}, nil
	}
	all, err := c.sessions(ctx, c.namespace)
	if err != nil {
		return found{}, err
	}
	var match []found
	for _, f := range all {
		if id == "" || f.session.ID == id {
			match = append(match, f)
		}
	}
	switch {
	case len(match) == 1:
		return match[0], nil
	case len(match) == 0 && id != "":
		return found{}, reason.New(reason.NoSuchSession, "namespace", c.namespace, "session", id)
	case len(match) == 0:
		return found{}, reason.New(reason.NoSession, "namespace", c.namespace)
	}
	return found{}, reason.New(reason.SeveralSessions, "namespace", c.namespace, "sessions", len(match))
}

// running picks the session that the user means and refuses one that can't be changed.
func (a *app) running(ctx context.Context, routeName, id string) (*clients, found, error) {
	c, err := a.clients()
	if err != nil {
		return nil, found{}, err
	}
	f, err := c.which(ctx, routeName, id)
	if err == nil {
		err = f.changeable()
	}
	return c, f, err
}

// none says that the Route has no session.
func (f found) none() error {
	return reason.New(reason.NoSessionOnRoute, "namespace", f.route.Namespace, "route", f.route.Name)
}

// changeable refuses a session that is neither live nor held.
func (f found) changeable() error {
	switch {
	case f.session == nil:
		return f.none()
	case f.session.Broken != nil:
		return fmt.Errorf("route %s/%s: %w", f.route.Namespace, f.route.Name, f.session.Broken)
	case f.session.Journal == nil:
		return reason.New(reason.SessionEnding, "namespace", f.route.Namespace, "route", f.route.Name, "session", f.session.ID)
	case f.session.State == session.Arming:
		return reason.New(reason.SessionStillArming, "namespace", f.route.Namespace, "route", f.route.Name, "session", f.session.ID)
	}
	return nil
}

// latest is when a session must end: counted from its first pod.
func (c *clients) latest(ctx context.Context, f found) (time.Time, error) {
	set, err := c.settings(ctx)
	if err != nil {
		return time.Time{}, err
	}
	pods, err := c.Core.CoreV1().Pods(f.route.Namespace).List(ctx, metav1.ListOptions{LabelSelector: session.Label + "=" + f.session.ID})
	if err != nil {
		return time.Time{}, fmt.Errorf("list pods: %w", err)
	}
	begin := c.clock.Now()
	for _, p := range pods.Items {
		if p.CreationTimestamp.Time.Before(begin) {
			begin = p.CreationTimestamp.Time
		}
	}
	return begin.Add(set.MaxDuration), nil
}
