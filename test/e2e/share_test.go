//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/test/haproxy"
)

// The share that status prints is the one that HAProxy's own weights give, whatever other backends
// the Route has.
func TestTheRealisedShareIsWhatHAProxyDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		originals, others int32
		weight            string
	}{
		{1, 0, "20"}, {2, 0, "20"}, {3, 0, "20"}, {3, 0, "100"}, {2, 1, "35"}, {1, 2, "70"},
	} {
		t.Run(fmt.Sprintf("%s percent beside %d and %d", c.weight, c.originals, c.others), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.deployment("web", c.originals, nil)
			if c.others > 0 {
				e.deployment("other", c.others, nil)
			}
			e.route(func(r *routev1.Route) {
				if c.others > 0 {
					r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("other", 50))
				}
			})
			run := e.shift("--weight", c.weight, "--replicas", "1")
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			var status struct{ Sessions []struct{ Realised float64 } }
			e.ok(json.Unmarshal([]byte(e.cli("status", "-o", "json").out), &status))
			if len(status.Sessions) != 1 {
				t.Fatalf("status lists %d sessions", len(status.Sessions))
			}
			said := status.Sessions[0].Realised
			if said <= 0 {
				t.Errorf("status says %g %%", said)
			}
			done := 0.0
			e.eventuallyPolled("HAProxy's share is what status said", func() bool {
				servers, err := haproxy.Servers(state, e.ns, "shop")
				done = 100 * haproxy.Share(servers, "osc-debug-")
				return err == nil && math.Abs(done-said) < 0.01
			})
			t.Logf("requested %s %%, status %.3f %%, HAProxy %.3f %%", c.weight, said, done)
		})
	}
}
