//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// A dry run prints every object and the Route's changes without the Route's TLS key, and changes
// nothing.
func TestADryRunShowsAllAndChangesNothing(t *testing.T) {
	t.Parallel()
	const key = "-----BEGIN SECRET-----"
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": `{"key":"` + key + `"}`}
		r.Spec.TLS = &routev1.TLSConfig{Termination: "edge", InsecureEdgeTerminationPolicy: "Allow"}
	})
	alice := e.readOnlyProxy("alice")
	r := e.start(alice, "shift", "--route", "shop", "--router", routerIP, "--weight", "20", "--dry-run=server", "-o", "yaml", "--no-guard").wait()
	for _, word := range []string{"kind: Service", "kind: Pod", "kind: Route", "runtimeClassName: kata", "name: osc-debug", "would change (20", "osc-debug.dev/journal"} {
		if r.code != 0 || !strings.Contains(r.out, word) {
			t.Errorf("no %q in %s", word, r)
		}
	}
	if strings.Contains(r.out, key) {
		t.Error("the TLS key was printed")
	}
	for _, mode := range []string{"client", "server"} {
		r := e.start(alice, "shift", "--route", "shop", "--router", routerIP, "--weight", "100", "--exact", "--dry-run="+mode, "-o", "json", "--no-guard").wait()
		var list struct {
			Items         []map[string]any
			RealisedShare float64
		}
		if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Items) != 3 || list.RealisedShare != 1 {
			t.Errorf("%s: %v, %s", mode, err, r)
		}
	}
}

// 'status' shows the requested share and the realised one, as a table and as JSON.
func TestStatusShowsASession(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 2, nil)
	e.route(nil)
	s := e.shift("--weight", "20")
	if !s.reaches("live") {
		t.Fatal(s.wait())
	}
	table := e.cli("status")
	for _, word := range []string{"shop", "live", "20%", "deployment/web", "alice"} {
		if !strings.Contains(table.out, word) {
			t.Errorf("no %q in %s", word, table)
		}
	}
	var list struct {
		Sessions []struct {
			Session, State, User string
			Asked, Realised      float64
			Ready                int
		}
	}
	r := e.cli("status", "-o", "json")
	e.ok(json.Unmarshal([]byte(r.out), &list))
	if len(list.Sessions) != 1 || list.Sessions[0].State != "live" || list.Sessions[0].Ready != 1 || list.Sessions[0].User != "alice" ||
		list.Sessions[0].Realised < 19 || list.Sessions[0].Realised > 21 {
		t.Errorf("%s", r)
	}
	second := e.shift("--weight", "20").wait()
	if second.code != 1 || !second.reports(reason.RouteInSession) || !second.mentions(list.Sessions[0].Session) {
		t.Errorf("a second session must be refused, naming the first one's ID: %s", second)
	}
	if r := e.cli("rollback", "-s", list.Sessions[0].Session, "--drain", "5s"); r.code != 0 {
		t.Errorf("rollback by ID: %s", r)
	}
	if r := s.wait(); r.code != 4 && r.code != 0 {
		t.Errorf("the shift whose session was ended by rollback: %s", r)
	}
	e.checkNothingLeft()
}

// A session that cannot trace what it was asked to says so before any user is moved. With --force it goes on without.
func TestASessionThatCannotTraceMovesNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	// A fake pod has no kubelet that could start a tracer.
	r := e.shift("--weight", "100", "--trace", "open").wait()
	if r.code != 1 || !r.reports(reason.GadgetsUnavailable) || strings.Contains(r.errOut, "s  verify ") {
		t.Errorf("without --force: %s", r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	if r := e.shift("--weight", "100", "--trace", "open", "--force", "--for", "1s").wait(); r.code != 0 || !r.reports(reason.GadgetsUnavailable) {
		t.Errorf("with --force: %s", r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// A sandbox that answers 500 fails the proof: no user is sent to it, and everything is undone.
func TestASandboxThatFailsIsNeverUsed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.sandboxIP = failingIP
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	r := e.shift("--weight", "100", "--exact").wait()
	if r.code != 1 || !r.reports(reason.SandboxAnswersWorse) || !r.mentions(" 500 ", " 200") {
		t.Errorf("%s", r)
	}
	if n := failedRequests.count(e.shop().Spec.Host); n != 3 {
		t.Errorf("%d requests reached the sandbox, wanted 3 (those of the proof)", n)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}
