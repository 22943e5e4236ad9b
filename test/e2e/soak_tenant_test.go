//go:build e2e && soak

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// latestBesideTenants is how much later others' sessions may be restored while tenants load the guard.
const latestBesideTenants = 5 * time.Second

// TestSoakTwoTenantsCannotStarveTheGuard is TestTwoTenantsCannotStarveTheGuard with ten times the load, and a
// verdict on the times.
func TestSoakTwoTenantsCannotStarveTheGuard(t *testing.T) {
	starve(t, load{objects: 5000, routes: 1000, sessions: 20, restart: true}, func(e *env, without, with []time.Duration, most int) {
		later := slices.Max(with) - slices.Max(without)
		e.judge(fmt.Sprintf("others' restores beside two tenants (without them %.1f s late)", slices.Max(without).Seconds()),
			later <= latestBesideTenants, fmt.Sprintf("%.1f s later", later.Seconds()), "<= 5 s later")
		e.judge("peak memory of the guard", most <= mostMemory, fmt.Sprintf("%d MiB", most), "<= 64 MiB")
	})
}
