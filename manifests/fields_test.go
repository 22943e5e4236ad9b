package manifests_test

import (
	"flag"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
)

var update = flag.Bool("update", false, "write fields that are not decided yet to testdata/pod-fields.txt")

// fieldsFile says of every field of a pod's spec what the sandbox policy does with it:
//
//	admitted  it is in a list of the policy
//	judged    it is in a list, and a rule of the policy looks at its value
//	rejected  it is in no list
//	inside    it is part of a field that the policy admits as a whole
const fieldsFile = "testdata/pod-fields.txt"

// podFields adds every field of a type, and of the types of its fields, as Type.field.
func podFields(t reflect.Type, out map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		podFields(t.Elem(), out)
	case reflect.Struct:
		if !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") {
			return // a time or a quantity
		}
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" { // embedded: its fields are the type's own
				podFields(f.Type, out)
				continue
			}
			key := t.Name() + "." + name
			if out[key] {
				continue
			}
			out[key] = true
			podFields(f.Type, out)
		}
	}
}

// Every field of a pod, in the version of the API in go.mod, is decided. A new field fails this test until
// someone has looked at it.
func TestEveryFieldOfAPodIsDecided(t *testing.T) {
	fields := map[string]bool{}
	podFields(reflect.TypeFor[corev1.PodSpec](), fields)
	decided := readDecisions(t)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if decided[f] == "" {
			t.Errorf("%s is a new field of pods: decide whether a sandbox may have it, in %s and the sandbox policy", f, fieldsFile)
			if *update {
				decided[f] = "undecided"
			}
		}
	}
	for _, f := range slices.Sorted(maps.Keys(decided)) {
		if !fields[f] {
			t.Errorf("%s decides on %s, which pods do not have", fieldsFile, f)
		}
	}
	if *update {
		var text strings.Builder
		for _, f := range slices.Sorted(maps.Keys(decided)) {
			text.WriteString(f + " " + decided[f] + "\n")
		}
		if err := os.WriteFile(fieldsFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readDecisions(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fieldsFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		field, decision, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !slices.Contains([]string{"admitted", "judged", "rejected", "inside"}, decision) {
			t.Errorf("%s: %q is no decision", fieldsFile, line)
		}
		out[field] = decision
	}
	return out
}

// The sandbox policy's lists have the fields that are decided to be admitted or judged, and no other.
func TestThePolicysListsAreTheDecidedFields(t *testing.T) {
	var policy admissionv1.ValidatingAdmissionPolicy
	object(t, "policy/policy.yaml", "ValidatingAdmissionPolicy", "osc-debug-sandbox", &policy)
	var expressions strings.Builder
	for _, v := range policy.Spec.Variables {
		expressions.WriteString(v.Expression + "\n")
	}
	for _, v := range policy.Spec.Validations {
		expressions.WriteString(v.Expression + "\n")
	}
	for kind, before := range map[string]string{
		"PodSpec":              `object.spec.filter(f, !(f in [`,
		"PodSecurityContext":   `object.spec.?securityContext.orValue({}).filter(f, !(f in [`,
		"Container":            ` c.filter(f, !(f in [`,
		"SecurityContext":      `+ c.?securityContext.orValue({}).filter(f, !(f in [`,
		"ResourceRequirements": `+ c.?resources.orValue({}).filter(f, !(f in [`,
		"VolumeSource":         `v.all(k, k in ['name', `,
		"VolumeProjection":     `s.all(k, k in [`,
		"ContainerPort":        `p.all(f, f in [`,
		"SELinuxOptions":       `o.all(f, f in [`,
	} {
		_, rest, found := strings.Cut(strings.Join(strings.Fields(expressions.String()), " "), before)
		list, _, closed := strings.Cut(rest, "]")
		if !found || !closed {
			t.Errorf("the policy has no list of the fields of %s", kind)
			continue
		}
		var want []string
		for field, decision := range readDecisions(t) {
			name, ok := strings.CutPrefix(field, kind+".")
			if ok && (decision == "admitted" || decision == "judged") {
				want = append(want, name)
			}
		}
		if kind == "Container" {
			want = append(want, "targetContainerName") // of an ephemeral container, whose other fields are a container's
		}
		if kind == "ContainerPort" {
			want = slices.DeleteFunc(want, func(name string) bool { return name == "hostPort" }) // must be 0
		}
		var got []string
		for _, m := range regexp.MustCompile(`'([^']+)'`).FindAllStringSubmatch(list, -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the policy lists\n%q\nbut decided are\n%q", kind, got, want)
		}
	}
}
