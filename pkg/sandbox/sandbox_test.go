package sandbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// With random labels and selectors of every kind, no selector matches the clone except the reported
// ones, and restoring any one dropped label makes a selector match.
func TestEscapeIsCompleteAndMinimal(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	dropped, kept := 0, 0
	for round := range 5000 {
		set := map[string]string{}
		for k := range 1 + random.IntN(5) {
			set[fmt.Sprintf("k%d", k)] = fmt.Sprintf("v%d", random.IntN(2))
		}
		var selectors []workload.Selector
		for n := range random.IntN(6) {
			selectors = append(selectors, workload.Selector{Kind: "service", Name: fmt.Sprint(n), Selector: randomSelector(t, random)})
		}
		extra := labels.Set{record.Label: "bcdfghjk"}
		keep, drop, remaining := Escape(set, extra, selectors, nil)
		final := labels.Merge(keep, extra)
		for _, s := range selectors {
			if s.Matches(final) != contains(remaining, s) {
				t.Fatalf("round %d: %s selects %v: %v, reported: %v", round, s.Selector, final, s.Matches(final), contains(remaining, s))
			}
		}
		for k, v := range drop {
			back := labels.Merge(final, labels.Set{k: v})
			selected := false
			for _, s := range selectors {
				selected = selected || s.Matches(back) && !contains(remaining, s)
			}
			if !selected {
				t.Fatalf("round %d: %s=%s was dropped needlessly from %v", round, k, v, set)
			}
		}
		if len(keep)+len(drop) != len(set) {
			t.Fatalf("round %d: a label was lost", round)
		}
		dropped, kept = dropped+len(drop), kept+len(keep)
	}
	if dropped < 1000 || kept < 1000 {
		t.Errorf("only %d labels dropped and %d kept: too few to prove anything", dropped, kept)
	}
}

// Of several minimal sets of labels to drop, one is taken without the labels that are needed.
func TestEscapeKeepsNeededLabels(t *testing.T) {
	set := map[string]string{"app": "web", "tier": "front", "team": "shop"}
	selectors := []workload.Selector{{Kind: "service", Name: "web", Selector: labels.SelectorFromSet(labels.Set{"app": "web", "tier": "front"})}}
	for _, c := range []struct {
		needed []string
		want   string // the label that is dropped
	}{{nil, "tier"}, {[]string{"tier"}, "app"}, {[]string{"app"}, "tier"}, {[]string{"tier", "app"}, "app"}, {[]string{"team"}, "tier"}} {
		_, dropped, remaining := Escape(set, labels.Set{record.Label: "bcdfghjk"}, selectors, c.needed)
		if len(dropped) != 1 || dropped[c.want] == "" || len(remaining) != 0 {
			t.Errorf("needed %v: dropped %v, want %s", c.needed, dropped, c.want)
		}
	}
}

func randomSelector(t *testing.T, random *rand.Rand) labels.Selector {
	t.Helper()
	operators := []metav1.LabelSelectorOperator{metav1.LabelSelectorOpIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpDoesNotExist}
	s := &metav1.LabelSelector{}
	for range 1 + random.IntN(3) {
		key, value := fmt.Sprintf("k%d", random.IntN(5)), fmt.Sprintf("v%d", random.IntN(2))
		if random.IntN(2) == 0 {
			s.MatchLabels = map[string]string{key: value}
			continue
		}
		r := metav1.LabelSelectorRequirement{Key: key, Operator: operators[random.IntN(len(operators))]}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = []string{value}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ptr[T any](v T) *T { return &v }

func input() Input {
	return Input{
		Session: "bcdfghjk", RuntimeClass: "kata", Image: "quay.io/osc-debug/sidecar@sha256:1", Replicas: 2,
		AnnotationDomains: []string{"example.com"},
		Route: &routev1.Route{
			ObjectMeta: metav1.ObjectMeta{Namespace: "sample", Name: "shop", UID: "uid-1"},
			Spec:       routev1.RouteSpec{Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")}},
		},
		Service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("web"), NodePort: 30080}, {Name: "metrics", Port: 9090},
		}}},
		Program: &workload.Program{
			Kind: "Deployment", Name: "web", Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
			Annotations: map[string]string{
				"kubectl.kubernetes.io/restartedAt": "2026-01-02", "example.com/team": "shop", "team": "shop", "prometheus.io/scrape": "true",
				"openshift.io/scc": "restricted-v2",
			},
			Spec: corev1.PodSpec{
				PriorityClassName: "high", ServiceAccountName: "web",
				Containers: []corev1.Container{
					{Name: "log", Image: "log:1"},
					{Name: "app", Image: "app:1", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, HostPort: 8080}},
						LivenessProbe: &corev1.Probe{}, ReadinessProbe: &corev1.Probe{}},
				},
			},
			Live: corev1.Pod{
				Spec: corev1.PodSpec{
					SecurityContext: &corev1.PodSecurityContext{FSGroup: ptr[int64](1000620000)},
					Containers:      []corev1.Container{{Name: "app", Image: "quay.io/team/app:1", SecurityContext: &corev1.SecurityContext{RunAsUser: ptr[int64](1000620000)}}},
				},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
					{Name: "app", ImageID: "docker-pullable://mirror.example.com/other/base@sha256:abc"}, {Name: "log", ImageID: "sha256:localonly"},
				}},
			},
		},
	}
}

func TestTheCloneIsTheRunningProgram(t *testing.T) {
	pods := Pods(input())
	if len(pods) != 2 || pods[0].Name == pods[1].Name {
		t.Fatalf("%d pods", len(pods))
	}
	p := pods[0]
	sidecar, app := p.Spec.Containers[0], p.Spec.Containers[2]
	for what, ok := range map[string]bool{
		"runs in a VM":                   *p.Spec.RuntimeClassName == "kata",
		"shares processes":               *p.Spec.ShareProcessNamespace,
		"has a deadline":                 *p.Spec.ActiveDeadlineSeconds == 4*3600,
		"is never restarted":             p.Spec.RestartPolicy == corev1.RestartPolicyNever,
		"keeps its ServiceAccount":       p.Spec.ServiceAccountName == "web",
		"has no priority":                p.Spec.PriorityClassName == "",
		"image by digest":                app.Image == "quay.io/team/app@sha256:abc",
		"a digest is not pulled again":   app.ImagePullPolicy == corev1.PullIfNotPresent,
		"image without a digest is kept": p.Spec.Containers[1].Image == "log:1",
		"live pod's user":                *app.SecurityContext.RunAsUser == 1000620000,
		"live pod's group":               *p.Spec.SecurityContext.FSGroup == 1000620000,
		"no liveness probe":              app.LivenessProbe == nil,
		"readiness probe":                app.ReadinessProbe != nil,
		"no host port":                   app.Ports[0].HostPort == 0,
		"privileged sidecar":             sidecar.Name == record.Sidecar && *sidecar.SecurityContext.Privileged,
		"nothing else is privileged":     app.SecurityContext.Privileged == nil,
		"label app is kept":              p.Labels["app"] == "web",
		"no template hash":               p.Labels["pod-template-hash"] == "",
		"session label":                  p.Labels[record.Label] == "bcdfghjk",
		"known annotation is kept":       p.Annotations["kubectl.kubernetes.io/restartedAt"] == "2026-01-02",
		"allowed annotation is kept":     p.Annotations["example.com/team"] == "shop",
		"other annotations are not":      p.Annotations["team"] == "" && p.Annotations["prometheus.io/scrape"] == "",
		"admission's annotation is not":  p.Annotations["openshift.io/scc"] == "",
		"Route owns it":                  p.OwnerReferences[0].UID == "uid-1" && p.OwnerReferences[0].BlockOwnerDeletion == nil,
	} {
		if !ok {
			t.Errorf("not true: %s", what)
		}
	}
}

// The sidecar that records is ready before the program starts. Where it does not record, it has no hook.
func TestTheSidecarRecordsFromBirth(t *testing.T) {
	in := input()
	if c := Pods(in)[0].Spec.Containers[0]; c.Lifecycle != nil || c.Command != nil {
		t.Errorf("a sidecar that records nothing: command %q, hooks %v", c.Command, c.Lifecycle)
	}
	in.Record = []string{"open", "exec"}
	c := Pods(in)[0].Spec.Containers[0]
	if want := []string{tracer, "record", "--gadgets=open,exec"}; c.Name != record.Sidecar || !slices.Equal(c.Command, want) {
		t.Errorf("the first container is %s with command %q, want the sidecar with %q", c.Name, c.Command, want)
	}
	if c.Lifecycle == nil || !slices.Equal(c.Lifecycle.PostStart.Exec.Command, []string{tracer, "ready"}) {
		t.Errorf("hooks %v", c.Lifecycle)
	}
}

// The annotations that a clone does not get are named, but not those that admission writes anew.
func TestAnnotationsLeftOffAreNamed(t *testing.T) {
	if got, want := input().LeftOffAnnotations(), []string{"prometheus.io/scrape", "team"}; !slices.Equal(got, want) {
		t.Errorf("left off %q, want %q", got, want)
	}
}

func TestTheServiceHasTheRoutesPortOnly(t *testing.T) {
	for _, c := range []struct {
		port *intstr.IntOrString
		want int
	}{{ptr(intstr.FromString("http")), 1}, {ptr(intstr.FromInt32(8080)), 1}, {ptr(intstr.FromInt32(9090)), 1}, {nil, 2}} {
		in := input()
		in.Route.Spec.Port = nil
		if c.port != nil {
			in.Route.Spec.Port = &routev1.RoutePort{TargetPort: *c.port}
		}
		s, err := Service(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Spec.Ports) != c.want || s.Spec.Ports[0].NodePort != 0 || s.Spec.PublishNotReadyAddresses {
			t.Errorf("port %v: %+v", c.port, s.Spec)
		}
	}
	in := input()
	in.Route.Spec.Port = &routev1.RoutePort{TargetPort: intstr.FromString("grpc")}
	if _, err := Service(in); !reason.Is(err, reason.PortNotOfService) {
		t.Errorf("a port that the Service does not have: %v", err)
	}
}

func TestTheTracedContainerIsTheOneWithTheRoutesPort(t *testing.T) {
	if got, err := Container(input(), ""); err != nil || got != "app" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := Container(input(), "log"); err != nil || got != "log" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Container(input(), "nope"); !reason.Is(err, reason.NoSuchContainer) {
		t.Errorf("an unknown container: %v", err)
	}
}
