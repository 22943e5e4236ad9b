package record

import (
	"encoding/json"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Whatever stands in the annotation, reading it does not panic, and what is accepted is
// read the same again after it was written.
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
			t.Errorf("what was accepted is refused when written again: %v\n%s", err, again)
		}
	})
}

// Whatever journal a Route bears and whatever its backends are: restoring never loses a
// backend of others, never leaves ours, and done twice changes nothing more.
func FuzzRestore(f *testing.F) {
	r := aRoute(ptr[int32](0), alternate("b", 7), alternate(ServiceName(id), 100))
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
		if storable(was) && storable(r) {
			if total(&r.Spec) == 0 && out.Blind {
				t.Errorf("nobody has a weight: %+v", r.Spec)
			}
			if !out.Blind && s.Journal != nil {
				keepsForeign(t, was, r, s.Journal)
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

// storable: names once each, weights as the API allows them.
func storable(r *routev1.Route) bool {
	seen := map[string]bool{}
	for _, b := range WeightsOf(r).Backends {
		if seen[b.Service] || b.Weight != nil && (*b.Weight < 0 || *b.Weight > 256) {
			return false
		}
		seen[b.Service] = true
	}
	return true
}

// keepsForeign fails where a weight that others set is another one after the restore. Only
// where nobody would serve at all may it be.
func keepsForeign(t *testing.T, was, now *routev1.Route, j *Journal) {
	t.Helper()
	others, carry := map[string]*int32{}, int32(0)
	for _, b := range WeightsOf(was).Backends {
		if b.Service == ServiceName(j.Session) {
			continue
		}
		set, ours := j.Set.of(b.Service)
		old, known := j.Before.of(b.Service)
		if ours && known && equal(set, b.Weight) {
			carry += min(max(value(old), 0), 256)
			continue
		}
		others[b.Service] = b.Weight
		carry += value(b.Weight)
	}
	for _, b := range WeightsOf(now).Backends {
		if w, foreign := others[b.Service]; foreign && carry > 0 && !equal(w, b.Weight) {
			t.Errorf("the weight that others gave %q is lost: before %+v, after %+v", b.Service, was.Spec, now.Spec)
		}
	}
}
