package record

import (
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
)

// defaultWeight is the weight that the API server sets if a Route specifies none.
const defaultWeight = 100

// Restore restores a Route's backends from the journal with a three-way merge. A weight that is
// still what the session set goes back to its old value, a weight that someone else set is kept,
// and only the session's own backend is removed. origins says which weights are the session's.
// If someone removed our backend and set their own weights, their list wins: it is kept, even a 0
// that equals what the session set. If that would leave no backend with a weight although one had a
// weight before, all get their old weights. foreign reports whether others had changed the backends,
// and kept lists what the backends have of that afterwards.
func Restore(spec *routev1.RouteSpec, j *Journal) (foreign bool, kept []string) {
	found := origins(spec, j)
	foreign = len(edits(spec, j, found)) > 0
	if replaced := replacedByOthers(spec, j, found); !replaced {
		for i, ref := range refsOf(spec) {
			if found[i].ours {
				ref.Weight, _ = j.before(found[i].set)
			}
		}
		found = removeSandbox(spec, j, found)
		if spec.AlternateBackends == nil && !j.Before.NoList {
			spec.AlternateBackends = []routev1.RouteTargetReference{}
		}
	}
	if totalWeight(spec) == 0 {
		restoreAllWeights(spec, j)
	}
	return foreign, differences(spec, j, found)
}

// removeSandbox removes the session's backend. If someone made it the primary backend, the former primary is
// that again. removeSandbox returns the origins of the backends that are left.
func removeSandbox(spec *routev1.RouteSpec, j *Journal, found []origin) []origin {
	own := ServiceName(j.Session)
	to, toOrigin := spec.To, found[0]
	var kept []routev1.RouteTargetReference
	keptOrigins := []origin{toOrigin}
	for i, a := range spec.AlternateBackends {
		switch {
		case a.Name == own:
		case spec.To.Name == own && to.Name == own && (found[i+1].set == 0 || a.Name == j.Before.Backends[0].Service):
			to, keptOrigins[0] = a, found[i+1] // if a backend were named twice, the router would use its last entry and answer 503
		default:
			kept, keptOrigins = append(kept, a), append(keptOrigins, found[i+1])
		}
	}
	if to.Name == own {
		to.Name, to.Weight, keptOrigins[0] = j.Before.Backends[0].Service, j.Before.Backends[0].Weight, origin{set: 0, ours: true}
	}
	spec.To, spec.AlternateBackends = to, kept
	return keptOrigins
}

// differences describes how a Route's backends differ from those before the session.
func differences(spec *routev1.RouteSpec, j *Journal, found []origin) (out []string) {
	gone := map[string]bool{}
	for _, b := range j.Before.Backends {
		gone[b.Service] = true
	}
	for i, ref := range refsOf(spec) {
		name, was, known := ref.Name, (*int32)(nil), false
		if set := found[i].set; set >= 0 {
			name = j.Set.Backends[set].Service
			was, known = j.before(set)
		} else {
			was, known = j.Before.weightOf(name)
		}
		delete(gone, name)
		switch {
		case !known && i == 0:
			out = append(out, fmt.Sprintf("%s with weight %d is the primary backend instead of %s", ref.Name, weightValue(ref.Weight), j.Before.Backends[0].Service))
			continue
		case !known:
			out = append(out, fmt.Sprintf("backend %s with weight %d was added", ref.Name, weightValue(ref.Weight)))
			continue
		case i == 0 && ref.Name != j.Before.Backends[0].Service:
			out = append(out, fmt.Sprintf("%s is the primary backend instead of %s", ref.Name, j.Before.Backends[0].Service))
		case i > 0 && ref.Name != name:
			out = append(out, fmt.Sprintf("%s is a backend instead of %s", ref.Name, name))
		}
		if !equalWeights(was, ref.Weight) {
			out = append(out, fmt.Sprintf("the weight of %s is %d instead of %d", ref.Name, weightValue(ref.Weight), weightValue(was)))
		}
	}
	for _, b := range j.Before.Backends {
		if gone[b.Service] {
			out = append(out, fmt.Sprintf("backend %s was removed", b.Service))
		}
	}
	return out
}

// replacedByOthers reports whether someone else replaced the list of backends, as 'oc set
// route-backends' does: the session's backend is gone, and there is a backend or a weight that is
// neither the session's nor from before it. A tool that applies the old manifest does not count.
func replacedByOthers(spec *routev1.RouteSpec, j *Journal, found []origin) (replaced bool) {
	for i, ref := range refsOf(spec) {
		if ref.Name == ServiceName(j.Session) {
			return false
		}
		before, known := j.Before.weightOf(ref.Name)
		replaced = replaced || !found[i].ours && !(known && equalWeights(ref.Weight, before))
	}
	return replaced
}

// restoreAllWeights gives every backend the weight that it had before the session. If no backend
// that had a weight is left, the primary gets the default weight.
func restoreAllWeights(spec *routev1.RouteSpec, j *Journal) {
	spec.To.Weight = j.Before.Backends[0].Weight
	for i := range spec.AlternateBackends {
		if before, ok := j.Before.weightOf(spec.AlternateBackends[i].Name); ok {
			spec.AlternateBackends[i].Weight = before
		}
	}
	carried := int32(0)
	for _, b := range j.Before.Backends {
		carried += weightValue(b.Weight)
	}
	if totalWeight(spec) == 0 && carried > 0 { // the backends that had a weight are gone
		w := int32(defaultWeight)
		spec.To.Weight = &w
	}
}

// totalWeight returns the sum of the weights of all backends.
func totalWeight(spec *routev1.RouteSpec) int32 {
	sum := weightValue(spec.To.Weight)
	for _, a := range spec.AlternateBackends {
		sum += weightValue(a.Weight)
	}
	return sum
}

// Originals returns the backends as they would be without the session: those that it found, with
// the changes that others made since. foreign reports whether there are such changes.
func Originals(r *routev1.Route, j *Journal) (w Weights, foreign bool) {
	spec := r.Spec.DeepCopy()
	foreign, _ = Restore(spec, j)
	w = WeightsOf(&routev1.Route{Spec: *spec})
	w.NoList = j.Before.NoList && len(w.Backends) == 1
	return w, foreign
}

// RestoreBlind restores a Route whose journal is lost. It removes the session's backend, and gives
// the primary the default weight if no backend has a weight, so that it never stays at 0. If the
// Route has no other backend, it changes nothing and returns false.
func RestoreBlind(spec *routev1.RouteSpec, id string) bool {
	own := ServiceName(id)
	if isOnlyBackend(spec, id) {
		return false
	}
	if spec.To.Name == own { // someone made the sandbox the primary backend
		spec.To, spec.AlternateBackends = spec.AlternateBackends[0], spec.AlternateBackends[1:]
	}
	kept := []routev1.RouteTargetReference{}
	for _, a := range spec.AlternateBackends {
		if a.Name != own {
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 {
		kept = nil
	}
	spec.AlternateBackends = kept
	if totalWeight(spec) == 0 {
		w := int32(defaultWeight)
		spec.To.Weight = &w
	}
	return true
}

// isOnlyBackend reports whether a session's backend is the Route's only one.
func isOnlyBackend(spec *routev1.RouteSpec, id string) bool {
	return spec.To.Name == ServiceName(id) && len(spec.AlternateBackends) == 0
}

// weightValue returns the weight that w stands for, nil being the default.
func weightValue(w *int32) int32 {
	if w == nil {
		return defaultWeight
	}
	return *w
}

func equalWeights(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }
