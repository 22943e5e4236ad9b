package record

import (
	"fmt"
	"slices"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
)

// origin says what the session set for a backend that is on the Route.
type origin struct {
	set  int  // index in Journal.Set.Backends, -1 if the session set nothing for the backend
	ours bool // the backend still has the weight that the session set
}

// origins returns the origin of each backend of a Route, the primary first. The primary is a position: what
// the session set for it counts whatever Service it names now. Alternates are found by name. A weight that the
// session set and that now has another name is still the session's, because someone renamed the backend.
func origins(spec *routev1.RouteSpec, j *Journal) []origin {
	own, refs := ServiceName(j.Session), refsOf(spec)
	out, taken := make([]origin, len(refs)), make([]bool, len(j.Set.Backends))
	for i := range out {
		out[i].set = -1
	}
	find := func(i int, matches func(set int) bool) {
		for set, b := range j.Set.Backends {
			if out[i].set < 0 && !taken[set] && refs[i].Name != own && b.Service != own && matches(set) {
				out[i], taken[set] = origin{set, j.isWeightOf(set, refs[i])}, true
			}
		}
	}
	eachAlternate := func(matches func(i, set int) bool) {
		for i := 1; i < len(refs); i++ {
			find(i, func(set int) bool { return matches(i, set) })
		}
	}
	named := func(i, set int) bool { return refs[i].Name == j.Set.Backends[set].Service }
	weighs := func(i, set int) bool { return j.isWeightOf(set, refs[i]) }

	renamed := !hasOwnPrimary(refs, j) // otherwise someone put another Service in the primary's place
	find(0, func(set int) bool { return set == 0 && renamed && weighs(0, set) })
	eachAlternate(func(i, set int) bool { return set > 0 && named(i, set) })
	find(0, func(set int) bool { return named(0, set) && weighs(0, set) }) // an alternate became the primary
	eachAlternate(func(i, set int) bool { return named(i, set) && weighs(i, set) })
	find(0, func(set int) bool { return set == 0 && renamed })
	eachAlternate(named) // the primary became an alternate
	eachAlternate(weighs)
	return out
}

// hasOwnPrimary reports whether the Service that was the primary backend is an alternate now, with a weight that the
// session did not set. Then the new primary is not the old one under another name.
func hasOwnPrimary(refs []*routev1.RouteTargetReference, j *Journal) bool {
	if len(j.Set.Backends) == 0 {
		return false
	}
	return slices.ContainsFunc(refs[1:], func(ref *routev1.RouteTargetReference) bool {
		return ref.Name == j.Set.Backends[0].Service && !slices.ContainsFunc(j.Set.Backends, func(b Weight) bool {
			return b.Service != ServiceName(j.Session) && equalWeights(b.Weight, ref.Weight)
		})
	})
}

// isWeightOf reports whether a backend has a weight that the session set, and that the journal can undo.
func (j *Journal) isWeightOf(set int, ref *routev1.RouteTargetReference) bool {
	_, known := j.before(set)
	return known && equalWeights(j.Set.Backends[set].Weight, ref.Weight)
}

// before returns the weight that a backend of Set had before the session, and whether the journal has it.
func (j *Journal) before(set int) (*int32, bool) {
	if set == 0 && j.Set.Backends[0].Service != ServiceName(j.Session) {
		return j.Before.Backends[0].Weight, true
	}
	return j.Before.weightOf(j.Set.Backends[set].Service)
}

// Edit is what someone else did to a backend of the Route since the session last wrote it.
type Edit struct {
	Service string // the backend's name now; if it was removed, the name that it had
	Text    string // a verb phrase for the subject "someone else"
}

// Edits are what others did to a Route's backends since the session last wrote them.
type Edits []Edit

// String lists the edits for a message.
func (e Edits) String() string {
	var out []string
	for _, one := range e {
		out = append(out, one.Text)
	}
	return strings.Join(out, ", ")
}

// EditsOf returns what others did to the backends of a Route.
func EditsOf(r *routev1.Route, j *Journal) Edits { return edits(&r.Spec, j, origins(&r.Spec, j)) }

func edits(spec *routev1.RouteSpec, j *Journal, found []origin) (out Edits) {
	own, gone := ServiceName(j.Session), map[int]bool{}
	for set := range j.Set.Backends {
		gone[set] = true
	}
	for i, ref := range refsOf(spec) {
		set := found[i].set
		if ref.Name == own {
			set = j.Set.indexOf(own)
		}
		delete(gone, set)
		add := func(format string, args ...any) {
			out = append(out, Edit{ref.Name, fmt.Sprintf(format, args...)})
		}
		if set < 0 {
			add("added backend %s with weight %d", ref.Name, weightValue(ref.Weight))
			continue
		}
		was := j.Set.Backends[set]
		switch {
		case i == 0 && set != 0 || i == 0 && was.Service != ref.Name:
			add("made %s the primary backend", ref.Name)
		case was.Service != ref.Name:
			add("renamed backend %s to %s", was.Service, ref.Name)
		case i > 0 && set == 0:
			add("made %s an alternate backend", ref.Name)
		}
		if !equalWeights(was.Weight, ref.Weight) {
			add("set the weight of %s to %d (session set %d)", ref.Name, weightValue(ref.Weight), weightValue(was.Weight))
		}
	}
	for set, b := range j.Set.Backends {
		if gone[set] {
			out = append(out, Edit{b.Service, "removed backend " + b.Service})
		}
	}
	return out
}

// refsOf returns pointers to the backends of a Route, the primary first.
func refsOf(spec *routev1.RouteSpec) []*routev1.RouteTargetReference {
	refs := []*routev1.RouteTargetReference{&spec.To}
	for i := range spec.AlternateBackends {
		refs = append(refs, &spec.AlternateBackends[i])
	}
	return refs
}
