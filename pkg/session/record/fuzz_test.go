package record

import (
	"encoding/json"
	"slices"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Decode does not panic on any text, and accepts again what it accepted once it is encoded.
func FuzzDecode(f *testing.F) {
	text, err := journal().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(`{"version":1,"session":"bcdfghjk","state":"live","before":{"backends":[{"service":"web","weight":-1}]},"set":{"backends":null}}`)
	f.Add(`{"version":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		j, err := Decode(text)
		if err != nil {
			return
		}
		again, err := j.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil && len(again) <= MaxJournal {
			t.Errorf("a journal is accepted, but not once it is encoded again: %v\n%s", err, again)
		}
	})
}

// For any journal and any backends, restoring never loses a backend of others, never leaves ours,
// and changes nothing the second time.
func FuzzRestore(f *testing.F) {
	r := newRoute(ptr[int32](0), alternate("b", 7), alternate(ServiceName(id), 100))
	spec, err := json.Marshal(r.Spec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(spec), `{"version":1,"session":"bcdfghjk","state":"live","routeUID":"uid-1","before":{"backends":[{"service":"web","weight":100},{"service":"b","weight":50}]},"set":{"backends":[{"service":"web","weight":0},{"service":"b","weight":7},{"service":"osc-debug-bcdfghjk","weight":100}]}}`, true)
	f.Add(string(spec), `{"version":1,"session":"bcdfghjk","state":"live","routeUID":"uid-1","before":{"backends":[{"service":"web","weight":100},{"service":"b","weight":50}]},"set":{"backends":[{"service":"web","weight":0},{"service":"b","weight":9},{"service":"osc-debug-bcdfghjk","weight":100}]}}`, true)
	f.Add(string(spec), `broken`, true)
	f.Add(string(spec), ``, false)
	f.Fuzz(func(t *testing.T, spec, text string, label bool) {
		r := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: types.UID("uid-1"), Annotations: map[string]string{JournalKey: text}}}
		if json.Unmarshal([]byte(spec), &r.Spec) != nil {
			return
		}
		if text == "" {
			r.Annotations = nil
		}
		if label {
			r.Labels = map[string]string{Label: id}
		}
		s := Of(r)
		if s == nil {
			return
		}
		was := r.DeepCopy()
		before := map[string]bool{}
		for _, b := range WeightsOf(r).Backends {
			before[b.Service] = b.Service != ServiceName(s.ID)
		}
		var out Outcome
		if err := RestoreRoute(s.ID, &out)(r); err != nil {
			return
		}
		after := map[string]bool{}
		for _, b := range WeightsOf(r).Backends[1:] {
			after[b.Service] = true
			if s.ID != "" && b.Service == ServiceName(s.ID) {
				t.Errorf("our backend is left: %+v", r.Spec)
			}
		}
		after[r.Spec.To.Name] = true
		for name, others := range before {
			if others && !after[name] {
				t.Errorf("backend %q of others is lost: %+v", name, r.Spec)
			}
		}
		if isStorable(was) && isStorable(r) {
			if totalWeight(&r.Spec) == 0 && out.Blind {
				t.Errorf("no backend has a weight: %+v", r.Spec)
			}
			if !out.Blind && s.Journal != nil {
				checkForeignWeights(t, was, r, s.Journal)
			}
		}
		once, _ := json.Marshal(r)
		if err := RestoreRoute(s.ID, &out)(r); err == nil {
			if twice, _ := json.Marshal(r); string(once) != string(twice) {
				t.Errorf("restoring twice\n%s\n%s", once, twice)
			}
		}
	})
}

// isStorable reports whether the backends are distinct and their weights are allowed by the API.
func isStorable(r *routev1.Route) bool {
	seen := map[string]bool{}
	for _, b := range WeightsOf(r).Backends {
		if seen[b.Service] || b.Weight != nil && (*b.Weight < 0 || *b.Weight > 256) {
			return false
		}
		seen[b.Service] = true
	}
	return true
}

// checkForeignWeights fails if the restore changed a weight that others set: one that is none of the weights
// that the session set. It may do so only where no backend would have a weight otherwise.
func checkForeignWeights(t *testing.T, was, now *routev1.Route, j *Journal) {
	t.Helper()
	others, carried := map[string]*int32{}, int32(0)
	for _, b := range WeightsOf(was).Backends {
		set := slices.ContainsFunc(j.Set.Backends, func(s Weight) bool { return equalWeights(s.Weight, b.Weight) })
		if b.Service != ServiceName(j.Session) && !set {
			others[b.Service] = b.Weight
			carried += weightValue(b.Weight)
		}
	}
	for _, b := range WeightsOf(now).Backends {
		if w, foreign := others[b.Service]; foreign && carried > 0 && !equalWeights(w, b.Weight) {
			t.Errorf("the weight that others gave %q is lost: before %+v, after %+v", b.Service, was.Spec, now.Spec)
		}
	}
}
