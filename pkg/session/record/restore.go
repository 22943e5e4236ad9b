package record

import (
	"fmt"

	routev1 "github.com/openshift/api/route/v1"
)

// defaultWeight is what the API stores where a Route names no weight.
const defaultWeight = 100

// Restore puts a Route's backends back by the journal, three-way: a weight that still
// is what the session set goes back to what it was, one that somebody else set stays
// his, and only the session's own backend goes. Who took that off the Route and set weights
// of his own decided on all of them: they are left as they are, a 0 too that also is what the
// session set. Where that would leave no backend with a weight although there was one, all
// have the weights that they had. foreign says that somebody else had changed the backends.
func Restore(spec *routev1.RouteSpec, j *Journal) (foreign bool) {
	own := ServiceName(j.Session)
	if decidedAnew(spec, j) {
		if total(spec) == 0 {
			reviveBefore(spec, j)
		}
		return true
	}
	if spec.To.Name == own { // somebody made the sandbox the primary backend
		foreign = true
		spec.To.Name, spec.To.Weight = j.Before.Backends[0].Service, j.Before.Backends[0].Weight
		spec.AlternateBackends = moveUp(spec, j)
	} else if !restoreWeight(&spec.To, j) {
		foreign = true
	}
	seen := map[string]bool{spec.To.Name: true}
	var kept []routev1.RouteTargetReference
	for _, a := range spec.AlternateBackends {
		seen[a.Name] = true
		if a.Name == own {
			set, _ := j.Set.of(own)
			foreign = foreign || !equal(a.Weight, set)
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
	if total(spec) == 0 {
		reviveBefore(spec, j)
	}
	return foreign
}

// decidedAnew says whether somebody else wrote the list of backends anew, as 'oc set
// route-backends' does: without the session's, and with a backend or a weight that is neither
// the session's nor from before it. A tool that applies the Route as it was is no such case.
func decidedAnew(spec *routev1.RouteSpec, j *Journal) bool {
	own, anew := ServiceName(j.Session), false
	for _, ref := range append([]routev1.RouteTargetReference{spec.To}, spec.AlternateBackends...) {
		if ref.Name == own {
			return false
		}
		set, known := j.Set.of(ref.Name)
		before, _ := j.Before.of(ref.Name)
		anew = anew || !known || !equal(ref.Weight, set) && !equal(ref.Weight, before)
	}
	return anew
}

// moveUp takes the primary backend out of the alternates, where somebody put it, with the
// weight that it has there: named twice, the router would go by the last and answer 503.
func moveUp(spec *routev1.RouteSpec, j *Journal) []routev1.RouteTargetReference {
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

// reviveBefore gives every backend the weight that it had before the session, and the
// primary the default where nobody is left who had one.
func reviveBefore(spec *routev1.RouteSpec, j *Journal) {
	if before, ok := j.Before.of(spec.To.Name); ok {
		spec.To.Weight = before
	}
	for i := range spec.AlternateBackends {
		if before, ok := j.Before.of(spec.AlternateBackends[i].Name); ok {
			spec.AlternateBackends[i].Weight = before
		}
	}
	carried := int32(0)
	for _, b := range j.Before.Backends {
		carried += value(b.Weight)
	}
	if total(spec) == 0 && carried > 0 { // who carried it all is gone
		w := int32(defaultWeight)
		spec.To.Weight = &w
	}
}

// total is the weight of all backends together.
func total(spec *routev1.RouteSpec) int32 {
	sum := value(spec.To.Weight)
	for _, a := range spec.AlternateBackends {
		sum += value(a.Weight)
	}
	return sum
}

// restoreWeight says whether the weight was the session's to restore.
func restoreWeight(ref *routev1.RouteTargetReference, j *Journal) bool {
	set, ok := j.Set.of(ref.Name)
	if !ok || !equal(ref.Weight, set) {
		return false
	}
	before, ok := j.Before.of(ref.Name)
	if ok {
		ref.Weight = before
	}
	return ok
}

// Originals are the backends as they are without the session: what it found, and what
// others changed since, which foreign tells. Its own backend is not among them.
func Originals(r *routev1.Route, j *Journal) (w Weights, foreign bool) {
	spec := r.Spec.DeepCopy()
	foreign = Restore(spec, j)
	w = WeightsOf(&routev1.Route{Spec: *spec})
	w.NoList = j.Before.NoList && len(w.Backends) == 1
	return w, foreign
}

// Changed tells of each backend that is no longer what the session set, by Service.
func Changed(r *routev1.Route, j *Journal) []string {
	var out []string
	for _, b := range WeightsOf(r).Backends {
		if text := ChangedWeight(r, j, b.Service); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// ChangedWeight tells what somebody did about a Service's weight on the Route since the
// session set it, "" for nothing.
func ChangedWeight(r *routev1.Route, j *Journal, service string) string {
	now, there := WeightsOf(r).of(service)
	set, ours := j.Set.of(service)
	switch {
	case !there:
		return ""
	case !ours:
		return "added backend " + service
	case !equal(set, now):
		return fmt.Sprintf("set the weight of %s to %d, the session to %d", service, value(now), value(set))
	}
	return ""
}

// RestoreBlind ends a session whose journal is lost: its backend goes, and where
// nothing with a weight remains the primary gets the default, so that it never stays
// at 0. Nothing is changed, and it says false, where no other backend is left.
func RestoreBlind(spec *routev1.RouteSpec, id string) bool {
	own := ServiceName(id)
	if onlyBackend(spec, id) {
		return false
	}
	if spec.To.Name == own { // somebody made the sandbox the primary backend
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
	if total(spec) == 0 {
		w := int32(defaultWeight)
		spec.To.Weight = &w
	}
	return true
}

// onlyBackend says whether a session's backend is all that a Route has.
func onlyBackend(spec *routev1.RouteSpec, id string) bool {
	return spec.To.Name == ServiceName(id) && len(spec.AlternateBackends) == 0
}

func value(w *int32) int32 {
	if w == nil {
		return defaultWeight
	}
	return *w
}

func equal(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }
