//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// Someone renames the primary backend while a session has half of the users. The renamed one gets what the old one
// had, and the Event says what was kept.
func TestField21ThePrimaryIsRenamed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.deployment("canary", 1, nil)
	e.deployment("web-v2", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Spec.To.Weight = new(int32)
		*r.Spec.To.Weight = 90
		r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("canary", 10)}
	})
	e.plant("shop", record.Live, time.Hour)
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"to":{"name":"web-v2"}}}`), metav1.PatchOptions{})
	e.ok(err)
	e.expire()
	e.eventually("the Route is restored", func() bool {
		r := e.shop()
		return record.Of(r) == nil && r.Spec.To.Name == "web-v2" && *r.Spec.To.Weight == 90 && len(r.Spec.AlternateBackends) == 1 && *r.Spec.AlternateBackends[0].Weight == 10
	})
	e.eventually("the Event says what was kept", func() bool {
		return strings.Contains(e.eventMessage("DebugSessionExpired"), "web-v2 is the primary backend instead of web")
	})
}
