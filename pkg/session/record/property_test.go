package record

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

// randomRoutes is how many random Routes the properties are checked on.
const randomRoutes = 100_000

func randomWeight(random *rand.Rand) *int32 {
	if random.IntN(5) == 0 {
		return nil
	}
	return ptr(int32(random.IntN(257)))
}

// randomRoute returns a Route with up to two alternates, so at most four backends with the sandbox.
func randomRoute(random *rand.Rand) *routev1.Route {
	var alternates []routev1.RouteTargetReference
	for i := range random.IntN(3) {
		alternates = append(alternates, routev1.RouteTargetReference{Kind: "Service", Name: string(rune('b' + i)), Weight: randomWeight(random)})
	}
	if alternates == nil && random.IntN(2) == 0 {
		alternates = []routev1.RouteTargetReference{}
	}
	r := newRoute(randomWeight(random))
	r.Spec.AlternateBackends = alternates
	return r
}

// A session arms a random Route, shifts and holds it several times, and ends: every byte is
// restored. If someone else sets a weight meanwhile, that weight is kept and the rest is restored.
func TestRestoreOfAnyRoute(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for n := range randomRoutes {
		r := randomRoute(random)
		want := r.DeepCopy()
		j := journal()
		apply := func(c Change) {
			if err := c(r); err != nil {
				t.Fatalf("route %d: %v", n, err)
			}
		}
		apply(ArmRoute(j, r))
		for range random.IntN(4) {
			weights := map[string]int32{}
			for _, ref := range refsOf(&r.Spec) {
				weights[ref.Name] = int32(random.IntN(257))
			}
			j.State = Live
			apply(ShiftRoute(j, weights, true))
			if random.IntN(4) == 0 {
				apply(HoldRoute(j.Session))
			}
		}
		foreign := random.IntN(2) == 0
		if foreign {
			i := random.IntN(len(want.Spec.AlternateBackends) + 1)
			was, w := refsOf(&r.Spec)[i].Weight, ptr(int32(random.IntN(257)))
			if foreign = !equalWeights(was, w); foreign {
				refsOf(&r.Spec)[i].Weight = w
				old := refsOf(&want.Spec)[i].Weight
				refsOf(&want.Spec)[i].Weight = ptr(*w)
				if totalWeight(&want.Spec) == 0 {
					refsOf(&want.Spec)[i].Weight = old // without the sandbox no backend would serve
				}
			}
		}
		var out Outcome
		apply(RestoreRoute(j.Session, &out))
		apply(CloseRoute(j.Session))
		if got, wanted := specText(t, r), specText(t, want); got != wanted || out.Foreign != foreign {
			t.Fatalf("route %d: outcome %+v, changed by others: %v\ngot  %s\nwant %s", n, out, foreign, got, wanted)
		}
		if len(r.Spec.AlternateBackends) > 3 || Of(r) != nil {
			t.Fatalf("route %d: left over: %+v", n, r)
		}
	}
}

func specText(t *testing.T, r *routev1.Route) string {
	t.Helper()
	data, err := json.Marshal(r.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.AlternateBackends == nil {
		return string(data) + " no list"
	}
	return string(data)
}
