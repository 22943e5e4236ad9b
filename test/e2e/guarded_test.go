//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/session/store"
	"github.com/osc-debug/osc-debug/test/sample"
)

// guardedNamespaces are those that the guard is told of: it watches no others.
const guardedNamespaces = 70

var nextGuarded atomic.Int32

// runID tells namespaces of this run from those of an earlier one on the same cluster.
var runID = rand.IntN(1 << 24)

func guardedName(n int) string { return fmt.Sprintf("guarded-%06x-%d", runID, n) }

// installGuard applies the guard's manifests and waits until it stands by.
func installGuard() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var names []string
	for n := range guardedNamespaces {
		name := guardedName(n)
		if _, err := core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		names = append(names, name)
	}
	cluster := sample.Cluster{State: state, CLI: binary}
	return cluster.InstallGuard(ctx, names, "drain=1s", "runtimeClasses=kata kata-remote gvisor")
}

// newGuardedEnv is newEnv in a namespace that the guard watches.
func newGuardedEnv(t *testing.T) *env {
	t.Helper()
	n := int(nextGuarded.Add(1)) - 1
	if n >= guardedNamespaces {
		t.Fatal("raise guardedNamespaces")
	}
	return newEnvIn(t, guardedName(n))
}

// guarded starts a session that the guard watches.
func (e *env) guarded(args ...string) *running {
	e.t.Helper()
	return e.start("alice", append([]string{"shift", "--route", "shop", "--router", routerIP}, args...)...)
}

// detached begins a session of alice's that is left to the guard, and returns its ID.
func (e *env) detached(args ...string) string {
	e.t.Helper()
	if r := e.guarded(append(args, "--detach")...).wait(); r.code != 0 {
		e.t.Fatal(r)
	}
	if s := record.Of(e.shop()); s != nil {
		return s.ID
	}
	return "" // it is over already
}

// ended waits until the Route is as before and nothing of the session is left.
func (e *env) ended(before string) {
	e.t.Helper()
	if !await(e.t, e.ns, hang, unwatched, "the session's end", e.clean) {
		e.t.Errorf("the guard did not end the session within %s", hang)
	}
	if after := e.tested(); after != before {
		e.t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}

// clean says whether no trace of a session is there.
func (e *env) clean() bool {
	r := e.shop()
	return e.sandboxes() == 0 && record.Of(r) == nil && !managed(r)
}

func (e *env) shop() *routev1.Route { return e.routeNamed("shop") }

func (e *env) routeNamed(name string) *routev1.Route {
	e.t.Helper()
	r, err := routes.RouteV1().Routes(e.ns).Get(e.t.Context(), name, metav1.GetOptions{})
	e.ok(err)
	return r
}

func (e *env) state() record.State {
	if s := record.Of(e.shop()); s != nil {
		return s.State
	}
	return ""
}

// over moves the end of the Route's session to now, however long a slow machine took until then.
func (e *env) over() {
	e.t.Helper()
	e.overOn("shop")
}

func (e *env) overOn(route string) {
	e.t.Helper()
	e.ok(retry.OnError(retry.DefaultBackoff, store.Retriable, func() error {
		r := e.routeNamed(route)
		s := record.Of(r)
		if s == nil || s.Journal == nil {
			return nil // it ended for another reason
		}
		_, err := store.Store{Core: core, Routes: routes}.Extend(e.t.Context(), r, s.ID, time.Now())
		return err
	}))
}

// standard makes Deployment web and Route shop.
func (e *env) standard() (before string) {
	e.t.Helper()
	e.deployment("web", 1, nil)
	e.route(nil)
	return e.tested()
}

// ready writes a hand-made pod's readiness.
func (e *env) ready(pod string, is bool) {
	e.t.Helper()
	e.ok(e.readiness(pod, is))
}

func (e *env) readiness(pod string, is bool) error {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q},{"type":"ContainersReady","status":%q}]}}`, status, status)
	_, err := core.CoreV1().Pods(e.ns).Patch(e.t.Context(), pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	return err
}

// eventOf is what an Event with a reason says of the Route, "" while there is none.
func (e *env) eventOf(reason string) string {
	e.t.Helper()
	events, err := core.CoreV1().Events(e.ns).List(e.t.Context(), metav1.ListOptions{FieldSelector: "reason=" + reason})
	e.ok(err)
	for _, ev := range events.Items {
		if ev.InvolvedObject.Name == "shop" {
			return ev.Message
		}
	}
	return ""
}
