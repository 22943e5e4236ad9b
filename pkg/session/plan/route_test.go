package plan_test

import (
	"reflect"
	"testing"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// The Route in the plan is byte for byte the one that a session's first two patches write: label,
// journal, weights and the sandbox's backend.
func TestThePlannedRouteIsTheOneThatASessionWrites(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   *preflight.Facts
		percent route.Percent
		floor   route.Floor
	}{
		{"one backend", shop(web(1)), 20, route.KeepFloor},
		{"no weight set", shop(backend{"web", nil, 1}), 20, route.KeepFloor},
		{"alternate backends", shop(backend{"web", ptr[int32](60), 2}, backend{"b", ptr[int32](20), 1}), 50, route.KeepFloor},
		{"no clients", shop(web(1)), 0, route.KeepFloor},
		{"all clients, with a floor", shop(web(1)), 100, route.KeepFloor},
		{"all clients, exactly", shop(web(1)), 100, route.Exact},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustMake(t, c.facts, request(c.percent, c.floor))
			armed, live := mustLive(t, p)
			wantArmed, wantLive := written(t, p)
			if !reflect.DeepEqual(armed, wantArmed) {
				t.Errorf("armed: %+v\nwant   %+v", armed, wantArmed)
			}
			if !reflect.DeepEqual(live, wantLive) {
				t.Errorf("live: %+v\nwant  %+v", live, wantLive)
			}
			id := p.Input.Session
			if weightOf(armed, record.ServiceName(id)) != 0 || !reflect.DeepEqual(armed.Spec.To, c.facts.Route.Spec.To) {
				t.Errorf("arming shifts traffic: %+v", armed.Spec)
			}
			s := record.Of(live)
			if s == nil || s.Journal == nil {
				t.Fatalf("the live Route has no session: %+v", live.ObjectMeta)
			}
			if live.Labels[record.Label] != id || s.ID != id || s.State != record.Live || !s.Backend {
				t.Errorf("label %q, session %+v, want a live session %s with its backend", live.Labels[record.Label], s, id)
			}
			if !s.Journal.Expires.Time.Equal(ends.Time) || s.Journal.Asked != c.percent || s.Journal.Failover != (c.floor == route.KeepFloor) {
				t.Errorf("journal %+v", s.Journal)
			}
			if got := weightOf(live, record.ServiceName(id)); got != p.Split.Sandbox {
				t.Errorf("the sandbox has weight %d, want %d", got, p.Split.Sandbox)
			}
		})
	}
}

// Live needs a Route that is armed: without the journal there is nothing to shift.
func TestARouteThatIsNotArmedCannotBeLive(t *testing.T) {
	f := shop(web(1))
	p := mustMake(t, f, request(20, route.KeepFloor))
	if r, err := p.Live(f.Route, ends); err == nil {
		t.Errorf("got %+v, want an error", r.Spec)
	}
}
