package plan_test

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Planning changes neither the user's request nor the Route that was read.
func TestPlanningLeavesItsInputAlone(t *testing.T) {
	asked := func() plan.Request {
		q := request(10, route.KeepFloor)
		q.Steps = []route.Percent{10, 50}
		q.Routers = []string{"10.0.0.1", "10.0.0.2"}
		q.Changes = sandbox.Changes{
			Images:       map[string]string{"web": "quay.io/shop/web:2"},
			Env:          map[string][]corev1.EnvVar{"web": {{Name: "LOG", Value: "debug"}}},
			EmptyVolumes: []string{"cache"},
		}
		q.Force = true
		return q
	}
	f := shop(web(4), backend{"b", ptr[int32](20), 1})
	changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	})
	q, was := asked(), f.Route.DeepCopy()
	p, err := plan.Make(f, q, seesNodes, armFor)
	if err != nil {
		t.Fatal(err)
	}
	mustLive(t, p)
	if err := p.Fit([]corev1.LimitRange{limitRange("256Mi")}); err != nil {
		t.Fatal(err)
	}
	if want := asked(); !reflect.DeepEqual(q, want) {
		t.Errorf("the request is %+v\nit was         %+v", q, want)
	}
	if !reflect.DeepEqual(f.Route, was) {
		t.Errorf("the Route is %+v\nit was       %+v", f.Route, was)
	}
}

// Routers that serve the Route need no --force if each of them is probed, or if none is.
func TestRoutersThatAreProbed(t *testing.T) {
	for name, change := range map[string]func(*plan.Request){
		"each is probed": func(q *plan.Request) { q.Routers = []string{"10.0.0.1", "10.0.0.2"} },
		"none is probed": func(q *plan.Request) { q.NoProbe = true },
	} {
		f := shop(web(1))
		admit(f, corev1.ConditionTrue, "default", "internal")
		q := request(20, route.KeepFloor)
		change(&q)
		if p, err := plan.Make(f, q, plan.NoGuard, armFor); err != nil || len(p.Warnings) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Before arming, the journal has what is known of the session, and nothing of the Route's weights or
// of the session's end.
func TestTheJournalBeforeArming(t *testing.T) {
	q := request(10, route.Exact)
	q.Steps = []route.Percent{10, 100}
	p := mustMake(t, shop(web(4), backend{"b", ptr[int32](0), 1}), q)
	got := p.Journal
	if want := time.Date(2026, 1, 2, 15, 6, 5, 0, time.UTC); !got.ArmBy.Time.Equal(want) {
		t.Errorf("arm by %s, want %s", got.ArmBy, want)
	}
	if !record.ValidID(got.Session) || got.Session != p.Input.Session {
		t.Errorf("session %q, the sandbox's is %q", got.Session, p.Input.Session)
	}
	got.ArmBy, got.Session = metav1.Time{}, ""
	want := record.Journal{
		Version: record.JournalVersion, State: record.Arming, RouteUID: "route-uid", User: "alice",
		Workload: "deployment/web", Asked: 10, Servers: 4, Pods: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("journal %+v\nwant    %+v", got, want)
	}
	if other := mustMake(t, shop(web(4)), q); other.Journal.Session == p.Journal.Session {
		t.Errorf("two plans have the same session %s", p.Journal.Session)
	}
}
