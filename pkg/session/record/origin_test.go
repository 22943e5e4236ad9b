package record

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
)

// backends is a spec out of name=weight, the primary first.
func backends(t *testing.T, text string) routev1.RouteSpec {
	t.Helper()
	var refs []routev1.RouteTargetReference
	for _, f := range strings.Fields(text) {
		var w int32
		name, weight, _ := strings.Cut(strings.ReplaceAll(f, "SANDBOX", ServiceName(id)), "=")
		if _, err := fmt.Sscan(weight, &w); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		refs = append(refs, routev1.RouteTargetReference{Kind: "Service", Name: name, Weight: &w})
	}
	return routev1.RouteSpec{To: refs[0], AlternateBackends: slices.Clone(refs[1:])}
}

func textOf(spec routev1.RouteSpec) string {
	var out []string
	for _, ref := range refsOf(&spec) {
		out = append(out, fmt.Sprintf("%s=%d", ref.Name, weightValue(ref.Weight)))
	}
	return strings.ReplaceAll(strings.Join(out, " "), ServiceName(id), "SANDBOX")
}

// The primary is a position, alternates are names, and a weight of the session that has another name now is
// still the session's. The Route was web=90 canary=10 before the session.
func TestRenamedBackends(t *testing.T) {
	half, all := "web=45 canary=5 SANDBOX=50", "web=0 canary=0 SANDBOX=100"
	for _, c := range []struct{ what, set, now, want, kept string }{
		{"nothing", half, half, "web=90 canary=10", ""},
		{"the primary", half, "web-v2=45 canary=5 SANDBOX=50", "web-v2=90 canary=10", "web-v2 is the primary backend instead of web"},
		{"the primary, all users in the sandbox", all, "web-v2=0 canary=0 SANDBOX=100", "web-v2=90 canary=10", "web-v2 is the primary backend instead of web"},
		{"the alternate", half, "web=45 canary-v2=5 SANDBOX=50", "web=90 canary-v2=10", "canary-v2 is a backend instead of canary"},
		{"both", all, "web-v2=0 canary-v2=0 SANDBOX=100", "web-v2=90 canary-v2=10", "web-v2 is the primary backend instead of web; canary-v2 is a backend instead of canary"},
		{"the primary, with a weight of its own", half, "web-v2=70 canary=5 SANDBOX=50", "web-v2=70 canary=10", "web-v2 is the primary backend instead of web; the weight of web-v2 is 70 instead of 90"},
		{"the alternate, with a weight of its own", half, "web=45 canary-v2=7 SANDBOX=50", "web=90 canary-v2=7", "backend canary-v2 with weight 7 was added; backend canary was removed"},
		{"the primary, and our backend removed", half, "web-v2=45 canary=5", "web-v2=90 canary=10", "web-v2 is the primary backend instead of web"},
		{"the primary, all users in the sandbox, and our backend removed", all, "web-v2=0 canary=0", "web-v2=90 canary=10", "web-v2 is the primary backend instead of web"},
		{"the primary, and the alternate removed", all, "web-v2=0 SANDBOX=100", "web-v2=90", "web-v2 is the primary backend instead of web; backend canary was removed"},
		{"reordered", "web=45 canary=5 SANDBOX=50", "web=45 SANDBOX=50 canary=5", "web=90 canary=10", ""},
		{"swapped with their weights", half, "canary=5 web=45 SANDBOX=50", "canary=10 web=90", "canary is the primary backend instead of web"},
		{"names swapped in place", half, "canary=45 web=5 SANDBOX=50", "canary=90 web=10", "canary is the primary backend instead of web; web is a backend instead of canary"},
		{"names swapped in place, all users in the sandbox", all, "canary=0 web=0 SANDBOX=100", "canary=90 web=10", "canary is the primary backend instead of web; web is a backend instead of canary"},
		{"the alternate promoted, and the primary removed", half, "canary=5 SANDBOX=50", "canary=10", "canary is the primary backend instead of web; backend web was removed"},
		{"another one prepared beside the primary", all, "web-green=0 web=100 SANDBOX=100", "web-green=0 web=100", "web-green with weight 0 is the primary backend instead of web; the weight of web is 100 instead of 90; backend canary was removed"},
		{"another one prepared, and our backend removed", all, "web-green=0 web=100", "web-green=0 web=100", "web-green with weight 0 is the primary backend instead of web; the weight of web is 100 instead of 90; backend canary was removed"},
		{"one added", half, "web=45 canary=5 d=9 SANDBOX=50", "web=90 canary=10 d=9", "backend d with weight 9 was added"},
		{"the sandbox made primary", half, "SANDBOX=50 canary=5", "web=90 canary=10", ""},
		{"the sandbox made primary, the primary an alternate", half, "SANDBOX=50 canary=5 web=45", "web=90 canary=10", ""},
		{"the sandbox made primary, the primary an alternate with another name", half, "SANDBOX=50 canary=5 web-v2=45", "web-v2=90 canary=10", "web-v2 is the primary backend instead of web"},
		{"our backend's weight", half, "web=45 canary=5 SANDBOX=7", "web=90 canary=10", ""},
		{"the list replaced", half, "web=1 d=100", "web=1 d=100", "the weight of web is 1 instead of 90; backend d with weight 100 was added; backend canary was removed"},
	} {
		t.Run(c.what, func(t *testing.T) {
			j := journal()
			before, set, spec := backends(t, "web=90 canary=10"), backends(t, c.set), backends(t, c.now)
			j.Before, j.Set = WeightsOf(&routev1.Route{Spec: before}), WeightsOf(&routev1.Route{Spec: set})
			edited := len(EditsOf(&routev1.Route{Spec: spec}, j)) > 0
			foreign, kept := Restore(&spec, j)
			if got := textOf(spec); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if got := strings.Join(kept, "; "); got != c.kept {
				t.Errorf("kept %q\nwant %q", got, c.kept)
			}
			if wanted := c.what != "nothing" && c.what != "reordered"; foreign != wanted || edited != wanted {
				t.Errorf("foreign %v, edited %v", foreign, edited)
			}
		})
	}
}

// Someone renames any backends of a random Route, reorders its alternates, or both, while a session changes the
// weights. Afterwards every backend has the weight that it had before under its old name.
func TestRestoreOfRandomRenames(t *testing.T) {
	random := rand.New(rand.NewPCG(14, 3))
	for n := range randomRoutes / 10 {
		r := randomRoute(random)
		before := refsOf(r.Spec.DeepCopy())
		j := journal()
		weights := map[string]int32{ServiceName(j.Session): int32(random.IntN(257))}
		for i, ref := range before {
			weights[ref.Name] = int32(100*random.IntN(2)) + int32(i*random.IntN(2)) // often equal
		}
		for _, c := range []Change{ArmRoute(j, r), func(r *routev1.Route) error { j.State = Live; return ShiftRoute(j, weights, true)(r) }} {
			if err := c(r); err != nil {
				t.Fatal(err)
			}
		}
		names, renamed := map[string]string{}, false // by the name before
		for _, ref := range refsOf(&r.Spec) {
			if ref.Name != ServiceName(j.Session) && random.IntN(2) == 0 {
				names[ref.Name], renamed = ref.Name+"-new", true
				ref.Name += "-new"
			}
		}
		if reorder := random.IntN(2) == 0 && !renamed; reorder {
			random.Shuffle(len(r.Spec.AlternateBackends), func(i, k int) {
				a := r.Spec.AlternateBackends
				a[i], a[k] = a[k], a[i]
			})
		}
		var out Outcome
		if err := RestoreRoute(j.Session, &out)(r); err != nil {
			t.Fatal(err)
		}
		got := map[string]*int32{}
		for _, b := range WeightsOf(r).Backends {
			got[b.Service] = b.Weight
		}
		for _, ref := range before {
			name := ref.Name
			if now, ok := names[name]; ok {
				name = now
			}
			if w, ok := got[name]; !ok || !equalWeights(w, ref.Weight) || len(got) != len(before) || out.Foreign != renamed {
				t.Fatalf("route %d: %s had %d before: %+v, outcome %+v", n, name, weightValue(ref.Weight), r.Spec, out)
			}
		}
	}
}
