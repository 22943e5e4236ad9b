package record

import (
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
)

// defaultWeight is the weight that the API server sets if a Route specifies none.
const defaultWeight = 100

// Restore restores a Route's backends from the journal with a three-way merge. A weight that is
// still what the session set goes back to its old value, a weight that someone else set is kept,
// and only the session's own backend is removed. If someone removed our backend and set their own
// weights, their list wins: it is kept, even a 0 that equals what the session set. If that would
// leave no backend with a weight although one had a weight before, all get their old weights.
// foreign reports whether others had changed the backends.
func Restore(spec *routev1.RouteSpec, j *Journal) (foreign bool) {
	own := ServiceName(j.Session)
	if replacedByOthers(spec, j) {
		if totalWeight(spec) == 0 {
			restoreAllWeights(spec, j)
		}
		return true
	}
	if spec.To.Name == own { // someone made the sandbox the primary backend
		foreign = true
		spec.To.Name, spec.To.Weight = j.Before.Backends[0].Service, j.Before.Backends[0].Weight
		spec.AlternateBackends = promotePrimary(spec, j)
	} else if !restoreWeight(&spec.To, j) {
		foreign = true
	}
	seen := map[string]bool{spec.To.Name: true}
	var kept []routev1.RouteTargetReference
	for _, a := range spec.AlternateBackends {
		seen[a.Name] = true
		if a.Name == own {
			set, _ := j.Set.weightOf(own)
			foreign = foreign || !equalWeights(a.Weight, set)
			continue
		}
		if !restoreWeight(&a, j) {
			foreign = true
		}
		kept = append(kept, a)
	}
	for _, b := range j.Set.Backends {
		foreign = foreign || !seen[b.Service]
	}
	if kept == nil && !j.Before.NoList {
		kept = []routev1.RouteTargetReference{}
	}
	spec.AlternateBackends = kept
	if totalWeight(spec) == 0 {
		restoreAllWeights(spec, j)
	}
	return foreign
}

// replacedByOthers reports whether someone else replaced the list of backends, as 'oc set
// route-backends' does: the session's backend is gone, and there is a backend or a weight that is
// neither the session's nor from before it. A tool that applies the old manifest does not count.
func replacedByOthers(spec *routev1.RouteSpec, j *Journal) bool {
	own, replaced := ServiceName(j.Session), false
	for _, ref := range append([]routev1.RouteTargetReference{spec.To}, spec.AlternateBackends...) {
		if ref.Name == own {
			return false
		}
		set, known := j.Set.weightOf(ref.Name)
		before, _ := j.Before.weightOf(ref.Name)
		replaced = replaced || !known || !equalWeights(ref.Weight, set) && !equalWeights(ref.Weight, before)
	}
	return replaced
}

// promotePrimary returns the alternates without the primary backend, and gives the primary the
// weight that it had among them. If a backend is named twice, the router uses only its last entry
// and answers 503.
func promotePrimary(spec *routev1.RouteSpec, j *Journal) []routev1.RouteTargetReference {
	var kept []routev1.RouteTargetReference
	for _, a := range spec.AlternateBackends {
		if a.Name != spec.To.Name {
			kept = append(kept, a)
			continue
		}
		restoreWeight(&a, j)
		spec.To.Weight = a.Weight
	}
	return kept
}

// restoreAllWeights gives every backend the weight that it had before the session. If no backend
// that had a weight is left, the primary gets the default weight.
func restoreAllWeights(spec *routev1.RouteSpec, j *Journal) {
	if before, ok := j.Before.weightOf(spec.To.Name); ok {
		spec.To.Weight = before
	}
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

// restoreWeight sets a weight back if it is still what the session set, and reports whether it did.
func restoreWeight(ref *routev1.RouteTargetReference, j *Journal) bool {
	set, ok := j.Set.weightOf(ref.Name)
	if !ok || !equalWeights(ref.Weight, set) {
		return false
	}
	before, ok := j.Before.weightOf(ref.Name)
	if ok {
		ref.Weight = before
	}
	return ok
}

// Originals returns the backends as they would be without the session: those that it found, with
// the changes that others made since. foreign reports whether there are such changes.
func Originals(r *routev1.Route, j *Journal) (w Weights, foreign bool) {
	spec := r.Spec.DeepCopy()
	foreign = Restore(spec, j)
	w = WeightsOf(&routev1.Route{Spec: *spec})
	w.NoList = j.Before.NoList && len(w.Backends) == 1
	return w, foreign
}

// Changed returns a text as of ChangedWeight for each backend that others changed.
func Changed(r *routev1.Route, j *Journal) []string {
	var out []string
	for _, b := range WeightsOf(r).Backends {
		if text := ChangedWeight(r, j, b.Service); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// ChangedWeight describes what someone else did to a Service's weight on the Route since the
// session set it, "" for nothing. The text is a verb phrase for the subject "someone else".
func ChangedWeight(r *routev1.Route, j *Journal, service string) string {
	now, there := WeightsOf(r).weightOf(service)
	set, ours := j.Set.weightOf(service)
	switch {
	case !there:
		return ""
	case !ours:
		return "added backend " + service
	case !equalWeights(set, now):
		return fmt.Sprintf("set the weight of %s to %d (session set %d)", service, weightValue(now), weightValue(set))
	}
	return ""
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
