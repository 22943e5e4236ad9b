package session

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

const id = "bcdfghjk"

func route(to *int32, alternates ...routev1.RouteTargetReference) *routev1.Route {
	return &routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sample", Name: "shop", UID: "uid-1", ResourceVersion: "7"},
		Spec:       routev1.RouteSpec{To: routev1.RouteTargetReference{Kind: "Service", Name: "web", Weight: to}, AlternateBackends: alternates},
	}
}

func alternate(name string, weight int32) routev1.RouteTargetReference {
	return routev1.RouteTargetReference{Kind: "Service", Name: name, Weight: &weight}
}

func journal() *Journal {
	return &Journal{Version: 1, Session: id, State: Arming, RouteUID: "uid-1", User: "alice", ArmBy: metav1.NewTime(time.Unix(1000, 0))}
}

// live takes a Route through the first two patches.
func live(t *testing.T, r *routev1.Route, weights map[string]int32) *Journal {
	t.Helper()
	j := journal()
	if err := arm(j, r)(r); err != nil {
		t.Fatal(err)
	}
	weights[ServiceName(id)] = 100
	j.State, j.Expires = Live, metav1.NewTime(time.Unix(2000, 0))
	if err := shift(j, weights, false)(r); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestASessionLeavesTheRouteAsItWas(t *testing.T) {
	for name, r := range map[string]*routev1.Route{
		"no alternates":  route(ptr[int32](100)),
		"weight not set": route(nil),
		"an empty list": func() *routev1.Route {
			r := route(ptr[int32](100))
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{}
			return r
		}(),
		"alternates": route(ptr[int32](0), alternate("b", 256), alternate("c", 1)),
		"labels, annotations": func() *routev1.Route {
			r := route(ptr[int32](7))
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
			live(t, r, map[string]int32{"web": 0, "b": 3, "c": 1})
			var out Outcome
			if err := restore(id, &out)(r); err != nil {
				t.Fatal(err)
			}
			if out.Foreign || out.Blind {
				t.Errorf("outcome %+v", out)
			}
			if s := Of(r); s == nil || s.State != Draining {
				t.Errorf("after the restore: %+v, wanted draining", s)
			}
			if err := closing(id)(r); err != nil {
				t.Fatal(err)
			}
			if len(r.Labels) == 0 {
				r.Labels = nil // the API stores no empty maps
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
		{"a weight", func(r *routev1.Route) { r.Spec.AlternateBackends[0].Weight = ptr[int32](77) }, route(ptr[int32](100), alternate("b", 77))},
		{"the primary's weight", func(r *routev1.Route) { r.Spec.To.Weight = ptr[int32](55) }, route(ptr[int32](55), alternate("b", 20))},
		{"a new alternate", func(r *routev1.Route) { r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("d", 9)) }, route(ptr[int32](100), alternate("b", 20), alternate("d", 9))},
		{"ours is gone", func(r *routev1.Route) { r.Spec.AlternateBackends = r.Spec.AlternateBackends[:1] }, route(ptr[int32](100), alternate("b", 20))},
		{"ours is gone, and they cut over to another", func(r *routev1.Route) { // oc set route-backends
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("d", 100)}
		}, route(ptr[int32](1), alternate("d", 100))},
		{"ours is gone, and they gave another all", func(r *routev1.Route) {
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("b", 100)}
		}, route(ptr[int32](1), alternate("b", 100))},
		{"the list applied as it was", func(r *routev1.Route) {
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("b", 20)}
		}, route(ptr[int32](100), alternate("b", 20))},
		{"theirs is gone", func(r *routev1.Route) { r.Spec.AlternateBackends = r.Spec.AlternateBackends[1:] }, func() *routev1.Route {
			r := route(ptr[int32](100))
			r.Spec.AlternateBackends = []routev1.RouteTargetReference{}
			return r
		}()},
		{"our weight", func(r *routev1.Route) { r.Spec.AlternateBackends[1].Weight = ptr[int32](3) }, route(ptr[int32](100), alternate("b", 20))},
		{"the sandbox made primary", func(r *routev1.Route) {
			r.Spec.To.Name = ServiceName(id)
			r.Spec.AlternateBackends = r.Spec.AlternateBackends[:1]
		}, route(ptr[int32](100), alternate("b", 20))},
		{"the sandbox made primary, the primary an alternate", func(r *routev1.Route) { // oc set route-backends
			r.Spec.To, r.Spec.AlternateBackends[1] = r.Spec.AlternateBackends[1], r.Spec.To
			r.Spec.AlternateBackends[1].Weight = ptr[int32](3)
		}, route(ptr[int32](3), alternate("b", 20))},
		{"nobody left who serves", func(r *routev1.Route) {
			r.Spec.To.Weight, r.Spec.AlternateBackends[0].Weight = ptr[int32](0), ptr[int32](0)
		}, route(ptr[int32](100), alternate("b", 20))},
		{"our label", func(r *routev1.Route) { delete(r.Labels, Label) }, route(ptr[int32](100), alternate("b", 20))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := route(ptr[int32](100), alternate("b", 20))
			live(t, r, map[string]int32{"web": 1, "b": 1})
			c.change(r)
			var out Outcome
			if err := restore(id, &out)(r); err != nil {
				t.Fatal(err)
			}
			if !out.Foreign {
				t.Error("not told that somebody else changed the Route")
			}
			if !reflect.DeepEqual(r.Spec, c.want.Spec) {
				t.Errorf("spec %+v\nwant %+v", r.Spec, c.want.Spec)
			}
		})
	}
}

// Blue and green: all was carried by an alternate that somebody removed meanwhile.
func TestWhoCarriedAllIsGone(t *testing.T) {
	r := route(ptr[int32](0), alternate("green", 100))
	live(t, r, map[string]int32{"web": 0, "green": 0})
	r.Spec.AlternateBackends = r.Spec.AlternateBackends[1:]
	var out Outcome
	if err := restore(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Foreign || *r.Spec.To.Weight == 0 || len(r.Spec.AlternateBackends) != 0 {
		t.Errorf("foreign %v, %+v", out.Foreign, r.Spec)
	}
}

func TestALostJournalNeverLeavesTheOriginalAtZero(t *testing.T) {
	r := route(ptr[int32](100))
	live(t, r, map[string]int32{"web": 0})
	delete(r.Annotations, JournalKey)
	var out Outcome
	if err := restore(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Blind || *r.Spec.To.Weight != 100 || len(r.Spec.AlternateBackends) != 0 {
		t.Errorf("outcome %+v, spec %+v", out, r.Spec)
	}
}

func TestEveryChangeIsIdempotent(t *testing.T) {
	r := route(ptr[int32](100))
	j := live(t, r, map[string]int32{"web": 0})
	again := r.DeepCopy()
	if err := shift(j, map[string]int32{"web": 0, ServiceName(id): 100}, false)(again); err != nil {
		t.Fatal(err)
	}
	if ops := diff(r, again); len(ops) != 0 {
		t.Errorf("shifting again writes %v", ops)
	}
	var out Outcome
	for range 2 {
		if err := restore(id, &out)(r); err != nil {
			t.Fatal(err)
		}
		if out.Foreign {
			t.Error("restoring again takes its own work for somebody else's")
		}
	}
}

func TestASecondSessionIsRefused(t *testing.T) {
	r := route(ptr[int32](100))
	live(t, r, map[string]int32{"web": 0})
	other := journal()
	other.Session = "zzzzzzzz"
	err := arm(other, r)(r)
	if err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "alice") {
		t.Errorf("error %v must name session and user", err)
	}
}

func TestJournalsThatCannotBeUsed(t *testing.T) {
	good, err := journalWith(nil).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "not JSON": "{", "of the future": mustEncode(journalWith(func(j *Journal) { j.Version = 2 })),
		"no ID": mustEncode(journalWith(func(j *Journal) { j.Session = "../../x" })), "unknown state": mustEncode(journalWith(func(j *Journal) { j.State = "done" })),
		"too long": good + strings.Repeat(" ", MaxJournal), "no backends": mustEncode(journalWith(func(j *Journal) { j.Before.Backends = nil })),
	} {
		if _, err := Decode(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func journalWith(change func(*Journal)) *Journal {
	j := journal()
	j.Before = WeightsOf(route(ptr[int32](100)))
	if change != nil {
		change(j)
	}
	return j
}

func mustEncode(j *Journal) string {
	text, err := j.Encode()
	if err != nil {
		panic(err)
	}
	return text
}

func TestPatchesCarryTheVersionThatWasRead(t *testing.T) {
	old := route(ptr[int32](100))
	changed := old.DeepCopy()
	if err := arm(journal(), changed)(changed); err != nil {
		t.Fatal(err)
	}
	ops := diff(old, changed)
	if len(ops) != 4 || ops[0].Path != "/metadata/resourceVersion" || ops[0].Value != "7" {
		t.Errorf("operations %+v", ops)
	}
	if len(diff(old, old.DeepCopy())) != 0 {
		t.Error("no difference must be no patch")
	}
}

// A held session has no traffic and can get some again; what others changed meanwhile
// is what the Route goes back to, and is told at the end.
func TestHoldAndResume(t *testing.T) {
	r := route(ptr[int32](100), alternate("b", 50))
	j := live(t, r, map[string]int32{"web": 0, "b": 0})
	r.Spec.AlternateBackends[0].Weight = ptr[int32](7) // somebody else's
	var out Outcome
	for range 2 { // holding what is held changes nothing
		if err := hold(id)(r); err != nil {
			t.Fatal(err)
		}
		s := Of(r)
		if s.State != Held || !s.Backend || *r.Spec.To.Weight != 100 || *r.Spec.AlternateBackends[0].Weight != 7 || *r.Spec.AlternateBackends[1].Weight != 0 {
			t.Fatalf("held: %+v, %+v", s, r.Spec)
		}
	}
	j.State = Live
	weights := map[string]int32{"web": 1, "b": 2, ServiceName(id): 200}
	if err := shift(j, weights, false)(r); err == nil || Of(r).State != Held {
		t.Errorf("resumed by who does not know that it is held: %v", err)
	}
	if err := shift(j, weights, true)(r); err != nil {
		t.Fatal(err)
	}
	if err := extend(id, metav1.NewTime(time.Unix(9000, 0)))(r); err != nil {
		t.Fatal(err)
	}
	if s := Of(r); s.State != Live || s.Journal.Expires.Unix() != 9000 {
		t.Errorf("resumed: %+v", s.Journal)
	}
	if err := restore(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Foreign || *r.Spec.To.Weight != 100 || len(r.Spec.AlternateBackends) != 1 || *r.Spec.AlternateBackends[0].Weight != 7 {
		t.Errorf("restored: foreign %v, %+v", out.Foreign, r.Spec)
	}
}

func TestWhatIsNotRunningIsNeitherHeldNorExtended(t *testing.T) {
	for name, r := range map[string]*routev1.Route{
		"no session": route(ptr[int32](100)),
		"draining": func() *routev1.Route {
			r := route(ptr[int32](100))
			r.Labels = map[string]string{Label: id}
			return r
		}(),
		"made again": func() *routev1.Route {
			r := route(ptr[int32](100))
			live(t, r, map[string]int32{"web": 1})
			r.UID = "uid-2"
			return r
		}(),
		"arming": func() *routev1.Route {
			r := route(ptr[int32](100))
			if err := arm(journal(), r)(r); err != nil {
				t.Fatal(err)
			}
			return r
		}(),
	} {
		if err := extend(id, metav1.NewTime(time.Unix(9000, 0)))(r.DeepCopy()); err == nil {
			t.Errorf("%s: extended", name)
		}
		if err := hold(id)(r.DeepCopy()); err == nil {
			t.Errorf("%s: held", name)
		}
	}
}

// Only a session's own pods have names that are its pods'.
func TestNamesPod(t *testing.T) {
	two := journal()
	two.Pods = 2
	for name, want := range map[string]struct{ known, unknown bool }{
		PodName(id, 0):           {true, true},
		PodName(id, 1):           {true, true},
		PodName(id, 2):           {false, true},
		PodName(id, 0) + "a":     {false, false},
		PodName(id, -1):          {false, false},
		ServiceName(id):          {false, false},
		ServiceName(id) + "-":    {false, false},
		PodName("kjhgfdcb", 0):   {false, false},
		"forged":                 {false, false},
		"":                       {false, false},
		"x" + PodName(id, 0)[1:]: {false, false},
	} {
		if NamesPod(name, id, two) != want.known || NamesPod(name, id, journal()) != want.unknown || NamesPod(name, id, nil) != want.unknown {
			t.Errorf("%q: of two pods %v, of any number %v", name, NamesPod(name, id, two), NamesPod(name, id, nil))
		}
	}
}
