//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func weight(w int32) *int32 { return &w }

func alternate(name string, w int32) routev1.RouteTargetReference {
	return routev1.RouteTargetReference{Kind: "Service", Name: name, Weight: &w}
}

// After a session that was live, the Route's spec, labels and annotations are the same byte for
// byte, and no managedFields entry of osc-debug is left.
func TestTheRouteIsTheSameAfterwards(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*routev1.Route)
		weight string
	}{
		"no alternates": {nil, "100"},
		"one alternate": {func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 256))
		}, "50"},
		"one alternate at 0": {func(r *routev1.Route) { r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 0)) }, "20"},
		"two, not adding to 100": {func(r *routev1.Route) {
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 1), alternate("c", 3))
		}, "30"},
		"primary at 0": {func(r *routev1.Route) {
			r.Spec.To.Weight = weight(0)
			r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 7))
		}, "100"},
		"an empty list":             {func(r *routev1.Route) { r.Spec.AlternateBackends = []routev1.RouteTargetReference{} }, "100"},
		"numeric port":              {func(r *routev1.Route) { r.Spec.Port.TargetPort = intstr.FromInt32(plainPort) }, "100"},
		"no port, several to serve": {func(r *routev1.Route) { r.Spec.Port = nil }, "0"},
		"path":                      {func(r *routev1.Route) { r.Spec.Path = "/shop" }, "100"},
		"edge": {func(r *routev1.Route) {
			r.Spec.TLS = &routev1.TLSConfig{Termination: "edge", InsecureEdgeTerminationPolicy: "Allow"}
		}, "100"},
		"reencrypt": {func(r *routev1.Route) {
			r.Spec.TLS = &routev1.TLSConfig{Termination: "reencrypt", DestinationCACertificate: serverCA}
			r.Spec.Port.TargetPort = intstr.FromString("https")
		}, "100"},
		"passthrough": {func(r *routev1.Route) {
			r.Spec.TLS = &routev1.TLSConfig{Termination: "passthrough"}
			r.Spec.Port.TargetPort = intstr.FromString("https")
		}, "100"},
		"wildcard": {func(r *routev1.Route) { r.Spec.WildcardPolicy = "Subdomain"; r.Spec.Host = "any." + r.Spec.Host }, "100"},
		"no cookies": {func(r *routev1.Route) {
			r.Annotations = map[string]string{"haproxy.router.openshift.io/disable_cookies": "true"}
		}, "100"},
		"own cookie name, labels": {func(r *routev1.Route) {
			r.Annotations = map[string]string{"router.openshift.io/cookie_name": "mine"}
			r.Labels = map[string]string{"team": "shop"}
		}, "100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			for _, s := range []string{"web", "b", "c"} {
				e.deployment(s, 1, nil)
			}
			args := []string{"--weight", c.weight, "--exact", "--for", "1s"}
			if r := e.route(c.change); *r.Spec.To.Weight == 0 {
				args = append(args, "--force") // the primary, which is cloned, serves no users
			}
			before := e.snapshot()
			s := e.shift(args...)
			live := s.reaches("live")
			r := s.wait()
			if r.code != 0 || !live {
				t.Fatalf("live %v, %s", live, r)
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// After a session, a tool can apply the Route on the server side with other weights without a
// conflict.
func TestAnApplyAfterwardsHasNoConflict(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.deployment("b", 1, nil)
	manifest := func(to, b string) []byte {
		return []byte(`{"apiVersion":"route.openshift.io/v1","kind":"Route","metadata":{"name":"shop"},"spec":{"host":"` + e.ns + `.apps.osc-debug.test",
"to":{"kind":"Service","name":"web","weight":` + to + `},"alternateBackends":[{"kind":"Service","name":"b","weight":` + b + `}],"port":{"targetPort":"http"}}}`)
	}
	apply := func(data []byte) error {
		_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: "gitops"})
		return err
	}
	e.ok(apply(manifest("80", "20")))
	e.eventually("a router has reported a status", func() bool {
		r, err := routes.RouteV1().Routes(e.ns).Get(t.Context(), "shop", metav1.GetOptions{})
		return err == nil && len(r.Status.Ingress) > 0
	})
	if r := e.shift("--weight", "50", "--for", "1s").wait(); r.code != 0 {
		t.Fatal(r)
	}
	if err := apply(manifest("70", "30")); err != nil {
		t.Error(err)
	}
}

// A change by someone else survives the session's end, the session's own changes are removed, and
// the exit code is 4.
func TestSomebodyElsesChangeSurvives(t *testing.T) {
	t.Parallel()
	patch := func(t *testing.T, e *env, data string) {
		t.Helper()
		_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(data), metav1.PatchOptions{FieldManager: "other"})
		e.ok(err)
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *env)
		want   string // part of the spec afterwards
	}{
		"changes a weight": {func(t *testing.T, e *env) {
			patch(t, e, `[{"op":"replace","path":"/spec/alternateBackends/0/weight","value":77}]`)
		}, `"alternateBackends":[{"kind":"Service","name":"b","weight":77}]`},
		"adds an alternate": {func(t *testing.T, e *env) {
			patch(t, e, `[{"op":"add","path":"/spec/alternateBackends/-","value":{"kind":"Service","name":"c","weight":5}}]`)
		}, `{"kind":"Service","name":"c","weight":5}`},
		"removes the sandbox's backend": {func(t *testing.T, e *env) { patch(t, e, `[{"op":"remove","path":"/spec/alternateBackends/1"}]`) }, `"alternateBackends":[{"kind":"Service","name":"b","weight":20}]`},
		"recreates the Route": {func(t *testing.T, e *env) {
			e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}))
			e.route(func(r *routev1.Route) { r.Spec.To.Weight = weight(42) })
		}, `"weight":42`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			for _, s := range []string{"web", "b", "c"} {
				e.deployment(s, 1, nil)
			}
			e.route(func(r *routev1.Route) {
				r.Spec.To.Weight = weight(80)
				r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 20))
			})
			s := e.shift("--weight", "50")
			if !s.reaches("live") {
				t.Fatal(s.wait())
			}
			c.change(t, e)
			s.signal(syscall.SIGINT)
			r := s.wait()
			if r.code != 4 {
				t.Errorf("wanted exit 4: %s", r)
			}
			if after := e.snapshot(); !strings.Contains(after, c.want) || strings.Contains(after, "osc-debug.dev") || strings.Contains(after, `"osc-debug-`) {
				t.Errorf("wanted %s and no trace of osc-debug in %s", c.want, after)
			}
			e.checkNothingLeft()
		})
	}
	t.Run("deletes the Route", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		e.deployment("web", 1, nil)
		e.route(nil)
		s := e.shift("--weight", "50")
		if !s.reaches("live") {
			t.Fatal(s.wait())
		}
		e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), "shop", metav1.DeleteOptions{}))
		s.signal(syscall.SIGINT)
		if r := s.wait(); r.code != 4 {
			t.Errorf("wanted exit 4: %s", r)
		}
		e.checkNothingLeft()
	})
}
