package sandbox

import (
	"sort"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

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
