//go:build e2e && soak

package e2e

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// How long the share may differ at a router with the dynamic configuration manager: until servers have settled, the
// router has reloaded, and 2 s more.
const (
	settles   = 2 * time.Second
	reloads   = time.Second // of the tests' routers
	mendsIn   = settles + reloads + 2*time.Second
	mendsLate = record.TouchInterval + mendsIn // after another touch
)

// TestSoakTheShareAtADynamicRouter measures how long the share differs after the original was scaled, and how often
// the Route is touched during a rolling update of 20 pods.
func TestSoakTheShareAtADynamicRouter(t *testing.T) {
	e := newGuardedEnv(t)
	e.createShop()
	router := e.startDynamicRouter()
	router.serves(e, e.shop())
	before := e.snapshot()
	e.detachedShift("--router", string(router), "--weight", "20")
	share := func() float64 { return router.share(e, e.shop()) }
	isAsked := func(share float64) bool { return share >= 18 && share <= 22 }
	e.eventuallyPolled("the share is as asked", func() bool { return isAsked(share()) })

	e.scale("web", 4)
	began, lowest := time.Now(), 100.0
	for {
		now := share()
		lowest = min(lowest, now)
		if isAsked(now) && e.journal("shop").Touched.Unix() > 0 || time.Since(began) > hang {
			break
		}
	}
	took := time.Since(began)
	e.judge("drift after the original was scaled from 1 to 4", lowest < 10, fmt.Sprintf("%.0f %% of 20 %%", lowest), "seen (< 10 %)")
	e.judge("the share is as asked again", took <= mendsIn, fmt.Sprintf("%.1f s", took.Seconds()), fmt.Sprintf("<= %s", mendsIn))

	e.scale("web", 20)
	e.eventuallyPolled("the share is as asked with 20 pods", func() bool {
		j := e.journal("shop")
		return time.Since(j.Touched.Time) > mendsIn && isAsked(share())
	})
	var touches []time.Time
	note := func() {
		if at := e.journal("shop").Touched.Time; len(touches) == 0 || !touches[len(touches)-1].Equal(at) {
			touches = append(touches, at)
		}
	}
	note()
	patch := `{"spec":{"minReadySeconds":5,"template":{"metadata":{"annotations":{"example.com/version":"2"}}}}}`
	d, err := core.AppsV1().Deployments(e.ns).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	e.ok(err)
	began = time.Now()
	e.eventuallyPolled("the rolling update is complete", func() bool {
		note()
		now, err := core.AppsV1().Deployments(e.ns).Get(t.Context(), "web", metav1.GetOptions{})
		s := now.Status
		return err == nil && s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == 20 && s.Replicas == 20 && s.AvailableReplicas == 20
	})
	updated := time.Now()
	e.eventuallyPolled("the share is as asked after the update", func() bool {
		note()
		return len(touches) > 1 && touches[len(touches)-1].After(updated.Add(-time.Second)) && isAsked(share())
	})
	took = time.Since(updated)
	shortest := time.Hour
	for i := 1; i < len(touches); i++ {
		shortest = min(shortest, touches[i].Sub(touches[i-1]))
	}
	e.judge(fmt.Sprintf("touches in a rolling update of 20 pods (%d in %.0f s)", len(touches)-1, updated.Sub(began).Seconds()), shortest >= record.TouchInterval,
		fmt.Sprintf("%.0f s apart", shortest.Seconds()), fmt.Sprintf(">= %s apart", record.TouchInterval))
	e.judge("the share is as asked again after the update", took <= mendsLate, fmt.Sprintf("%.1f s", took.Seconds()), fmt.Sprintf("<= %s", mendsLate))
	if r := e.cli("rollback", "shop", "--drain", "1s"); r.code != 0 {
		t.Error(r)
	}
	e.scale("web", 1)
	e.waitForEnd(before)
}
