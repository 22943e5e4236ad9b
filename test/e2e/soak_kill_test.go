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

// As TestKilledBeforeAndAfterEveryRequest, with pods in the VM.
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
					if s := record.Of(e.routeNamed(name)); r.code != 0 || s == nil || s.State != record.Live {
						e.t.Errorf("no session to begin with: %s", r)
					}
				}
				return e.start(config, append([]string{verb, "--route", name}, args...)...)
			}
			e.killEverywhere(e.record(verb+"-with-pods", run, nil), podsAtATime, podsEnd, run)
		})
	}
}

// podsAtATime bounds the sandboxes that start in the emulated VM at once, beside those that
// commands which were killed have left to the guard.
const podsAtATime = 2

// podsEnd is what the emulated VM may take to end a pod beside others that begin.
const podsEnd = time.Minute

// kill -9 of the guard at every write with which it ends what a command left that somebody, or it
// itself, restored: the sandbox of a session that drains, and one that no Route knows.
func TestSoakTheGuardKilledWhileItDeletesASandbox(t *testing.T) {
	for name, c := range map[string]struct {
		writes int
		found  func(*bareSession)
	}{
		"draining": {3, func(b *bareSession) { b.plant(record.Draining, soon) }}, // two deletions, close
		"an orphan": {2, func(b *bareSession) {
			b.plant(record.Draining, soon)
			b.e.ok(store.Store{Core: core, Routes: routes}.Close(b.e.t.Context(), b.e.ns, b.route, b.journal.Session, b.get()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedWhileItEnds(t, c.writes, c.found)
		})
	}
}

// And at the requests that only some runs make, in as many runs as that takes.
func TestSoakTheGuardKilledAtWhatOnlySomeRunsDo(t *testing.T) {
	t.Parallel()
	_, some := recordGuard(t, heldAndOver)
	missed := killGuards(t, some, heldAndOver)
	told(t, "%d instants of requests that not every run makes: killed at %d, %d came in none of %d runs", len(some), len(some)-len(missed), len(missed), killTries)
}

// And at every write with which it ends a session for the sake of others: whose node is about to
// be drained, whose backend somebody took off the Route.
func TestSoakTheGuardKilledWhileItGivesWay(t *testing.T) {
	for name, c := range map[string]course{
		"its node is cordoned": {(*bareSession).onNodeOfItsOwn, (*bareSession).cordon},
		"its backend is gone": {long, func(b *bareSession, g *running, guard string) {
			b.patch(g, guard, `[{"op":"remove","path":"/spec/alternateBackends"},{"op":"replace","path":"/spec/to/weight","value":100}]`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedAtWrites(t, 4, c) // restore, two deletions, close
		})
	}
}

// onNodeOfItsOwn is long with a guard that sees nodes, the sandbox on a node of its own.
func (b *bareSession) onNodeOfItsOwn() {
	b.e.t.Helper()
	ctx := b.e.t.Context()
	b.e.node = handNode + "-" + b.e.ns
	b.e.ok(makeHandNode(b.e.node))
	_, err := core.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.e.node}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "osc-debug-guard-nodes"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "osc-debug-guard", Namespace: b.e.ns}},
	}, metav1.CreateOptions{})
	b.e.ok(err)
	b.e.t.Cleanup(func() {
		_ = core.CoreV1().Nodes().Delete(context.Background(), b.e.node, metav1.DeleteOptions{})
		_ = core.RbacV1().ClusterRoleBindings().Delete(context.Background(), b.e.node, metav1.DeleteOptions{})
	})
	long(b)
}

// cordon cordons the session's node once a guard leads.
func (b *bareSession) cordon(g *running, name string) {
	b.e.t.Helper()
	if g.leads(b.e.t.Context(), name) {
		b.e.ok(cordon(b.e.t.Context(), b.e.node))
	}
}
