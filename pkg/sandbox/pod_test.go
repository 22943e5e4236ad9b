package sandbox

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The image has the repository of the spec, for which the pod has its pull secret, and the digest that runs.
func TestTheRunningImage(t *testing.T) {
	const digest = "@sha256:0123"
	for _, c := range []struct{ image, id, want string }{
		{"registry.example.com/team/web:1", "registry.example.com/team/web" + digest, "registry.example.com/team/web" + digest},
		{"registry.example.com/team/web:1", "mirror.example.com/other/base" + digest, "registry.example.com/team/web" + digest},
		{"registry.example.com/team/web:1", "docker-pullable://mirror.example.com/other/base" + digest, "registry.example.com/team/web" + digest},
		{"registry.example.com:5000/team/web", "x" + digest, "registry.example.com:5000/team/web" + digest},
		{"registry.example.com:5000/team/web:1", "x" + digest, "registry.example.com:5000/team/web" + digest},
		{"registry.example.com/web:1@sha256:4567", "x" + digest, "registry.example.com/web" + digest},
		{"web", "docker.io/library/web" + digest, "web" + digest},
		{"web:1", "sha256:0123", ""},
		{"web:1", digest, ""},
		{"web:1", "", ""},
	} {
		if got := runningImage(c.image, c.id); got != c.want {
			t.Errorf("%s as %q: %q, want %q", c.image, c.id, got, c.want)
		}
	}
}

// A variable is set where it stands. A new one, or one from envFrom, comes before the first that refers to it.
func TestSetVariables(t *testing.T) {
	for _, c := range []struct{ what, env, set, want string }{
		{"replaced in place", "A=1 B=$(A) C=3", "A=9", "A=9 B=$(A) C=3"},
		{"new", "A=1", "B=2", "A=1 B=2"},
		{"from envFrom, referred to", "A=1 B=$(P)x C=$(P)", "P=moon", "A=1 P=moon B=$(P)x C=$(P)"},
		{"given twice", "A=1 B=$(A) A=2 C=$(A)", "A=9", "A=9 B=$(A) C=$(A)"},
		{"into nothing", "", "A=1", "A=1"},
		{"a longer name that contains it", "B=$(PX)", "P=1", "B=$(PX) P=1"},
	} {
		parse := func(text string) (out []corev1.EnvVar) {
			for _, f := range strings.Fields(text) {
				name, value, _ := strings.Cut(f, "=")
				out = append(out, corev1.EnvVar{Name: name, Value: value})
			}
			return out
		}
		env := parse(c.env)
		var got []string
		for _, e := range setVariable(env, parse(c.set)[0]) {
			got = append(got, e.Name+"="+e.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, c.want)
		}
		if fmt.Sprint(env) != fmt.Sprint(parse(c.env)) {
			t.Errorf("%s: the original's variables changed: %v", c.what, env)
		}
	}
}

// Scheduling gates and a host name of the original's are left off: nobody opens the gates of the clone.
func TestGatesAndHostNameAreLeftOff(t *testing.T) {
	in := input()
	in.Program.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
	in.Program.Spec.HostnameOverride = ptr("web.example.com")
	if spec := Pods(in)[0].Spec; spec.SchedulingGates != nil || spec.HostnameOverride != nil {
		t.Errorf("gates %v, host name %v", spec.SchedulingGates, spec.HostnameOverride)
	}
}

// Resources of the pod as a whole grow by those of the sidecar, so that the program has what it had.
func TestPodLevelResourcesGrow(t *testing.T) {
	in := input()
	in.Program.Live.Spec.Resources = &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("2Gi")},
	}
	got := Pods(in)[0].Spec.Resources
	if cpu, memory := got.Limits[corev1.ResourceCPU], got.Limits[corev1.ResourceMemory]; cpu.String() != "3" || memory.String() != "2560Mi" {
		t.Errorf("limits %s and %s, want 3 and 2560Mi", cpu.String(), memory.String())
	}
	if cpu := got.Requests[corev1.ResourceCPU]; cpu.String() != "1050m" || len(got.Requests) != 1 {
		t.Errorf("requests %v, want 1050m CPU", got.Requests)
	}
	if live := in.Program.Live.Spec.Resources.Limits[corev1.ResourceCPU]; live.String() != "2" {
		t.Errorf("the live pod's limit became %s", live.String())
	}
}

// The sidecar takes what a LimitRange for pods leaves of what it would like.
func TestTheSidecarFitsBesideTheProgram(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for _, c := range []struct {
		what             string
		item             corev1.LimitRangeItem
		limits, requests corev1.ResourceList
	}{
		{"room", corev1.LimitRangeItem{Max: list("4", "4Gi")}, list("1", "512Mi"), list("50m", "64Mi")},
		{"little room", corev1.LimitRangeItem{Max: list("1", "600Mi")}, list("500m", "344Mi"), list("50m", "64Mi")},
		{"too little room", corev1.LimitRangeItem{Max: list("510m", "260Mi")}, list("50m", "64Mi"), list("50m", "64Mi")},
		{"a minimum", corev1.LimitRangeItem{Min: list("400m", "256Mi")}, list("1", "512Mi"), list("300m", "128Mi")},
		{"a ratio", corev1.LimitRangeItem{MaxLimitRequestRatio: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}}, list("1", "512Mi"), list("1", "64Mi")},
		{"of containers", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("200m", "100Mi")}, list("200m", "100Mi"), list("50m", "64Mi")},
	} {
		in := input()
		in.Program.Live.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("100m", "128Mi"), Limits: list("500m", "256Mi")}
		if c.item.Type == "" {
			c.item.Type = corev1.LimitTypePod
		}
		in.Ranges = []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{c.item}}}}
		got := Pods(in)[0].Spec.Containers[0].Resources
		for name := range c.limits {
			limit, wantLimit, request, wantRequest := got.Limits[name], c.limits[name], got.Requests[name], c.requests[name]
			if limit.Cmp(wantLimit) != 0 || request.Cmp(wantRequest) != 0 {
				t.Errorf("%s: %s limit %s, request %s; want %s and %s", c.what, name, limit.String(), request.String(), wantLimit.String(), wantRequest.String())
			}
		}
	}
}

// The API server rejects a pod that has a key both in matchLabelKeys and, merged already, in the selector.
func TestMergedKeysAreForgotten(t *testing.T) {
	merged := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "merged", Operator: metav1.LabelSelectorOpIn, Values: []string{"v"}}}}
	term := corev1.PodAffinityTerm{LabelSelector: merged, MatchLabelKeys: []string{"merged", "other"}, MismatchLabelKeys: []string{"merged"}}
	in := input()
	in.Program.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{LabelSelector: merged, MatchLabelKeys: []string{"other", "merged"}}, {MatchLabelKeys: []string{"merged"}}}
	in.Program.Spec.Affinity = &corev1.Affinity{
		PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{*term.DeepCopy()}},
		PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{PodAffinityTerm: *term.DeepCopy()}}},
	}
	spec := Pods(in)[0].Spec
	for i, want := range [][]string{{"other"}, {"merged"}} {
		if got := spec.TopologySpreadConstraints[i].MatchLabelKeys; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("spread %d: %v, want %v", i, got, want)
		}
	}
	for _, term := range podAffinityTerms(spec.Affinity) {
		if fmt.Sprint(term.MatchLabelKeys, term.MismatchLabelKeys) != "[other] []" {
			t.Errorf("affinity: %v and %v", term.MatchLabelKeys, term.MismatchLabelKeys)
		}
	}
	if fmt.Sprint(in.Program.Spec.TopologySpreadConstraints[0].MatchLabelKeys) != "[other merged]" {
		t.Error("the original's rules changed")
	}
}

// A native sidecar can serve the Route's port, and be named.
func TestANativeSidecarThatServes(t *testing.T) {
	in := input()
	in.Program.Spec.InitContainers = []corev1.Container{
		{Name: "setup", Ports: []corev1.ContainerPort{{Name: "front", ContainerPort: 1}}},
		{Name: "proxy", RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "front", ContainerPort: 8443}}},
	}
	in.Service.Spec.Ports[0].TargetPort = intstr.FromString("front")
	if got, err := Container(in, ""); err != nil || got != "proxy" {
		t.Errorf("the Route's port is that of %s, %v", got, err)
	}
	if got, err := Container(in, "proxy"); err != nil || got != "proxy" {
		t.Errorf("proxy: %s, %v", got, err)
	}
	if _, err := Container(in, "setup"); err == nil {
		t.Error("an init container that has ended can be traced")
	}
}
