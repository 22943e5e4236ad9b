//go:build e2e

package e2e

import (
	"encoding/json"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

// The dry run shows the very Route that a session then writes, in both of its modes: weights,
// label and journal, but for the session's ID and times.
func TestADryRunShowsTheRouteThatIsWritten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 2, nil)
	e.deployment("b", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Spec.To.Weight = weight(80)
		r.Spec.AlternateBackends = append(r.Spec.AlternateBackends, alternate("b", 20))
	})
	args := []string{"--weight", "30", "--replicas", "1"}
	shown := map[string]string{}
	for _, mode := range []string{"client", "server"} {
		r := e.start("alice", append([]string{"shift", "--route", "shop", "--router", routerIP, "--no-guard", "--dry-run", mode, "-o", "json"}, args...)...).wait()
		var list struct{ Items []json.RawMessage }
		e.ok(json.Unmarshal([]byte(r.out), &list))
		for _, item := range list.Items {
			var route routev1.Route
			if e.ok(json.Unmarshal(item, &route)); route.Kind == "Route" {
				shown[mode] = newWriteLog().mask(sessionFields(&route))
			}
		}
	}
	run := e.shift(args...)
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	written := newWriteLog().mask(sessionFields(e.shop()))
	for mode, route := range shown {
		if route != written {
			t.Errorf("--dry-run=%s shows\n%s\nand the session wrote\n%s", mode, route, written)
		}
	}
	if len(shown) != 2 {
		t.Errorf("the dry runs show %d Routes", len(shown))
	}
	run.signal(2)
	run.wait()
}
