package record

import (
	"encoding/json"
	"reflect"
	"strings"

	routev1 "github.com/openshift/api/route/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Op is one JSON patch operation (RFC 6902).
type Op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// MarshalJSON keeps an empty value in the patch, which omitempty would drop.
func (o Op) MarshalJSON() ([]byte, error) {
	if o.Op == "remove" {
		return json.Marshal(map[string]any{"op": o.Op, "path": o.Path})
	}
	return json.Marshal(map[string]any{"op": o.Op, "path": o.Path, "value": o.Value})
}

// Diff returns the operations that turn old into changed, nil if nothing differs. It compares only
// what a session changes: our label, our annotation, weights, alternate backends, and our entry in
// managedFields. The operations include the resourceVersion that was read, so that the API server
// answers 409 (Conflict) if someone else has written the Route since.
func Diff(old, changed *routev1.Route) []Op {
	var ops []Op
	ops = append(ops, mapKeyOps("/metadata/labels", old.Labels, changed.Labels, Label)...)
	ops = append(ops, mapKeyOps("/metadata/annotations", old.Annotations, changed.Annotations, JournalKey)...)
	if o, c := old.Spec.To, changed.Spec.To; !reflect.DeepEqual(o, c) {
		ops = append(ops, Op{"replace", "/spec/to", c})
	}
	switch o, c := old.Spec.AlternateBackends, changed.Spec.AlternateBackends; {
	case o == nil && c == nil || o != nil && c != nil && reflect.DeepEqual(o, c):
	case c == nil:
		ops = append(ops, Op{"remove", "/spec/alternateBackends", nil})
	default:
		ops = append(ops, Op{"add", "/spec/alternateBackends", c})
	}
	if len(old.ManagedFields) != len(changed.ManagedFields) {
		ops = append(ops, Op{"replace", "/metadata/managedFields", changed.ManagedFields})
	}
	if len(ops) == 0 {
		return nil
	}
	return append([]Op{{"replace", "/metadata/resourceVersion", old.ResourceVersion}}, ops...)
}

// mapKeyOps returns the operations that set or remove one key of a map, which may be absent.
func mapKeyOps(path string, old, changed map[string]string, key string) []Op {
	o, had := old[key]
	c, has := changed[key]
	escaped := path + "/" + strings.ReplaceAll(key, "/", "~1")
	switch {
	case had == has && o == c:
		return nil
	case !has:
		return []Op{{"remove", escaped, nil}}
	case old == nil:
		return []Op{{"add", path, map[string]string{key: c}}}
	default:
		return []Op{{"add", escaped, c}}
	}
}

// withoutOwnEntries drops our entries, so that a tool that applies the Route afterwards does not
// get a conflict with a session that is over.
func withoutOwnEntries(fields []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, f := range fields {
		if f.Manager != FieldManager {
			out = append(out, f)
		}
	}
	return out
}
