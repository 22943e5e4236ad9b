//go:build e2e && soak

package e2e

import (
	"context"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
)

// Like TestKilledBeforeAndAfterEveryRequest, with pods in the VM.
func TestSoakKilledBeforeAndAfterEveryRequestWithPods(t *testing.T) {
	t.Parallel()
	for verb, args := range map[string][]string{
		"shift":    {"--router", routerIP, "--weight", "100", "--ttl", "10s", "--for", "500ms", "--timeout", "60s"},
		"weight":   {"50", "--router", routerIP},
		"extend":   {"3s"},
		"rollback": {"--drain", "500ms"},
	} {
		t.Run(verb, func(t *testing.T) {
			e := newGuardedEnv(t)
			e.deployment("web", 1, onRealNode)
			run := func(name, config string) *running {
				if verb != "shift" {
					r := e.cli("shift", "--route", name, "--router", routerIP, "--weight", "100", "--ttl", "20s", "--detach")
					if s := record.Of(e.getRoute(name)); r.code != 0 || s == nil || s.State != record.Live {
						e.t.Errorf("cannot start a session: %s", r)
					}
				}
				return e.start(config, append([]string{verb, "--route", name}, args...)...)
			}
			e.killAtEach(e.recordInstants(verb+"-with-pods", run, nil), parallelPods, podsEnd, run)
		})
	}
}

// parallelPods bounds the sandboxes that start in the emulated VM at the same time. Sandboxes that
// killed commands left to the guard are there in addition.
const parallelPods = 2

// podsEnd is how long the emulated VM may take to end a pod while others start.
const podsEnd = time.Minute

// The guard is ended by kill -9 at every write with which it deletes a sandbox whose Route is already
// restored: that of a draining session, and an orphan, which no Route knows.
func TestSoakTheGuardKilledWhileItDeletesASandbox(t *testing.T) {
	for name, c := range map[string]struct {
		writes int
		found  func(*bareSession)
	}{
		"draining": {3, func(b *bareSession) { b.plant(record.Draining, shortTTL) }}, // two deletions, close
		"an orphan": {2, func(b *bareSession) {
			b.plant(record.Draining, shortTTL)
			b.e.ok(store.Store{Core: core, Routes: routes}.Close(b.e.t.Context(), b.e.ns, b.route, b.journal.Session, b.get()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killWhileEnding(t, c.writes, c.found)
		})
	}
}

// The same at the requests that only some runs make, with up to killTries runs for each.
func TestSoakTheGuardKilledAtWhatOnlySomeRunsDo(t *testing.T) {
	t.Parallel()
	_, some := recordGuard(t, heldThenExpired)
	missed := killGuards(t, some, heldThenExpired)
	summarize(t, "of %d instants that not every run has: killed at %d, %d did not come in %d runs", len(some), len(some)-len(missed), len(missed), killTries)
}

// The same at every write with which the guard ends a session because its node is about to be
// drained, or because someone removed its backend from the Route.
func TestSoakTheGuardKilledWhileItGivesWay(t *testing.T) {
	for name, c := range map[string]scenario{
		"its node is cordoned": {(*bareSession).onNodeOfItsOwn, (*bareSession).cordon},
		"its backend is gone": {plantLong, func(b *bareSession, g *running, guard string) {
			b.patch(g, guard, `[{"op":"remove","path":"/spec/alternateBackends"},{"op":"replace","path":"/spec/to/weight","value":100}]`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killAtWrites(t, 4, c) // restore, two deletions, close
		})
	}
}

// onNodeOfItsOwn is plantLong with the sandbox on a node of its own and a guard that may read nodes.
func (b *bareSession) onNodeOfItsOwn() {
	b.e.t.Helper()
	ctx := b.e.t.Context()
	b.e.node = fakeNode + "-" + b.e.ns
	b.e.ok(createFakeNode(b.e.node))
	_, err := core.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.e.node}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard-nodes"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: b.e.ns}},
	}, metav1.CreateOptions{})
	b.e.ok(err)
	b.e.t.Cleanup(func() {
		_ = core.CoreV1().Nodes().Delete(context.Background(), b.e.node, metav1.DeleteOptions{})
		_ = core.RbacV1().ClusterRoleBindings().Delete(context.Background(), b.e.node, metav1.DeleteOptions{})
	})
	plantLong(b)
}

// cordon cordons the session's node once a guard leads.
func (b *bareSession) cordon(g *running, name string) {
	b.e.t.Helper()
	if g.waitUntilLeading(b.e.t.Context(), name) {
		b.e.ok(cordon(b.e.t.Context(), b.e.node))
	}
}
