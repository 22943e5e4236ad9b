package sandbox

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/osc-debug/osc-debug/pkg/workload"
)

// controllerLabels are added by controllers to the pods that they create.
var controllerLabels = map[string]bool{
	// Kubernetes copies these from the pod's node.
	corev1.LabelTopologyZone: true, corev1.LabelTopologyRegion: true,
	"pod-template-hash": true, "rollouts-pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true,
}

// Labels returns the program's labels that the clone keeps, the ones it drops so that no selector of
// the namespace matches it, and the selectors that match it anyway.
func (in Input) Labels() (kept, dropped map[string]string, remaining []workload.Selector) {
	own := map[string]string{}
	for k, v := range in.Program.Labels {
		if !controllerLabels[k] {
			own[k] = v
		}
	}
	selectors := in.Selectors
	if in.Program.UnknownSelectors {
		selectors = append(slices.Clone(selectors), matchAnyLabel(own, in.Program))
	}
	return Escape(own, withSession(nil, in.Session), selectors, append(slices.Clone(in.NeededLabels), in.downwardLabels()...))
}

// downwardLabels returns the keys of the labels that the program reads from variables or volumes.
func (in Input) downwardLabels() (keys []string) {
	add := func(f *corev1.ObjectFieldSelector) {
		if f == nil {
			return
		}
		if key := labelField.FindStringSubmatch(f.FieldPath); key != nil {
			keys = append(keys, key[1])
		}
	}
	spec := in.Program.Spec
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, e := range c.Env {
			if e.ValueFrom != nil {
				add(e.ValueFrom.FieldRef)
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.DownwardAPI != nil {
			for _, item := range v.DownwardAPI.Items {
				add(item.FieldRef)
			}
		}
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.DownwardAPI != nil {
				for _, item := range source.DownwardAPI.Items {
					add(item.FieldRef)
				}
			}
		}
	}
	return keys
}

// matchAnyLabel returns a selector for a program's controller, which may select by any of its labels.
func matchAnyLabel(own labels.Set, p *workload.Program) workload.Selector {
	return workload.Selector{Kind: p.Kind, Name: p.Name, Selector: anyLabel{labels.Nothing(), own}}
}

// anyLabel matches a label set that has at least one of the labels in set.
type anyLabel struct {
	labels.Selector
	set labels.Set
}

// Matches implements labels.Selector.
func (a anyLabel) Matches(l labels.Labels) bool {
	for k, v := range a.set {
		if l.Get(k) == v {
			return true
		}
	}
	return false
}

// Escape drops labels from all until no selector matches the clone, which has the kept labels and those
// in extra. The set of dropped labels is minimal: with any one of them back, some selector matches. Of several such
// sets, it takes one without the labels in needed, the first of them before the others.
// remaining are the selectors that match whatever is dropped, such as an empty one.
func Escape(all map[string]string, extra labels.Set, selectors []workload.Selector, needed []string) (kept, dropped map[string]string, remaining []workload.Selector) {
	kept, dropped = map[string]string{}, map[string]string{}
	var unavoidable []workload.Selector // match extra alone
	escapes := func(set labels.Set) bool {
		for _, s := range selectors {
			if s.Matches(set) && !contains(unavoidable, s) {
				return false
			}
		}
		return true
	}
	for _, s := range selectors {
		if s.Matches(extra) {
			unavoidable = append(unavoidable, s)
		}
	}
	keys := make([]string, 0, len(all))
	for k, v := range all {
		if _, isExtra := extra[k]; !isExtra {
			keys = append(keys, k)
			dropped[k] = v
		}
	}
	rank := func(key string) int { // of a label: those that rank low are kept first
		if i := slices.Index(needed, key); i >= 0 {
			return i
		}
		return len(needed)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) })
	// Restoring one label can make it possible to restore another (NotIn), so repeat until nothing
	// changes.
	for changed := true; changed; {
		changed = false
		for _, k := range keys {
			if _, isDropped := dropped[k]; !isDropped {
				continue
			}
			kept[k] = all[k]
			if !escapes(labels.Merge(kept, extra)) {
				delete(kept, k)
				continue
			}
			delete(dropped, k)
			changed = true
		}
	}
	final := labels.Merge(kept, extra)
	for _, s := range unavoidable {
		if s.Matches(final) {
			remaining = append(remaining, s)
		}
	}
	return kept, dropped, remaining
}

func contains(list []workload.Selector, s workload.Selector) bool {
	for _, l := range list {
		if l.Kind == s.Kind && l.Name == s.Name && l.Selector.String() == s.Selector.String() {
			return true
		}
	}
	return false
}
