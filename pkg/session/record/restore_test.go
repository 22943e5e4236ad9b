package record

import (
	"encoding/json"
	"reflect"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

func TestASessionLeavesTheRouteAsItWas(t *testing.T) {
	for name, r := range map[string]*routev1.Route{
		"no alternates":  newRoute(ptr[int32](100)),
		"weight not set": newRoute(nil),
		"an empty list": func() *routev1.Route {
			r := newRoute(ptr[int32](100))
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{}
			return r
		}(),
		"alternates": newRoute(ptr[int32](0), alternate("b", 256), alternate("c", 1)),
		"labels, annotations": func() *routev1.Route {
			r := newRoute(ptr[int32](7))
			r.Labels = map[string]string{"a": "b"}
			r.Annotations = map[string]string{"c": "d"}
			return r
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			before, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			makeLive(t, r, map[string]int32{"web": 0, "b": 3, "c": 1})
			var out Outcome
			if err := RestoreRoute(id, &out)(r); err != nil {
				t.Fatal(err)
			}
			if out.Foreign || out.Blind {
				t.Errorf("outcome %+v", out)
			}
			if s := Of(r); s == nil || s.State != Draining {
				t.Errorf("after the restore: got %+v, want draining", s)
			}
			if err := CloseRoute(id)(r); err != nil {
				t.Fatal(err)
			}
			if len(r.Labels) == 0 {
				r.Labels = nil // the API does not store empty maps
			}
			if len(r.Annotations) == 0 {
				r.Annotations = nil
			}
			after, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if string(before) != string(after) {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			if (r.Spec.AlternateBackends == nil) != (name != "an empty list" && name != "alternates") {
				t.Errorf("list is %#v", r.Spec.AlternateBackends)
			}
		})
	}
}

func TestWhatOthersChangedStays(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*routev1.Route)
		want   *routev1.Route
	}{
		{"a weight", func(r *routev1.Route) { r.Spec.AlternateBackends[0].Weight = ptr[int32](77) }, newRoute(ptr[int32](100), alternate("b", 77))},
		{"the primary's weight", func(r *routev1.Route) { r.Spec.To.Weight = ptr[int32](55) }, newRoute(ptr[int32](55), alternate("b", 20))},
		{"a new alternate", func(r *routev1.Route) { r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("d", 9)) }, newRoute(ptr[int32](100), alternate("b", 20), alternate("d", 9))},
		{"ours is gone", func(r *routev1.Route) { r.Spec.AlternateBackends = r.Spec.AlternateBackends[:1] }, newRoute(ptr[int32](100), alternate("b", 20))},
		{"ours is gone, and they cut over to another", func(r *routev1.Route) { // oc set route-backends
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("d", 100)}
		}, newRoute(ptr[int32](1), alternate("d", 100))},
		{"ours is gone, and they gave another all", func(r *routev1.Route) {
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("b", 100)}
		}, newRoute(ptr[int32](1), alternate("b", 100))},
		{"the list applied as it was", func(r *routev1.Route) {
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("b", 20)}
		}, newRoute(ptr[int32](100), alternate("b", 20))},
		{"theirs is gone", func(r *routev1.Route) { r.Spec.AlternateBackends = r.Spec.AlternateBackends[1:] }, func() *routev1.Route {
			r := newRoute(ptr[int32](100))
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{}
			return r
		}()},
		{"our weight", func(r *routev1.Route) { r.Spec.AlternateBackends[1].Weight = ptr[int32](3) }, newRoute(ptr[int32](100), alternate("b", 20))},
		{"the sandbox made primary", func(r *routev1.Route) {
			r.Spec.To.Name = ServiceName(id)
			r.Spec.AlternateBackends = r.Spec.AlternateBackends[:1]
		}, newRoute(ptr[int32](100), alternate("b", 20))},
		{"the sandbox made primary, the primary an alternate", func(r *routev1.Route) { // oc set route-backends
			r.Spec.To, r.Spec.AlternateBackends[1] = r.Spec.AlternateBackends[1], r.Spec.To
			r.Spec.AlternateBackends[1].Weight = ptr[int32](3)
		}, newRoute(ptr[int32](3), alternate("b", 20))},
		{"no backend left that serves", func(r *routev1.Route) {
			r.Spec.To.Weight, r.Spec.AlternateBackends[0].Weight = ptr[int32](0), ptr[int32](0)
		}, newRoute(ptr[int32](100), alternate("b", 20))},
		{"our label", func(r *routev1.Route) { delete(r.Labels, Label) }, newRoute(ptr[int32](100), alternate("b", 20))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRoute(ptr[int32](100), alternate("b", 20))
			makeLive(t, r, map[string]int32{"web": 1, "b": 1})
			c.change(r)
			var out Outcome
			if err := RestoreRoute(id, &out)(r); err != nil {
				t.Fatal(err)
			}
			if !out.Foreign {
				t.Error("the outcome does not report that someone else changed the Route")
			}
			if !reflect.DeepEqual(r.Spec, c.want.Spec) {
				t.Errorf("spec %+v\nwant %+v", r.Spec, c.want.Spec)
			}
		})
	}
}

// Blue-green: someone removed the alternate that had all the weight.
func TestWhoCarriedAllIsGone(t *testing.T) {
	r := newRoute(ptr[int32](0), alternate("green", 100))
	makeLive(t, r, map[string]int32{"web": 0, "green": 0})
	r.Spec.AlternateBackends = r.Spec.AlternateBackends[1:]
	var out Outcome
	if err := RestoreRoute(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Foreign || *r.Spec.To.Weight == 0 || len(r.Spec.AlternateBackends) != 0 {
		t.Errorf("foreign %v, %+v", out.Foreign, r.Spec)
	}
}

func TestALostJournalNeverLeavesTheOriginalAtZero(t *testing.T) {
	r := newRoute(ptr[int32](100))
	makeLive(t, r, map[string]int32{"web": 0})
	delete(r.Annotations, JournalKey)
	var out Outcome
	if err := RestoreRoute(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Blind || *r.Spec.To.Weight != 100 || len(r.Spec.AlternateBackends) != 0 {
		t.Errorf("outcome %+v, spec %+v", out, r.Spec)
	}
}
