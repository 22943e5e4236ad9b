package sandbox

import (
	"slices"
	"sort"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

// hashes are labels that controllers put on their own pods.
var hashes = map[string]bool{
	"pod-template-hash": true, "rollouts-pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true,
}

// Labels says which of the program's labels the clone keeps, which it loses so that
// nothing else selects it, and what selects it all the same.
func (in Input) Labels() (kept, dropped map[string]string, caught []workload.Selector) {
	own := map[string]string{}
	for k, v := range in.Program.Labels {
		if !hashes[k] {
			own[k] = v
		}
	}
	selectors := in.Selectors
	if in.Program.Adopts {
		selectors = append(slices.Clone(selectors), anyOf(own, in.Program))
	}
	return Escape(own, withSession(nil, in.Session), selectors)
}

// anyOf stands for a controller that may select by any of its labels.
func anyOf(own labels.Set, p *workload.Program) workload.Selector {
	return workload.Selector{Kind: p.Kind, Name: p.Name, Selector: anyLabel{labels.Nothing(), own}}
}

// anyLabel matches whatever has one of some labels.
type anyLabel struct {
	labels.Selector
	set labels.Set
}

func (a anyLabel) Matches(l labels.Labels) bool {
	for k, v := range a.set {
		if l.Get(k) == v {
			return true
		}
	}
	return false
}

// Escape drops label keys until nothing of the namespace selects the clone. The set of
// dropped keys is minimal: with any one of them back, something selects it again.
// caught are selectors that select the clone whatever is dropped, such as an empty one.
func Escape(all map[string]string, extra labels.Set, selectors []workload.Selector) (kept, dropped map[string]string, caught []workload.Selector) {
	kept, dropped = map[string]string{}, map[string]string{}
	free := func(set labels.Set) bool {
		for _, s := range selectors {
			if s.Matches(set) && !isIn(s, caught) {
				return false
			}
		}
		return true
	}
	for _, s := range selectors {
		if s.Matches(extra) {
			caught = append(caught, s)
		}
	}
	keys := make([]string, 0, len(all))
	for k, v := range all {
		if _, ours := extra[k]; !ours {
			keys = append(keys, k)
			dropped[k] = v
		}
	}
	sort.Strings(keys)
	// A key that could not come back may be able to once another is there (NotIn), so
	// go round until nothing moves.
	for moved := true; moved; {
		moved = false
		for _, k := range keys {
			if _, still := dropped[k]; !still {
				continue
			}
			kept[k] = all[k]
			if !free(labels.Merge(kept, extra)) {
				delete(kept, k)
				continue
			}
			delete(dropped, k)
			moved = true
		}
	}
	final := labels.Merge(kept, extra)
	var still []workload.Selector
	for _, s := range caught {
		if s.Matches(final) {
			still = append(still, s)
		}
	}
	return kept, dropped, still
}

func isIn(s workload.Selector, list []workload.Selector) bool {
	for _, l := range list {
		if l.Kind == s.Kind && l.Name == s.Name {
			return true
		}
	}
	return false
}
