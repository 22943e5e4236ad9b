//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// 'rollback' works even if it cannot read what it only needs for its warnings. 'rollback --all' also
// ends sessions whose Route lost its marks or was deleted. A label that is not a session ID does
// not stop it.
func TestRollbackOfWhatIsHardToEnd(t *testing.T) {
	t.Parallel()
	e := newEnv(t) // without a guard, which would end the sessions first
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	e.createUser("oncall", allow("route.openshift.io", "get list watch patch", "routes"), allow("", "get list watch delete", "pods", "services"))
	e.plant("shop", record.Live, time.Hour)
	if r := e.start(e.impersonate("oncall"), "rollback", "--drain", "1s").wait(); r.code != 0 || !r.reports(reason.ConnectionsNotChecked) {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()

	gone := e.createPlainRoute("gone")
	pruned := e.createPlainRoute("pruned")
	e.plant("gone", record.Arming, time.Hour)
	e.plant("pruned", record.Arming, time.Hour)
	e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), gone.Name, metav1.DeleteOptions{}))
	pruned.ManagedFields = nil
	e.ok(retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the router writes its status
		pruned.ResourceVersion = e.getRoute("pruned").ResourceVersion
		_, err := routes.RouteV1().Routes(e.ns).Update(t.Context(), pruned, metav1.UpdateOptions{})
		return err
	}))
	marks := map[string]string{record.RouteNameKey: pruned.Name, record.RouteUIDKey: string(pruned.UID)}
	odd := e.createPod("odd", map[string]string{record.Label: "a.b"}, marks)
	for _, args := range [][]string{{"--all"}, {"--route", "pruned"}} {
		if r := e.cli(append([]string{"rollback", "--drain", "1s"}, args...)...); r.code != 0 {
			t.Errorf("%v: %s", args, r)
		}
	}
	e.ok(core.CoreV1().Pods(e.ns).Delete(t.Context(), odd.Name, *metav1.NewDeleteOptions(0)))
	e.checkNothingLeft()
}

// A rollback that cannot restore the Route within its timeout exits with 3 and loses nothing: another
// rollback ends the session.
func TestARollbackWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	before := e.createShop()
	e.plant("shop", record.Live, time.Hour)
	readonly := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodPatch {
			refuse(w, "503")
			return
		}
		forward(w, r)
	})
	if r := e.start(readonly, "rollback", "--drain", "0s", "--timeout", "3s").wait(); r.code != 3 || !r.reports(reason.TimedOut) || !r.mentions("rollback: ", " 3s") {
		t.Error(r)
	}
	if e.state() != record.Live {
		t.Errorf("the session is %q", e.state())
	}
	if r := e.cli("rollback", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}
