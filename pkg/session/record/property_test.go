package record

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

// routesTried is how many random Routes the properties are checked on.
const routesTried = 100_000

func anyWeight(random *rand.Rand) *int32 {
	if random.IntN(5) == 0 {
		return nil
	}
	return ptr(int32(random.IntN(257)))
}

// anyRoute has up to two alternates: with the sandbox there are four backends at most.
func anyRoute(random *rand.Rand) *routev1.Route {
	var alternates []routev1.RouteTargetReference
	for i := range random.IntN(3) {
		alternates = append(alternates, routev1.RouteTargetReference{Kind: "Service", Name: string(rune('b' + i)), Weight: anyWeight(random)})
	}
	if alternates == nil && random.IntN(2) == 0 {
		alternates = []routev1.RouteTargetReference{}
	}
	r := aRoute(anyWeight(random))
	r.Spec.AlternateBackends = alternates
	return r
}

// Over random Routes that a session arms, gives shares several times, holds and extends:
// the end restores every byte; and where somebody else sets a weight meanwhile, his stays
// and the rest is restored.
func TestRestoreOfAnyRoute(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for n := range routesTried {
		r := anyRoute(random)
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
			for _, ref := range references(r) {
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
			was, w := references(r)[i].Weight, ptr(int32(random.IntN(257)))
			if foreign = !equal(was, w); foreign {
				references(r)[i].Weight = w
				old := references(want)[i].Weight
				references(want)[i].Weight = ptr(*w)
				if total(&want.Spec) == 0 {
					references(want)[i].Weight = old // nobody would serve without the sandbox
				}
			}
		}
		var out Outcome
		apply(RestoreRoute(j.Session, &out))
		apply(CloseRoute(j.Session))
		if got, wanted := spec(t, r), spec(t, want); got != wanted || out.Foreign != foreign {
			t.Fatalf("route %d: outcome %+v, others changed it: %v\n%s, wanted\n%s", n, out, foreign, got, wanted)
		}
		if len(r.Spec.AlternateBackends) > 3 || Of(r) != nil {
			t.Fatalf("route %d: left over: %+v", n, r)
		}
	}
}

func spec(t *testing.T, r *routev1.Route) string {
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
