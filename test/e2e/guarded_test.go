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

// guardedNamespaces is how many namespaces are listed in the guard's settings; it watches no others.
const guardedNamespaces = 74

var nextGuarded atomic.Int32

// runID distinguishes this run's namespaces from those of earlier runs on the same cluster.
var runID = rand.IntN(1 << 24)

func guardedName(n int) string { return fmt.Sprintf("guarded-%06x-%d", runID, n) }

// installGuard applies the guard's manifests and waits until the guard is running.
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
	mayBegin(t)
	n := int(nextGuarded.Add(1)) - 1
	if n >= guardedNamespaces {
		t.Fatal("raise guardedNamespaces")
	}
	return newEnvIn(t, guardedName(n))
}

// guardedShift starts a session of alice that the guard watches.
func (e *env) guardedShift(args ...string) *running {
	e.t.Helper()
	return e.start("alice", append([]string{"shift", "--route", "shop", "--router", routerIP}, args...)...)
}

// detachedShift starts a detached session of alice, which only the guard watches. It returns the
// session's ID, or "" if the session has ended already.
func (e *env) detachedShift(args ...string) string {
	e.t.Helper()
	if r := e.guardedShift(append(args, "--detach")...).wait(); r.code != 0 {
		e.t.Fatal(r)
	}
	if s := record.Of(e.shop()); s != nil {
		return s.ID
	}
	return ""
}

// waitForEnd waits until the session has ended, then checks that the Route is as before and that
// nothing of the session is left.
func (e *env) waitForEnd(before string) {
	e.t.Helper()
	if !waitUntil(e.t, e.ns, hang, pollInterval, "the session has ended", e.isClean) {
		e.t.Errorf("the guard did not end the session within %s", hang)
	}
	if after := e.snapshot(); after != before {
		e.t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// isClean says whether no trace of a session is left on Route shop or in the namespace.
func (e *env) isClean() bool {
	r := e.shop()
	return e.countSessionObjects() == 0 && record.Of(r) == nil && !hasOurManagedFields(r)
}

func (e *env) shop() *routev1.Route { return e.getRoute("shop") }

func (e *env) getRoute(name string) *routev1.Route {
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

// expire moves the end of Route shop's session to now. A test that uses it does not depend on how
// fast the machine is.
func (e *env) expire() {
	e.t.Helper()
	e.expireSession("shop")
}

func (e *env) expireSession(route string) {
	e.t.Helper()
	e.ok(retry.OnError(retry.DefaultBackoff, store.Retriable, func() error {
		r := e.getRoute(route)
		s := record.Of(r)
		if s == nil || s.Journal == nil {
			return nil // the session has ended for another reason
		}
		_, err := store.Store{Core: core, Routes: routes}.Extend(e.t.Context(), r, s.ID, time.Now())
		return err
	}))
}

// createShop creates Deployment web and Route shop and returns the Route's snapshot.
func (e *env) createShop() (before string) {
	e.t.Helper()
	e.deployment("web", 1, nil)
	e.route(nil)
	return e.snapshot()
}

// setReady sets the readiness of a fake pod.
func (e *env) setReady(pod string, is bool) {
	e.t.Helper()
	e.ok(e.patchReadiness(pod, is))
}

func (e *env) patchReadiness(pod string, is bool) error {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q},{"type":"ContainersReady","status":%q}]}}`, status, status)
	_, err := core.CoreV1().Pods(e.ns).Patch(e.t.Context(), pod, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	return err
}

// eventMessage returns the message of the Event about Route shop with a reason, "" if there is none.
func (e *env) eventMessage(reason string) string {
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
