package sandbox_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

var updatePage = flag.Bool("update-cloning", false, "write docs/cloning.md instead of comparing with it")

// objects are the types whose fields the table names.
var objects = []any{metav1.ObjectMeta{}, corev1.PodSpec{}, corev1.Container{}, corev1.SecurityContext{}, corev1.PodSecurityContext{}, corev1.VolumeSource{}}

// jsonName returns the name of a field in JSON.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// The table names every field of the API in go.mod's version, and no other.
func TestEveryFieldHasAFate(t *testing.T) {
	named := map[string]bool{}
	for _, f := range sandbox.Fields() {
		key := f.Object + "." + f.Name
		if named[key] {
			t.Errorf("%s is named twice", key)
		}
		named[key] = true
	}
	for _, o := range objects {
		for f := range reflect.TypeOf(o).Fields() {
			key := reflect.TypeOf(o).Name() + "." + jsonName(f)
			if !named[key] {
				t.Errorf("%s has no fate: say in fields.go what becomes of it, and make the clone do so", key)
			}
			delete(named, key)
		}
	}
	for key := range named {
		t.Errorf("%s is not a field of the API", key)
	}
}

// fateOf returns the fate of a field.
func fateOf(t *testing.T, object, name string) sandbox.Fate {
	t.Helper()
	for _, f := range sandbox.Fields() {
		if f.Object == object && f.Name == name {
			return f.Fate
		}
	}
	t.Fatalf("%s.%s has no fate", object, name)
	return ""
}

// fill sets v to a value that is not zero, different for each seed.
func fill(v reflect.Value, seed, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), seed, depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, seed, depth+1)
		fill(value, seed, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() && depth < 3 {
				fill(v.Field(i), seed, depth+1)
			}
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("v%d", seed))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(10 + seed))
	}
}

// program is a plain workload with a live pod.
func plainProgram() *workload.Program {
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}
	return &workload.Program{Kind: "Deployment", Name: "web", Spec: spec, Live: corev1.Pod{Spec: *spec.DeepCopy()}}
}

// cloneOf returns the clone of a program, or why it is refused.
func cloneOf(p *workload.Program) (*corev1.Pod, error) {
	ns := &workload.Namespace{Claims: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "v1"}, Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}}}}}
	if err := preflight.Unclonable(p, ns, nil); err != nil {
		return nil, err
	}
	c := (&cloneCase{}).route
	return sandbox.Pods(sandbox.Input{Session: testID, Route: &c, Program: p, RuntimeClass: "kata", Image: "sidecar:1", Replicas: 1})[0], nil
}

// Each field of a pod's spec, its containers, its volumes and its metadata has in the clone what its fate says: with
// one value in the template and another one in the live pod.
func TestEveryFieldMeetsItsFate(t *testing.T) {
	check := func(object string, f reflect.StructField, p *workload.Program, template, live reflect.Value, of func(*corev1.Pod) reflect.Value) {
		t.Helper()
		name := jsonName(f)
		fate := fateOf(t, object, name)
		clone, err := cloneOf(p)
		if (err != nil) != (fate == sandbox.Refused) {
			t.Errorf("%s.%s is %s: %v", object, name, fate, err)
		}
		if err != nil {
			return
		}
		got := of(clone).Interface()
		switch {
		case fate == sandbox.LeftOff && !reflect.ValueOf(got).IsZero():
			t.Errorf("%s.%s is left off, but the clone has %v", object, name, got)
		case fate == sandbox.Replaced && (reflect.DeepEqual(got, template.Interface()) || reflect.DeepEqual(got, live.Interface()) || reflect.ValueOf(got).IsZero()):
			t.Errorf("%s.%s is replaced, but the clone has %v", object, name, got)
		case fate == sandbox.FromLive && !contains(got, live.Interface()):
			t.Errorf("%s.%s is that of the live pod, %v, but the clone has %v", object, name, live, got)
		case fate == sandbox.Kept && !contains(got, template.Interface()):
			t.Errorf("%s.%s is kept, %v, but the clone has %v", object, name, template, got)
		}
	}
	both := func(p *workload.Program, of func(*corev1.PodSpec) reflect.Value, f reflect.StructField) (template, live reflect.Value) {
		template, live = of(&p.Spec).FieldByIndex(f.Index), of(&p.Live.Spec).FieldByIndex(f.Index)
		fill(template, 1, 0)
		fill(live, 2, 0)
		return template, live
	}
	for f := range reflect.TypeFor[corev1.PodSpec]().Fields() {
		if f.Name == "Containers" || f.Name == "InitContainers" || f.Name == "Volumes" {
			continue // their parts have rows of their own
		}
		p := plainProgram()
		template, live := both(p, func(s *corev1.PodSpec) reflect.Value { return reflect.ValueOf(s).Elem() }, f)
		switch f.Name {
		case "OS":
			p.Spec.OS.Name = corev1.Linux
		case "ShareProcessNamespace":
			*p.Spec.ShareProcessNamespace, *p.Live.Spec.ShareProcessNamespace = false, false
		}
		check("PodSpec", f, p, template, live, func(pod *corev1.Pod) reflect.Value { return reflect.ValueOf(pod.Spec).FieldByIndex(f.Index) })
	}
	for f := range reflect.TypeFor[corev1.Container]().Fields() {
		p := plainProgram()
		template, live := both(p, func(s *corev1.PodSpec) reflect.Value { return reflect.ValueOf(&s.Containers[0]).Elem() }, f)
		switch f.Name {
		case "Name":
			p.Live.Spec.Containers[0].Name = p.Spec.Containers[0].Name
		case "Resources":
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
			p.Live.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}
		case "ImagePullPolicy":
			p.Live.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", ImageID: "web@sha256:1"}}
		}
		check("Container", f, p, template, live, func(pod *corev1.Pod) reflect.Value {
			return reflect.ValueOf(pod.Spec.Containers[1]).FieldByIndex(f.Index) // the sidecar is first
		})
	}
	for f := range reflect.TypeFor[corev1.VolumeSource]().Fields() {
		p := plainProgram()
		p.Spec.Volumes = []corev1.Volume{{Name: "data"}}
		template := reflect.ValueOf(&p.Spec.Volumes[0].VolumeSource).Elem().FieldByIndex(f.Index)
		fill(template, 1, 0)
		check("VolumeSource", f, p, template, reflect.Zero(f.Type), func(pod *corev1.Pod) reflect.Value {
			return reflect.ValueOf(pod.Spec.Volumes[0].VolumeSource).FieldByIndex(f.Index)
		})
	}
}

// contains reports whether the clone's value is the wanted one, or what the table's remarks make of it: a value
// within limits, a list or an object with some parts left off, quantities that grew, an image with a digest.
func contains(got, want any) bool {
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	if reflect.DeepEqual(got, want) {
		return true
	}
	switch w.Kind() {
	case reflect.Pointer:
		return !g.IsNil() && contains(g.Elem().Interface(), w.Elem().Interface())
	case reflect.Slice, reflect.Map:
		return g.Len() == w.Len() && w.Len() > 0 || reflect.DeepEqual(got, want)
	case reflect.Struct:
		return g.IsValid() && !g.IsZero()
	}
	return false
}

// docs/cloning.md is made from the table: go test ./pkg/sandbox -update-cloning
func TestThePageOnCloningIsTheTable(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Cloning\n\nWhat becomes of each field of the original's pod in the sandbox. *Kept* is what the template has that the live\n" +
		"pod was created from, which is not always the newest one. *Live* is what the live pod has: admission or a resize may\nhave changed it.\n\n" +
		"This page is made from the table in `pkg/sandbox/fields.go`: `go test ./pkg/sandbox -update-cloning` writes it. A test\n" +
		"fails when the API has a field that the table does not name.\n")
	last := ""
	for _, f := range sandbox.Fields() {
		if f.Object != last {
			last = f.Object
			fmt.Fprintf(&out, "\n## %s\n\n| field | in the clone | |\n|---|---|---|\n", f.Object)
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", f.Name, f.Fate, f.Why)
	}
	file := filepath.Join("..", "..", "docs", "cloning.md")
	if *updatePage {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != out.String() {
		t.Errorf("%s is not made from the table (%v): run go test ./pkg/sandbox -update-cloning", file, err)
	}
}
