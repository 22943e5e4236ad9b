package session_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

const (
	id    = "bcdfghjk"
	other = "zxwvtsrq" // another session's ID
)

var (
	now   = time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	armBy = metav1.NewTime(now.Add(2 * time.Minute))
	ends  = metav1.NewTime(now.Add(30 * time.Minute))
)

// plainRoute is a Route of namespace shop to Service web, without a session.
func plainRoute(name string) *routev1.Route {
	weight := int32(100)
	return &routev1.Route{
		TypeMeta:   metav1.TypeMeta{APIVersion: "route.openshift.io/v1", Kind: "Route"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "route-uid", ResourceVersion: "7"},
		Spec:       routev1.RouteSpec{To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: &weight}},
	}
}

func apply(t *testing.T, r *routev1.Route, change record.Change) {
	t.Helper()
	if err := change(r); err != nil {
		t.Fatal(err)
	}
}

// routeIn is a Route with a session in a state. A live one gives the sandbox two thirds of what the
// weights give, 64 to 128.
func routeIn(t *testing.T, name, session string, state record.State) *routev1.Route {
	t.Helper()
	r := plainRoute(name)
	j := &record.Journal{
		Version: record.JournalVersion, Session: session, State: record.Arming, RouteUID: "route-uid",
		User: "alice", Workload: "deployment/web", Asked: 50, ArmBy: armBy,
	}
	apply(t, r, record.ArmRoute(j, r))
	if state == record.Arming {
		return r
	}
	j.State, j.Expires = record.Live, ends
	apply(t, r, record.ShiftRoute(j, map[string]int32{"web": 64, record.ServiceName(session): 128}, false))
	switch state {
	case record.Held:
		apply(t, r, record.HoldRoute(session))
	case record.Draining:
		apply(t, r, record.RestoreRoute(session, &record.Outcome{}))
	}
	if s := record.Of(r); s == nil || s.ID != session || s.State != state {
		t.Fatalf("session %+v, want %s %s", s, session, state)
	}
	return r
}

// slicesOf are EndpointSlices with some ready endpoints of each Service.
func slicesOf(ready map[string]int) (out []discoveryv1.EndpointSlice) {
	port := int32(8080)
	for service, n := range ready {
		slice := discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Ports:      []discoveryv1.EndpointPort{{Port: &port}},
		}
		for i := range n {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}})
		}
		out = append(out, slice)
	}
	return out
}

func found(r *routev1.Route) session.Found {
	return session.Found{Route: r, Session: record.Of(r)}
}

// The status of a session tells its state, and of its journal what is there: nothing of it is left
// while the session drains.
func TestTheStatusInEachState(t *testing.T) {
	for _, c := range []struct {
		state    record.State
		now      time.Time
		want     session.Status
		expires  bool
		backends int
	}{
		{record.Arming, now, session.Status{Asked: 50, User: "alice", Workload: "deployment/web", Left: 2 * time.Minute}, false, 2},
		{record.Live, now, session.Status{Asked: 50, User: "alice", Workload: "deployment/web", Left: 30 * time.Minute}, true, 2},
		{record.Live, now.Add(29 * time.Minute), session.Status{Asked: 50, User: "alice", Workload: "deployment/web", Left: time.Minute}, true, 2},
		{record.Held, now, session.Status{Asked: 50, User: "alice", Workload: "deployment/web", Left: 30 * time.Minute}, true, 2},
		{record.Draining, now, session.Status{}, false, 1},
	} {
		t.Run(fmt.Sprintf("%s at %s", c.state, c.now.Format(time.TimeOnly)), func(t *testing.T) {
			r := routeIn(t, "web", id, c.state)
			pods := []session.PodStatus{{Name: record.PodName(id, 0), Phase: "Running", Ready: true, Node: "worker-1"}}
			s := session.StatusOf(found(r), nil, pods, c.now)
			if s.Namespace != "shop" || s.Route != "web" || s.Session != id || s.State != string(c.state) {
				t.Errorf("session %s on route %s/%s is %s", s.Session, s.Namespace, s.Route, s.State)
			}
			if s.Asked != c.want.Asked || s.User != c.want.User || s.Workload != c.want.Workload || s.Left != c.want.Left {
				t.Errorf("asked %v by %q of %q, %s left; want %v by %q of %q, %s left",
					s.Asked, s.User, s.Workload, s.Left, c.want.Asked, c.want.User, c.want.Workload, c.want.Left)
			}
			if (s.Expires != nil) != c.expires || s.Expires != nil && !s.Expires.Time.Equal(ends.Time) {
				t.Errorf("expires %v", s.Expires)
			}
			if len(s.Backends) != c.backends || !reflect.DeepEqual(s.Pods, pods) {
				t.Errorf("backends %+v, pods %+v", s.Backends, s.Pods)
			}
			if s.Wrong != nil || s.ProblemCode != "" {
				t.Errorf("problem %q: %v, want none", s.ProblemCode, s.Wrong)
			}
		})
	}
}

// Shares are those of the endpoints that are ready now, not those of the weights alone.
func TestSharesFollowTheEndpoints(t *testing.T) {
	own := record.ServiceName(id)
	for _, c := range []struct {
		name         string
		state        record.State
		web, sandbox int     // ready endpoints
		share        float64 // of the sandbox
		rest         float64 // of web
	}{
		{"as many as there were", record.Live, 2, 1, 200.0 / 3, 100.0 / 3},
		{"more of both", record.Live, 4, 2, 200.0 / 3, 100.0 / 3},
		{"none of web", record.Live, 0, 1, 100, 0},
		{"none of the sandbox", record.Live, 2, 0, 0, 100},
		{"none at all", record.Live, 0, 0, 0, 0},
		{"before traffic", record.Arming, 2, 1, 0, 100},
		{"traffic is back", record.Held, 2, 1, 0, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := routeIn(t, "web", id, c.state)
			s := session.StatusOf(found(r), slicesOf(map[string]int{"web": c.web, own: c.sandbox}), nil, now)
			if s.Ready != c.sandbox || math.Abs(float64(s.Realised)-c.share) > 0.01 {
				t.Errorf("%d servers of the sandbox get %s, want %d with %.2f %%", s.Ready, s.Realised, c.sandbox, c.share)
			}
			if len(s.Backends) != 2 {
				t.Fatalf("backends %+v, want 2", s.Backends)
			}
			web, sandbox := s.Backends[0], s.Backends[1]
			if web.Service != "web" || web.Sandbox || web.Servers != c.web || math.Abs(float64(web.Share)-c.rest) > 0.01 {
				t.Errorf("original %+v, want %d servers with %.2f %%", web, c.web, c.rest)
			}
			if sandbox.Service != own || !sandbox.Sandbox || sandbox.Servers != c.sandbox || sandbox.Share != s.Realised {
				t.Errorf("sandbox %+v, want %d servers with %s", sandbox, c.sandbox, s.Realised)
			}
			if c.state == record.Live && (web.Weight != 64 || sandbox.Weight != 128) {
				t.Errorf("weights %d and %d, want 64 and 128", web.Weight, sandbox.Weight)
			}
		})
	}
}

// A problem is what someone should do something about. It has a code.
func TestProblemsOfASession(t *testing.T) {
	later := now.Add(time.Hour)
	encode := func(change func(*record.Journal)) string {
		j := &record.Journal{
			Version: record.JournalVersion, Session: id, State: record.Live, RouteUID: "route-uid",
			Expires: ends, Before: record.WeightsOf(plainRoute("web")),
		}
		change(j)
		text, err := j.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	write := func(text string) func(*routev1.Route) {
		return func(r *routev1.Route) { r.Annotations[record.JournalKey] = text }
	}
	weigh := func(r *routev1.Route) { *r.Spec.To.Weight = 77 }
	atDynamicRouter := func(served string, touched time.Duration) func(*routev1.Route) {
		return func(r *routev1.Route) {
			j := record.Of(r).Journal
			j.Dynamic, j.Served, j.Touched = true, served, metav1.NewTime(now.Add(-touched))
			text, err := j.Encode()
			if err != nil {
				t.Fatal(err)
			}
			r.Annotations[record.JournalKey] = text
		}
	}
	noServers := record.Servers(plainRoute("web"), []string{"web", "other"}, nil)
	remove := func(r *routev1.Route) { r.Spec.AlternateBackends = nil }
	for _, c := range []struct {
		name   string
		state  record.State
		now    time.Time
		change func(*routev1.Route)
		want   reason.Code
	}{
		{"live at its end", record.Live, ends.Time, nil, ""},
		{"live past its end", record.Live, later, nil, reason.SessionPastItsTime},
		{"held past its end", record.Held, later, nil, reason.SessionPastItsTime},
		{"arming past its time", record.Arming, armBy.Add(time.Second), nil, reason.SessionPastItsTime},
		{"draining for long", record.Draining, later, nil, ""},
		{"backend removed", record.Live, now, remove, reason.BackendRemoved},
		{"backend removed while held", record.Held, now, remove, reason.BackendRemoved},
		{"backend removed, past its end", record.Live, later, remove, reason.BackendRemoved},
		{"weight changed", record.Live, now, weigh, reason.WeightChangedByOthers},
		{"weight changed, past its end", record.Live, later, weigh, reason.SessionPastItsTime},
		{"weight changed while held", record.Held, now, weigh, ""},
		{"backend added", record.Live, now, func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, routev1.RouteTargetReference{Kind: "Service", Name: "b"})
		}, reason.WeightChangedByOthers},
		{"served by a dynamic router", record.Live, now, atDynamicRouter(noServers, time.Minute), ""},
		{"servers changed at a dynamic router", record.Live, now, atDynamicRouter("0123456789ab", time.Minute), reason.NotServedYet},
		{"reloading", record.Live, now, atDynamicRouter(noServers, time.Second), reason.NotServedYet},
		{"servers changed while held", record.Held, now, atDynamicRouter("0123456789ab", time.Minute), ""},
		{"journal is no JSON", record.Live, now, write("{"), reason.JournalMalformed},
		{"journal is too long", record.Live, now, func(r *routev1.Route) {
			r.Annotations[record.JournalKey] += strings.Repeat(" ", record.MaxJournal)
		}, reason.JournalTooLong},
		{"journal of a newer version", record.Live, now, write(encode(func(j *record.Journal) { j.Version++ })), reason.JournalVersionUnknown},
		{"journal without backends", record.Live, now, write(encode(func(j *record.Journal) { j.Before.Backends = nil })), reason.JournalContradictory},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := routeIn(t, "web", id, c.state)
			if c.change != nil {
				c.change(r)
			}
			s := session.StatusOf(found(r), nil, nil, c.now)
			if s.ProblemCode != c.want || reason.CodeOf(s.Wrong) != c.want || (s.Wrong == nil) != (c.want == "") {
				t.Errorf("problem %q: %v, want %q", s.ProblemCode, s.Wrong, c.want)
			}
			if s.Session != id {
				t.Errorf("session %q, want %s", s.Session, id)
			}
		})
	}
}
