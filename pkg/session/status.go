package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Status is the current state of a session. Scripts read its JSON. The schema is in docs/output.md;
// fields may be added, but not changed or removed.
type Status struct {
	Namespace string        `json:"namespace"`
	Route     string        `json:"route"`
	Session   string        `json:"session"`
	State     string        `json:"state"`
	Asked     route.Percent `json:"asked"`
	Realised  route.Percent `json:"realised"` // by the current weights and endpoints
	Ready     int           `json:"ready"`    // pods of the sandbox that are servers of the Route
	Workload  string        `json:"workload,omitempty"`
	User      string        `json:"user,omitempty"`
	// Expires is when the session ends at the latest.
	Expires *metav1.Time `json:"expires,omitempty"`
	// Problem is the text of Wrong. The command that prints the status sets it.
	Problem     string          `json:"problem,omitempty"`
	ProblemCode reason.Code     `json:"problemCode,omitempty"`
	Backends    []BackendStatus `json:"backends"`
	Pods        []PodStatus     `json:"pods,omitempty"` // of the sandbox, if requested

	Left  time.Duration `json:"-"` // time that the session may still run
	Wrong error         `json:"-"` // a problem that someone should solve, nil for none
}

// BackendStatus is one of the Route's Services.
type BackendStatus struct {
	Service string        `json:"service"`
	Weight  int32         `json:"weight"`
	Servers int           `json:"servers"`
	Share   route.Percent `json:"share"`
	Sandbox bool          `json:"sandbox,omitempty"`
}

// PodStatus is one pod of a sandbox.
type PodStatus struct {
	Name  string `json:"name"`
	Phase string `json:"phase"`
	Ready bool   `json:"ready"`
	Node  string `json:"node,omitempty"`
}

// Statuses returns the status of each session for which wanted is true, from one list of each kind
// of object. If pods is true, it includes the sessions' pods.
func (f Finder) Statuses(ctx context.Context, wanted func(Found) bool, pods bool, now time.Time) ([]Status, error) {
	all, err := f.List(ctx)
	if err != nil || len(all) == 0 {
		return []Status{}, err
	}
	list, err := f.Core.DiscoveryV1().EndpointSlices(f.Namespace).List(ctx, fromCache(f.Namespace))
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	slices := map[string][]discoveryv1.EndpointSlice{}
	for _, s := range list.Items {
		slices[s.Namespace] = append(slices[s.Namespace], s)
	}
	var of map[string][]PodStatus
	if pods {
		if of, err = f.podStatuses(ctx); err != nil {
			return nil, err
		}
	}
	out := []Status{}
	for _, found := range all {
		if wanted(found) {
			out = append(out, StatusOf(found, slices[found.Route.Namespace], of[found.Route.Namespace+"/"+found.Session.ID], now))
		}
	}
	return out, nil
}

// Status returns the status of one session, by the endpoints of its namespace in the API server's
// cache. If pods is true, it includes the session's pods.
func (f Finder) Status(ctx context.Context, found Found, pods bool, now time.Time) (Status, error) {
	list, err := f.Core.DiscoveryV1().EndpointSlices(found.Route.Namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return Status{}, fmt.Errorf("list EndpointSlices: %w", err)
	}
	var of map[string][]PodStatus
	if pods {
		if of, err = (Finder{f.Store, found.Route.Namespace}).podStatuses(ctx); err != nil {
			return Status{}, err
		}
	}
	return StatusOf(found, list.Items, of[found.Route.Namespace+"/"+found.Session.ID], now), nil
}

// podStatuses returns the pods of sessions, by "namespace/session ID".
func (f Finder) podStatuses(ctx context.Context) (map[string][]PodStatus, error) {
	options := fromCache(f.Namespace)
	options.LabelSelector = record.Label
	list, err := f.Core.CoreV1().Pods(f.Namespace).List(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	out := map[string][]PodStatus{}
	for _, p := range list.Items {
		key := p.Namespace + "/" + p.Labels[record.Label]
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		out[key] = append(out[key], PodStatus{Name: p.Name, Phase: string(p.Status.Phase), Ready: ready, Node: p.Spec.NodeName})
	}
	return out, nil
}

// StatusOf computes the status of a session from what was read: the EndpointSlices of its
// namespace, and its pods.
func StatusOf(f Found, slices []discoveryv1.EndpointSlice, pods []PodStatus, now time.Time) Status {
	s := Status{Namespace: f.Route.Namespace, Route: f.Route.Name, Session: f.Session.ID, State: string(f.Session.State), Pods: pods}
	servers := map[string]int{}
	for _, b := range route.Backends(f.Route, nil) {
		servers[b.Service] = len(route.Endpoints(f.Route, b.Service, slices))
	}
	own := record.ServiceName(f.Session.ID)
	backends := route.Backends(f.Route, servers)
	shares := route.Shares(backends)
	for _, b := range backends {
		s.Backends = append(s.Backends, BackendStatus{b.Service, b.Value(), b.Ready, shares[b.Service].Percent(), b.Service == own})
	}
	s.Ready, s.Realised = route.PodsOf(route.Endpoints(f.Route, own, slices)), shares[own].Percent()
	if j := f.Session.Journal; j != nil {
		s.Asked, s.User, s.Workload, s.Left = j.Asked, j.User, j.Workload, j.Left(now)
		if j.State != record.Arming {
			s.Expires = &j.Expires
		}
	}
	s.Wrong = f.problem(s.Left)
	if j := f.Session.Journal; s.Wrong == nil && j != nil && !j.ServedNow(record.Servers(f.Route, record.WeightedServices(f.Route), slices), now) {
		s.Wrong = reason.New(reason.NotServedYet)
	}
	s.ProblemCode = reason.CodeOf(s.Wrong)
	return s
}

// problem returns a problem that someone should solve, nil for none. left is how long the session
// may still run.
func (f Found) problem(left time.Duration) error {
	j := f.Session.Journal
	switch {
	case j == nil:
		return f.Session.Broken
	case !f.Session.Backend:
		return reason.New(reason.BackendRemoved)
	case left < 0:
		return reason.New(reason.SessionPastItsTime, "namespace", f.Route.Namespace, "route", f.Route.Name)
	case j.State == record.Live:
		if edits := record.EditsOf(f.Route, j); len(edits) > 0 {
			return reason.New(reason.WeightChangedByOthers, "change", edits.String())
		}
	}
	return nil
}
