package sandbox_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

var update = flag.Bool("update", false, "write the results to the .want.yaml files")

const testID = "bcdfghjk"

// The clone of each case must equal NAME.want.yaml, which 'go test -update' writes.
func TestClones(t *testing.T) {
	files, err := filepath.Glob("testdata/clone/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	clones, refused := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if strings.HasSuffix(name, ".want") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c := readCase(t, file)
			got := c.clone(t)
			if strings.HasPrefix(got, "refused: ") {
				refused++
			} else {
				clones++
			}
			want := strings.TrimSuffix(file, ".yaml") + ".want.yaml"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			wanted, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(wanted) {
				t.Errorf("differs from %s:\n%s", want, got)
			}
		})
	}
	if clones < 30 || refused < 5 {
		t.Errorf("%d clones and %d refusals: cases are missing", clones, refused)
	}
}

// clone returns the objects that a session would create for a case, or the code of its refusal.
func (c *cloneCase) clone(t *testing.T) string {
	t.Helper()
	refuse := func(err error) string { return fmt.Sprintf("refused: %s\n", reason.CodeOf(err)) }
	facts := &preflight.Facts{Route: &c.route, Namespace: &c.ns}
	for _, check := range preflight.Checks() {
		if check.Name != "re-encryption" {
			continue
		}
		if err := check.Run(facts); err != nil {
			return refuse(err)
		}
	}
	program, err := workload.Find(&c.route, &c.ns, "")
	if err != nil {
		return refuse(err)
	}
	if err := preflight.Unclonable(program, &c.ns, c.changes.EmptyVolumes); err != nil {
		return refuse(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# clone of %s\n", program)
	for _, risk := range preflight.Risks(program, &c.ns, c.changes) {
		fmt.Fprintf(&out, "# only with --force: %s\n", reason.CodeOf(risk))
	}
	in := sandbox.Input{
		Session: testID, Route: &c.route, Program: program, Service: c.ns.Service(c.route.Spec.To.Name), Selectors: c.ns.Selectors(),
		Policies: c.ns.Policies, Ranges: c.ns.Ranges, RuntimeClass: "kata", Image: "quay.io/osc-debug/sidecar@sha256:5de", Replicas: 1, Changes: c.changes,
	}
	if err := in.CheckChanges(); err != nil {
		return refuse(err)
	}
	pod := sandbox.Pods(in)[0]
	c.checkContext(t, pod)
	for _, s := range in.Selectors {
		if s.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s selects the clone", s)
		}
	}
	service, err := sandbox.Service(in)
	if err != nil {
		return refuse(err)
	}
	objects := []any{pod, service}
	for _, p := range sandbox.Policies(in) {
		objects = append(objects, p)
	}
	for i, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		for _, line := range strings.SplitAfter(string(data), "\n") {
			if line != "status: {}\n" && line != "  loadBalancer: {}\n" && line != "status:\n" {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// checkContext checks that users, groups, capabilities, seccomp and SELinux of the clone are those of
// the live pod.
func (c *cloneCase) checkContext(t *testing.T, clone *corev1.Pod) {
	t.Helper()
	if !reflect.DeepEqual(clone.Spec.SecurityContext, c.live.Spec.SecurityContext) {
		t.Errorf("pod: security context %+v, live %+v", clone.Spec.SecurityContext, c.live.Spec.SecurityContext)
	}
	all := func(s corev1.PodSpec) []corev1.Container {
		return append(slices.Clone(s.InitContainers), s.Containers...)
	}
	for _, k := range all(clone.Spec) {
		for _, l := range all(c.live.Spec) {
			if k.Name == l.Name && !reflect.DeepEqual(k.SecurityContext, l.SecurityContext) {
				t.Errorf("container %s: security context %+v, live %+v", k.Name, k.SecurityContext, l.SecurityContext)
			}
		}
	}
}
