package plan_test

import (
	"math"
	"reflect"
	"testing"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// The sandbox gets the share that was asked for, and the originals keep their ratio to each other
// in the rest. A backend without traffic gets none.
func TestOriginalBackendsKeepTheirRatio(t *testing.T) {
	f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}, backend{"c", ptr[int32](0), 1})
	p := mustMake(t, f, request(50, route.KeepFloor))
	_, live := mustLive(t, p)
	own := record.ServiceName(p.Input.Session)
	ready := f.Servers()
	ready[own] = len(p.Pods)
	shares := route.Shares(route.Backends(live, ready))
	// By weight, web has 60 of 80 clients and b has 20; half of them stay.
	for service, want := range map[string]float64{own: 0.5, "web": 0.375, "b": 0.125, "c": 0} {
		if got := float64(shares[service]); math.Abs(got-want) > 0.001 {
			t.Errorf("%s gets %.4f of new clients, want %.4f", service, got, want)
		}
	}
}

// At 100 percent, Exact takes every client from the originals. KeepFloor leaves each of them that had
// traffic a little, so that the router can fail over.
func TestWhatTheOriginalsKeepAtAHundredPercent(t *testing.T) {
	for _, c := range []struct {
		name  string
		floor route.Floor
		keeps map[string]bool // whether a Service has a weight
		least float64         // share of the sandbox
	}{
		{"exactly", route.Exact, map[string]bool{"web": false, "b": false, "c": false}, 1},
		{"with a floor", route.KeepFloor, map[string]bool{"web": true, "b": true, "c": false}, 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}, backend{"c", ptr[int32](0), 1})
			p := mustMake(t, f, request(100, c.floor))
			_, live := mustLive(t, p)
			for service, keeps := range c.keeps {
				if w := weightOf(live, service); w < 0 || (w > 0) != keeps {
					t.Errorf("%s has weight %d, keeps traffic: want %v", service, w, keeps)
				}
			}
			if weightOf(live, record.ServiceName(p.Input.Session)) <= 0 {
				t.Errorf("the sandbox has no weight: %+v", live.Spec)
			}
			if share := float64(p.Split.Share); share < c.least || share > 1 || (share == 1) != (c.floor == route.Exact) {
				t.Errorf("the sandbox gets %.4f of new clients", share)
			}
		})
	}
}

// The originals of a Route are its backends as they would be without the session, whatever weights the
// session gave them.
func TestOriginalsAreTheBackendsWithoutTheSession(t *testing.T) {
	f := shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1})
	p := mustMake(t, f, request(50, route.KeepFloor))
	armed, live := mustLive(t, p)
	want := f.Backends()
	for name, r := range map[string]*routev1.Route{"before": f.Route, "armed": armed, "live": live} {
		if got := plan.Originals(r, p.Input.Session, f.Namespace.Slices); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	live.Spec.AlternateBackends[0].Weight = ptr[int32](77) // changed by another user
	want[1].Weight = ptr[int32](77)
	if got := plan.Originals(live, p.Input.Session, f.Namespace.Slices); !reflect.DeepEqual(got, want) {
		t.Errorf("changed by another user: %+v, want %+v", got, want)
	}
}

// Shift notes in the journal what the session is with its new share. If the share is impossible, the
// journal stays as it is.
func TestShiftNotesTheShareInTheJournal(t *testing.T) {
	originals := []route.Backend{{Service: "web", Weight: ptr[int32](100), Ready: 1}, {Service: "b", Weight: ptr[int32](0), Ready: 1}}
	for _, floor := range []route.Floor{route.KeepFloor, route.Exact} {
		j := &record.Journal{Session: "bcdfghjk", State: record.Held, Asked: 50, Expires: ends}
		weights, err := plan.Shift(j, originals, 1, 50, floor)
		if err != nil {
			t.Fatal(err)
		}
		if own := record.ServiceName(j.Session); len(weights) != 3 || weights[own] <= 0 || weights[own] != weights["web"] || weights["b"] != 0 {
			t.Errorf("weights %v, want the same for web and the sandbox, and 0 for b", weights)
		}
		if j.State != record.Live || math.Abs(float64(j.Realised)-50) > 0.01 || j.Failover != (floor == route.KeepFloor) || !j.Expires.Equal(&ends) {
			t.Errorf("journal %+v", j)
		}
	}
	j := &record.Journal{Session: "bcdfghjk", State: record.Held}
	was := *j
	if _, err := plan.Shift(j, originals, 0, 50, route.KeepFloor); reason.CodeOf(err) != reason.SandboxNotReady || !reflect.DeepEqual(*j, was) {
		t.Errorf("without servers: %v, journal %+v", err, j)
	}
}
