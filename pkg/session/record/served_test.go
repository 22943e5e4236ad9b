package record

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sliceOf returns an EndpointSlice of a Service with one ready endpoint for each pod.
func sliceOf(service string, pods ...string) discoveryv1.EndpointSlice {
	name, port := "http", int32(8080)
	s := discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}}
	for _, pod := range pods {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0." + pod[len(pod)-1:]},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}})
	}
	return s
}

// The hash of the servers depends on which pods serve, not on their order or on Services without a weight.
func TestServers(t *testing.T) {
	r := newRoute(ptr[int32](80), alternate("b", 20), alternate("idle", 0))
	services := WeightedServices(r)
	hash := func(s ...discoveryv1.EndpointSlice) string { return Servers(r, services, s) }
	was := hash(sliceOf("web", "web-1", "web-2"), sliceOf("b", "b-3"))
	for name, c := range map[string]struct {
		now  []discoveryv1.EndpointSlice
		same bool
	}{
		"another order":                   {[]discoveryv1.EndpointSlice{sliceOf("b", "b-3"), sliceOf("web", "web-2", "web-1")}, true},
		"in two slices":                   {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1"), sliceOf("web", "web-2"), sliceOf("b", "b-3")}, true},
		"of a backend without weight":     {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1", "web-2"), sliceOf("b", "b-3"), sliceOf("idle", "idle-4")}, true},
		"of another Service":              {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1", "web-2"), sliceOf("b", "b-3"), sliceOf("other", "other-4")}, true},
		"one more":                        {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1", "web-2", "web-5"), sliceOf("b", "b-3")}, false},
		"one less":                        {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1"), sliceOf("b", "b-3")}, false},
		"one replaced by another":         {[]discoveryv1.EndpointSlice{sliceOf("web", "web-1", "web-5"), sliceOf("b", "b-3")}, false},
		"the same pods of other Services": {[]discoveryv1.EndpointSlice{sliceOf("b", "web-1", "web-2"), sliceOf("web", "b-3")}, false},
		"none":                            {nil, false},
	} {
		if got := hash(c.now...); (got == was) != c.same || len(got) != 12 {
			t.Errorf("%s: %s, was %s, want the same: %t", name, got, was, c.same)
		}
	}
}

// Where shares cannot drift there is no hash: with one Service, and with too many servers to look at.
func TestNoHashOfServers(t *testing.T) {
	r := newRoute(ptr[int32](80), alternate("b", 20))
	if got := Servers(r, []string{"web"}, []discoveryv1.EndpointSlice{sliceOf("web", "web-1")}); got != "" {
		t.Errorf("one Service: %s", got)
	}
	many := sliceOf("web", "web-1")
	for range maxServers {
		many.Endpoints = append(many.Endpoints, many.Endpoints[0])
	}
	if got := Servers(r, []string{"web", "b"}, []discoveryv1.EndpointSlice{many}); got != "" {
		t.Errorf("%d servers: %s", len(many.Endpoints), got)
	}
}

// Servers that change together are touched once, when they have settled. Touches are at least TouchInterval apart,
// and the last change is always touched.
func TestReloads(t *testing.T) {
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	type event struct {
		at      float64 // seconds after the start
		servers string
	}
	for _, c := range []struct {
		name   string
		events []event
		want   []float64 // when it was touched
	}{
		{"nothing changes", []event{{1, "a"}, {50, "a"}}, nil},
		{"one change", []event{{1, "b"}}, []float64{3}},
		{"changed before it was first looked at", []event{{0, "b"}}, []float64{2}},
		{"several at once", []event{{1, "b"}, {2, "c"}, {3, "d"}}, []float64{5}},
		{"a change that takes long", []event{{1, "b"}, {2.5, "c"}, {4, "d"}, {5.5, "e"}, {7, "f"}, {8.5, "g"}, {10, "h"}, {11.5, "i"}}, []float64{11, 41}},
		{"servers that go and come back", []event{{1, "b"}, {2, "a"}}, []float64{4}},
		{"a change after a touch waits", []event{{1, "b"}, {5, "c"}}, []float64{3, 33}},
		{"a change long after a touch", []event{{1, "b"}, {60, "c"}}, []float64{3, 62}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, servers := Reloads{}, "a"
			j := &Journal{State: Live, Dynamic: true, Served: "a"}
			var touched []float64
			for tenth := range 1200 {
				seconds := float64(tenth) / 10
				for _, e := range c.events {
					if e.at <= seconds {
						servers = e.servers
					}
				}
				now := start.Add(time.Duration(tenth) * 100 * time.Millisecond)
				if due, _ := d.Due(j, servers, now); due {
					j.Served, j.Touched = servers, metav1.NewTime(now)
					d.Touched()
					touched = append(touched, seconds)
				}
			}
			if len(touched) != len(c.want) {
				t.Fatalf("touched at %v s, want %v", touched, c.want)
			}
			for i, want := range c.want {
				if diff := touched[i] - want; diff < 0 || diff > 0.11 {
					t.Errorf("touched at %v s, want %v", touched, c.want)
				}
			}
		})
	}
}

// Asking only when Due says so gives the same touches as asking all the time.
func TestReloadsSayWhenToAskAgain(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	d, j := Reloads{}, &Journal{State: Live, Dynamic: true, Served: "a", Touched: metav1.NewTime(now.Add(-10 * time.Second))}
	due, wait := d.Due(j, "b", now)
	if due || wait != 20*time.Second {
		t.Fatalf("due %t, wait %s; want 20s, for the interval", due, wait)
	}
	if due, _ = d.Due(j, "b", now.Add(wait)); !due {
		t.Error("not due at the time that was given")
	}
}

// Another process may touch the Route: then this one need not.
func TestReloadsThatSomeoneElseMade(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	d, j := Reloads{}, &Journal{State: Live, Dynamic: true, Served: "a"}
	if due, wait := d.Due(j, "b", now); due || wait != settle {
		t.Fatalf("due %t, wait %s", due, wait)
	}
	j.Served, j.Touched = "b", metav1.NewTime(now.Add(time.Second))
	if due, wait := d.Due(j, "b", now.Add(3*time.Second)); due || wait != 0 {
		t.Errorf("due %t, wait %s although someone else touched it", due, wait)
	}
}

// Every write of the journal makes routers reload: after a change of weights there is nothing left to do.
func TestAWriteIsAReloadToo(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	d, j := Reloads{}, &Journal{State: Live, Dynamic: true, Served: "a"}
	d.Due(j, "a", now)
	d.Due(j, "b", now.Add(time.Second)) // a pending change
	j.Served = "c"
	if due, wait := d.Due(j, "c", now.Add(2*time.Second)); due || wait != 0 {
		t.Errorf("due %t, wait %s after the weights were written", due, wait)
	}
	if due, wait := d.Due(j, "d", now.Add(3*time.Second)); due || wait != settle {
		t.Errorf("due %t, wait %s after another change", due, wait)
	}
}

// Only a live session at a router with the dynamic configuration manager needs reloads.
func TestNoReloadsWhereNoneAreNeeded(t *testing.T) {
	now := time.Now()
	for name, j := range map[string]*Journal{
		"static router": {State: Live, Served: ""},
		"held":          {State: Held, Dynamic: true, Served: "a"},
		"arming":        {State: Arming, Dynamic: true, Served: "a"},
	} {
		d := Reloads{}
		for n, servers := range []string{"a", "b", "c"} {
			if due, wait := d.Due(j, servers, now.Add(time.Duration(n)*time.Minute)); due || wait != 0 {
				t.Errorf("%s: due %t, wait %s", name, due, wait)
			}
		}
		if !j.ServedNow("b", now) {
			t.Errorf("%s: not served", name)
		}
	}
}

// A share is not served between a change of servers and the reload after the touch.
func TestServedNow(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name, servers string
		touched       time.Duration // ago; 0: never
		want          bool
	}{
		{"unchanged", "a", 0, true},
		{"changed", "b", 0, false},
		{"touched a moment ago", "a", time.Second, false},
		{"touched long ago", "a", time.Minute, true},
		{"changed after the touch", "b", time.Minute, false},
	} {
		j := &Journal{State: Live, Dynamic: true, Served: "a"}
		if c.touched > 0 {
			j.Touched = metav1.NewTime(now.Add(-c.touched))
		}
		if got := j.ServedNow(c.servers, now); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// A touch changes the journal of a live session at a router with the dynamic configuration manager, and nothing
// else.
func TestTouchRoute(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*Journal)
		want   bool
	}{
		"live":          {func(j *Journal) { j.Dynamic = true }, true},
		"static router": {func(*Journal) {}, false},
		"held":          {func(j *Journal) { j.Dynamic, j.State = true, Held }, false},
	} {
		r := newRoute(ptr[int32](80), alternate(ServiceName(id), 20))
		j := journal()
		j.State, j.Before, j.Set = Live, WeightsOf(newRoute(nil)), WeightsOf(r)
		c.change(j)
		if err := writeMarks(r, j); err != nil {
			t.Fatal(err)
		}
		was := r.DeepCopy()
		if err := TouchRoute(id, "0123456789ab", now)(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := Of(r).Journal
		if touched := got.Served == "0123456789ab" && got.Touched.Time.Equal(now); touched != c.want {
			t.Errorf("%s: journal %+v, want it touched: %t", name, got, c.want)
		}
		if diff := Diff(was, r); len(diff) > 0 != c.want {
			t.Errorf("%s: patch %v", name, diff)
		}
	}
	r := newRoute(ptr[int32](80), alternate(ServiceName(id), 20))
	j := journal()
	j.State, j.Before, j.Set, j.Dynamic, j.Served, j.Touched = Live, WeightsOf(newRoute(nil)), WeightsOf(r), true, "a", metav1.NewTime(now)
	if err := writeMarks(r, j); err != nil {
		t.Fatal(err)
	}
	was := r.DeepCopy()
	early := now.Add(TouchInterval - time.Second)
	var already *TouchedAlready
	if err := TouchRoute(id, "b", early)(r); !errors.As(err, &already) || len(Diff(was, r)) > 0 {
		t.Errorf("touched twice within %s: %v", TouchInterval, err)
	}
	if err := TouchRoute(id, "a", early)(r); err != nil || len(Diff(was, r)) > 0 {
		t.Errorf("what someone else has just done: %v", err)
	}
	if err := TouchRoute("zzzzzzzz", "0123456789ab", now)(newRoute(nil)); err == nil {
		t.Error("a Route without the session was touched")
	}
}
