package route

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

func ptr[T any](v T) *T { return &v }

// The real router's own weight function gave these 200 rows.
func TestServerWeightsAreTheRouters(t *testing.T) {
	data, err := os.ReadFile("../../test/testdata/router-weights.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Services []struct {
			Name           string
			Weight         *int32
			ReadyEndpoints int
		}
		EndpointWeights map[string]int32
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 200 {
		t.Fatalf("%d rows, expected 200", len(rows))
	}
	for i, row := range rows {
		var backends []Backend
		for _, s := range row.Services {
			backends = append(backends, Backend{Service: s.Name, Weight: s.Weight, Ready: s.ReadyEndpoints})
		}
		got := ServerWeights(backends)
		if len(got) != len(row.EndpointWeights) {
			t.Errorf("row %d: %v, the router gives %v", i, got, row.EndpointWeights)
		}
		for name, w := range row.EndpointWeights {
			if got[name] != w {
				t.Errorf("row %d: %s gets %d, the router gives %d", i, name, got[name], w)
			}
		}
	}
}

func TestWeightsForAPercentage(t *testing.T) {
	one := []Backend{{Service: "a", Weight: ptr[int32](100), Ready: 1}}
	three := []Backend{{Service: "a", Weight: ptr[int32](100), Ready: 3}}
	alternates := []Backend{{Service: "a", Weight: ptr[int32](60), Ready: 2}, {Service: "b", Weight: ptr[int32](20), Ready: 1}, {Service: "c", Weight: ptr[int32](0), Ready: 1}}
	for _, c := range []struct {
		name      string
		originals []Backend
		ready     int
		percent   Percent
		floor     Floor
		share     float64 // percent, to within tolerance
		tolerance float64
	}{
		{"nothing", one, 1, 0, KeepFloor, 0, 0},
		{"a fifth", one, 1, 20, KeepFloor, 20, 0.1},
		{"a fifth beside three", three, 1, 20, KeepFloor, 20, 0.1},
		{"a half with alternates", alternates, 1, 50, KeepFloor, 50, 0.5},
		{"a percent beside a heavy one without servers", []Backend{{Service: "a", Weight: ptr[int32](1), Ready: 1}, {Service: "b", Weight: ptr[int32](100)}}, 1, 1, KeepFloor, 1, 0.2},
		{"all, exactly", one, 1, 100, Exact, 100, 0},
		{"all, with a floor", one, 1, 100, KeepFloor, 99.61, 0.01},
		{"all, with a floor of three", three, 1, 100, KeepFloor, 98.84, 0.01},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := Weights(c.originals, c.ready, c.percent, c.floor)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(float64(plan.Share.Percent())-c.share) > c.tolerance {
				t.Errorf("share %s, wanted %.3f", plan.Share.Percent(), c.share)
			}
			for i, o := range c.originals {
				if o.Value() == 0 && plan.Originals[i] != 0 {
					t.Errorf("%s had weight 0 and got %d", o.Service, plan.Originals[i])
				}
				if c.floor == KeepFloor && o.Value() > 0 && plan.Originals[i] == 0 {
					t.Errorf("%s lost its floor", o.Service)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		percent Percent
		backend []Backend
		want    float64
	}{
		{"one Service", 50, []Backend{{Service: "a", Weight: ptr[int32](100), Ready: 4}}, 2},
		{"the canary of ten", 100, []Backend{{Service: "a", Weight: ptr[int32](10), Ready: 1}, {Service: "b", Weight: ptr[int32](90), Ready: 9}}, 10},
		{"no share of its own", 50, []Backend{{Service: "a", Weight: ptr[int32](0), Ready: 1}, {Service: "b", Weight: ptr[int32](100), Ready: 4}}, 2},
	} {
		if got := Load(c.backend, "a", c.percent); math.Abs(got-c.want) > 0.2 {
			t.Errorf("%s: the work of %.2f servers, wanted %.2f", c.name, got, c.want)
		}
	}
}

func TestWeightsRefuse(t *testing.T) {
	serving := []Backend{{Service: "a", Weight: ptr[int32](100), Ready: 1}}
	for _, c := range []struct {
		name      string
		originals []Backend
		ready     int
		percent   Percent
		code      reason.Code
	}{
		{"no sandbox", serving, 0, 50, reason.SandboxNotReady},
		{"nothing ready", []Backend{{Service: "a", Weight: ptr[int32](100)}}, 1, 50, reason.NoTraffic},
		{"all weights 0", []Backend{{Service: "a", Weight: ptr[int32](0), Ready: 1}}, 1, 50, reason.NoTraffic},
	} {
		if _, err := Weights(c.originals, c.ready, c.percent, KeepFloor); reason.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// With one original there is no ratio to keep: the smallest error can be had by trying
// all pairs of weights.
func TestWeightsAreTheBest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		n, m, percent := 1+random.IntN(12), 1+random.IntN(5), Percent(1+random.IntN(99))
		original := []Backend{{Service: "a", Weight: ptr[int32](100), Ready: n}}
		plan, err := Weights(original, m, percent, KeepFloor)
		if err != nil {
			t.Fatal(err)
		}
		least := math.Inf(1)
		for a := int32(1); a <= MaxWeight; a++ {
			for s := int32(1); s <= MaxWeight; s++ {
				share := Shares([]Backend{{Service: "a", Weight: &a, Ready: n}, {Service: "s", Weight: &s, Ready: m}})["s"]
				least = min(least, math.Abs(float64(share-percent.Share())))
			}
		}
		if got := math.Abs(float64(plan.Share - percent.Share())); got > least+1e-9 {
			t.Errorf("%d and %d servers, %g %%: error %.6f, %.6f is possible", n, m, percent, got, least)
		}
	}
}

func TestEndpointsAreTheRoutersServers(t *testing.T) {
	slice := discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "echo"}},
		Ports:      []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080)}, {Name: ptr("metrics"), Port: ptr[int32](9090)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "one"}},
			{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(false), Serving: ptr(true)}},
			{Addresses: []string{"127.0.0.1"}},
			{Addresses: []string{"169.254.1.1"}},
		},
	}
	route := func(port *intstr.IntOrString) *routev1.Route {
		r := &routev1.Route{}
		if port != nil {
			r.Spec.Port = &routev1.RoutePort{TargetPort: *port}
		}
		return r
	}
	for _, c := range []struct {
		name string
		port *intstr.IntOrString
		want int
	}{
		{"by name", ptr(intstr.FromString("http")), 1},
		{"by number", ptr(intstr.FromInt32(9090)), 1},
		{"number in a string", ptr(intstr.FromString("8080")), 1},
		{"none named: all ports", nil, 2},
		{"unknown", ptr(intstr.FromString("grpc")), 0},
	} {
		got := Endpoints(route(c.port), "echo", []discoveryv1.EndpointSlice{slice})
		if len(got) != c.want {
			t.Errorf("%s: %v, wanted %d", c.name, got, c.want)
		}
	}
	if got := Endpoints(route(nil), "other", []discoveryv1.EndpointSlice{slice}); len(got) != 0 {
		t.Errorf("another Service's: %v", got)
	}
}

// The values were computed with md5sum by hand.
func TestCookie(t *testing.T) {
	r := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "route"}, Spec: routev1.RouteSpec{TLS: &routev1.TLSConfig{Termination: routev1.TLSTerminationEdge}}}
	if got, want := CookieName(r), "15b4f5d9835999b1a2f1c6753c0b2a73"; got != want {
		t.Errorf("name %s, wanted %s", got, want)
	}
	e := Endpoint{Service: "svc", Pod: "pod-1", PortName: "http", IP: "10.0.0.1", Port: 8080}
	if got, want := e.Cookie(), "1d5d72733faf06bdda6aa6f1afd3eae7"; got != want {
		t.Errorf("pod's value %s, wanted %s", got, want)
	}
	e.Pod = ""
	if got, want := e.Cookie(), "64c99b4134b73d341e7d3d5121236b54"; got != want {
		t.Errorf("address' value %s, wanted %s", got, want)
	}
	r.Annotations = map[string]string{"router.openshift.io/cookie_name": "mine"}
	if got := CookieName(r); got != "mine" {
		t.Errorf("annotated name %s", got)
	}
}

// Only a number from 0 to 100 is a percentage.
func TestPercentages(t *testing.T) {
	for _, p := range []float64{0, 0.1, 50, 100} {
		if got, err := NewPercent(p); err != nil || float64(got.Share()) != p/100 || math.Abs(float64(got.Share().Percent())-p) > 1e-12 {
			t.Errorf("%g: %v, %v", p, got, err)
		}
	}
	for _, p := range []float64{-0.1, 100.1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := NewPercent(p); reason.CodeOf(err) != reason.PercentOutOfRange {
			t.Errorf("%g: %v", p, err)
		}
	}
}
