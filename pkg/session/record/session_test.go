package record

import (
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

func ptr[T any](v T) *T { return &v }

const id = "bcdfghjk"

func newRoute(to *int32, alternates ...routev1.RouteTargetReference) *routev1.Route {
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

// makeLive applies the first two patches to a Route.
func makeLive(t *testing.T, r *routev1.Route, weights map[string]int32) *Journal {
	t.Helper()
	j := journal()
	if err := ArmRoute(j, r)(r); err != nil {
		t.Fatal(err)
	}
	weights[ServiceName(id)] = 100
	j.State, j.Expires = Live, metav1.NewTime(time.Unix(2000, 0))
	if err := ShiftRoute(j, weights, false)(r); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestEveryChangeIsIdempotent(t *testing.T) {
	r := newRoute(ptr[int32](100))
	j := makeLive(t, r, map[string]int32{"web": 0})
	again := r.DeepCopy()
	if err := ShiftRoute(j, map[string]int32{"web": 0, ServiceName(id): 100}, false)(again); err != nil {
		t.Fatal(err)
	}
	if ops := Diff(r, again); len(ops) != 0 {
		t.Errorf("shifting again writes %v", ops)
	}
	var out Outcome
	for range 2 {
		if err := RestoreRoute(id, &out)(r); err != nil {
			t.Fatal(err)
		}
		if out.Foreign {
			t.Error("restoring again reports its own change as someone else's")
		}
	}
}

func TestASecondSessionIsRefused(t *testing.T) {
	r := newRoute(ptr[int32](100))
	makeLive(t, r, map[string]int32{"web": 0})
	other := journal()
	other.Session = "zzzzzzzz"
	err := ArmRoute(other, r)(r)
	if reason.CodeOf(err) != reason.RouteInSession || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "alice") {
		t.Errorf("error %v does not name the session and the user", err)
	}
}

func TestPatchesCarryTheVersionThatWasRead(t *testing.T) {
	old := newRoute(ptr[int32](100))
	changed := old.DeepCopy()
	if err := ArmRoute(journal(), changed)(changed); err != nil {
		t.Fatal(err)
	}
	ops := Diff(old, changed)
	if len(ops) != 4 || ops[0].Path != "/metadata/resourceVersion" || ops[0].Value != "7" {
		t.Errorf("operations %+v", ops)
	}
	if len(Diff(old, old.DeepCopy())) != 0 {
		t.Error("equal Routes must not give a patch")
	}
}

// A held session has no traffic and can be resumed. What others changed meanwhile is kept, and
// reported at the end.
func TestHoldAndResume(t *testing.T) {
	r := newRoute(ptr[int32](100), alternate("b", 50))
	j := makeLive(t, r, map[string]int32{"web": 0, "b": 0})
	r.Spec.AlternateBackends[0].Weight = ptr[int32](7) // changed by someone else
	var out Outcome
	for range 2 { // holding again changes nothing
		if err := HoldRoute(id)(r); err != nil {
			t.Fatal(err)
		}
		s := Of(r)
		if s.State != Held || !s.Backend || *r.Spec.To.Weight != 100 || *r.Spec.AlternateBackends[0].Weight != 7 || *r.Spec.AlternateBackends[1].Weight != 0 {
			t.Fatalf("held: %+v, %+v", s, r.Spec)
		}
	}
	j.State = Live
	weights := map[string]int32{"web": 1, "b": 2, ServiceName(id): 200}
	if err := ShiftRoute(j, weights, false)(r); reason.CodeOf(err) != reason.SessionHeld || Of(r).State != Held {
		t.Errorf("resumed by a caller that does not know that it is held: %v", err)
	}
	if err := ShiftRoute(j, weights, true)(r); err != nil {
		t.Fatal(err)
	}
	if err := ExtendRoute(id, metav1.NewTime(time.Unix(9000, 0)))(r); err != nil {
		t.Fatal(err)
	}
	if s := Of(r); s.State != Live || s.Journal.Expires.Unix() != 9000 {
		t.Errorf("resumed: %+v", s.Journal)
	}
	if err := RestoreRoute(id, &out)(r); err != nil {
		t.Fatal(err)
	}
	if !out.Foreign || *r.Spec.To.Weight != 100 || len(r.Spec.AlternateBackends) != 1 || *r.Spec.AlternateBackends[0].Weight != 7 {
		t.Errorf("restored: foreign %v, %+v", out.Foreign, r.Spec)
	}
}

func TestWhatIsNotRunningIsNeitherHeldNorExtended(t *testing.T) {
	for want, r := range map[reason.Code]*routev1.Route{
		reason.SessionGone: newRoute(ptr[int32](100)),
		reason.SessionEnding: func() *routev1.Route {
			r := newRoute(ptr[int32](100))
			r.Labels = map[string]string{Label: id}
			return r
		}(),
		reason.RouteRecreated: func() *routev1.Route {
			r := newRoute(ptr[int32](100))
			makeLive(t, r, map[string]int32{"web": 1})
			r.UID = "uid-2"
			return r
		}(),
		reason.SessionStillArming: func() *routev1.Route {
			r := newRoute(ptr[int32](100))
			if err := ArmRoute(journal(), r)(r); err != nil {
				t.Fatal(err)
			}
			return r
		}(),
	} {
		if err := ExtendRoute(id, metav1.NewTime(time.Unix(9000, 0)))(r.DeepCopy()); reason.CodeOf(err) != want {
			t.Errorf("extend: got %v, want %s", err, want)
		}
		if err := HoldRoute(id)(r.DeepCopy()); reason.CodeOf(err) != want {
			t.Errorf("hold: got %v, want %s", err, want)
		}
	}
}
