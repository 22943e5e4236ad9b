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

// rollback never depends on what it reads to tell more, and --all finds what is left on Routes
// that bear no mark any more, or are gone; a label that can't be a session's stops nothing.
func TestRollbackOfWhatIsHardToEnd(t *testing.T) {
	t.Parallel()
	e := newEnv(t) // no guard ends it first
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.tested()
	e.forger("oncall", may("route.openshift.io", "get list watch patch", "routes"), may("", "get list watch delete", "pods", "services"))
	e.plant("shop", record.Live, time.Hour)
	if r := e.start(e.as("oncall"), "rollback", "--drain", "1s").wait(); r.code != 0 || !r.because(reason.ConnectionsNotTold) {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()

	gone := e.plainRoute("gone")
	pruned := e.plainRoute("pruned")
	e.plant("gone", record.Arming, time.Hour)
	e.plant("pruned", record.Arming, time.Hour)
	e.ok(routes.RouteV1().Routes(e.ns).Delete(t.Context(), gone.Name, metav1.DeleteOptions{}))
	pruned.ManagedFields = nil
	e.ok(retry.RetryOnConflict(retry.DefaultBackoff, func() error { // the router writes its status
		pruned.ResourceVersion = e.routeNamed("pruned").ResourceVersion
		_, err := routes.RouteV1().Routes(e.ns).Update(t.Context(), pruned, metav1.UpdateOptions{})
		return err
	}))
	marks := map[string]string{record.RouteNameKey: pruned.Name, record.RouteUIDKey: string(pruned.UID)}
	odd := e.pod("odd", map[string]string{record.Label: "a.b"}, marks)
	for _, args := range [][]string{{"--all"}, {"--route", "pruned"}} {
		if r := e.cli(append([]string{"rollback", "--drain", "1s"}, args...)...); r.code != 0 {
			t.Errorf("%v: %s", args, r)
		}
	}
	e.ok(core.CoreV1().Pods(e.ns).Delete(t.Context(), odd.Name, *metav1.NewDeleteOptions(0)))
	e.nothingLeft()
}

// A rollback that can't restore within its time says so: exit code 3, nothing is lost, and
// another one ends the session.
func TestARollbackWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	before := e.standard()
	e.plant("shop", record.Live, time.Hour)
	readonly := e.proxied("alice", func(w http.ResponseWriter, r *http.Request, forward http.HandlerFunc) {
		if r.Method == http.MethodPatch {
			refuse(w, "503")
			return
		}
		forward(w, r)
	})
	if r := e.start(readonly, "rollback", "--drain", "0s", "--timeout", "3s").wait(); r.code != 3 || !r.because(reason.TimedOut) || !r.names("rollback: ", " 3s") {
		t.Error(r)
	}
	if e.state() != record.Live {
		t.Errorf("the session is %q", e.state())
	}
	if r := e.cli("rollback", "--drain", "0s"); r.code != 0 {
		t.Error(r)
	}
	if after := e.tested(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.nothingLeft()
}
