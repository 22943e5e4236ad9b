//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Variables are set where they stand, and one from envFrom comes before those that refer to it.
func TestField02TheOrderOfVariables(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	_, err := core.CoreV1().ConfigMaps(e.ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "places"}, Data: map[string]string{"PLACE": "world"}}, metav1.CreateOptions{})
	e.ok(err)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		c := &d.Spec.Template.Spec.Containers[0]
		c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "places"}}}}
		c.Env = []corev1.EnvVar{{Name: "GREETING", Value: "hello"}, {Name: "TEXT", Value: "$(GREETING) $(PLACE)"}}
	})
	e.route(nil)
	_, pods := e.plan("--set-env", "web:GREETING=bye", "--set-env", "web:PLACE=moon")
	var got []string
	for _, v := range pods[0].Spec.Containers[1].Env {
		got = append(got, v.Name+"="+v.Value)
	}
	if want := []string{"GREETING=bye", "PLACE=moon", "TEXT=$(GREETING) $(PLACE)"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The original's required anti-affinity, and its mandatory spread, go by a label. The sandbox does not have it.
func TestField04SchedulingRulesByAKeptLabel(t *testing.T) {
	t.Parallel()
	front := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}
	for name, rule := range map[string]func(*corev1.PodSpec){
		"anti-affinity": func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: front, TopologyKey: corev1.LabelHostname}}}}
		},
		"spread": func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: fakeNode, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: front}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) { rule(&d.Spec.Template.Spec) })
			e.route(nil)
			if r, pods := e.plan(); r.code != 0 || pods[0].Labels["tier"] != "" || !r.mentions("label tier=front is left off") {
				t.Error(r)
			}
		})
	}
}

// Scheduling gates are left off: nobody would open those of the sandbox.
func TestField05SchedulingGates(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 0, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
	})
	one := []byte(`{"spec":{"replicas":1}}`)
	_, err := core.AppsV1().Deployments(e.ns).Patch(t.Context(), "web", types.MergePatchType, one, metav1.PatchOptions{})
	e.ok(err)
	var pod corev1.Pod
	e.eventually("the pod exists", func() bool {
		list, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		if err == nil && len(list.Items) == 1 {
			pod = list.Items[0]
		}
		return pod.Name != ""
	})
	_, err = core.CoreV1().Pods(e.ns).Patch(t.Context(), pod.Name, types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/schedulingGates"}]`), metav1.PatchOptions{})
	e.ok(err)
	e.route(nil)
	e.waitForEndpoints("web", true)
	if r, pods := e.plan(); r.code != 0 || pods[0].Spec.SchedulingGates != nil || !r.mentions("scheduling gate example.com/gate is left off") {
		t.Error(r)
	}
}

// Resources of the pod as a whole grow by those of the sidecar.
func TestField06PodLevelResources(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for name, r := range map[string]corev1.ResourceRequirements{
		"small": {Requests: list("50m", "64Mi"), Limits: list("500m", "256Mi")},
		"roomy": {Requests: list("100m", "128Mi"), Limits: list("2", "2Gi")},
	} {
		e.deployment(name, 1, func(d *appsv1.Deployment, _ *corev1.Service) { d.Spec.Template.Spec.Resources = &r })
		e.route(func(r *routev1.Route) { r.Name, r.Spec.Host, r.Spec.To.Name = name, name+"-"+r.Spec.Host, name })
		result, pods := e.plan("--route", name)
		if result.code != 0 {
			t.Errorf("%s: %s", name, result)
			continue
		}
		had, has := r.Limits.Memory().Value(), pods[0].Spec.Resources.Limits.Memory().Value()
		if has != had+512<<20 {
			t.Errorf("%s: memory of the pod %d, want 512 MiB more than %d", name, has, had)
		}
	}
}

// A LimitRange for pods leaves the sidecar some room, and it takes no more.
func TestField11ALimitRangeOfPods(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	_, err := core.CoreV1().LimitRanges(e.ns).Create(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "core"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, Max: list("1", "600Mi")}}}}, metav1.CreateOptions{})
	e.ok(err)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("50m", "64Mi"), Limits: list("500m", "256Mi")}
	})
	e.route(nil)
	r, pods := e.plan()
	if r.code != 0 {
		t.Fatal(r)
	}
	sidecar := pods[0].Spec.Containers[0].Resources.Limits
	if sidecar.Cpu().String() != "500m" || sidecar.Memory().String() != "344Mi" {
		t.Errorf("the sidecar's limits are %v, want what the program leaves: 500m and 344Mi", sidecar)
	}
}

// fieldPod is a pod's spec with a port named http, on the fake node.
func fieldPod() corev1.PodSpec {
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: fakeImage, Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: plainPort}}}}}
	onFakeNode(&spec)
	return spec
}

// A Deployment with strategy Recreate and one replica never runs two pods at once.
func TestField13NeverTwoAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	})
	e.route(nil)
	if r, _ := e.plan(); r.code != 1 || !r.reports(reason.NeverTwoPods) {
		t.Error(r)
	}
	e.checkDoctor(reason.NeverTwoPods)
	if r, _ := e.plan("--force"); r.code != 0 || !r.reports(reason.NeverTwoPods) {
		t.Error(r)
	}
}

// A ConfigMap was changed after the original's pod had started: the sandbox gets other values, and a warning says so.
// If the ConfigMap is gone, the session is refused.
func TestField14AConfigMapChangedSince(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"TEXT": "before"}}
	_, err := core.CoreV1().ConfigMaps(e.ns).Create(t.Context(), settings, metav1.CreateOptions{})
	e.ok(err)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
	})
	e.route(nil)
	pods, err := core.CoreV1().Pods(e.ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	e.ok(err)
	started := fmt.Sprintf(`{"status":{"containerStatuses":[{"name":"web","ready":true,"started":true,"restartCount":0,"image":%q,"imageID":%q,"state":{"running":{"startedAt":%q}}}]}}`,
		fakeImage, fakeImageID, time.Now().Add(time.Second).UTC().Format(time.RFC3339))
	_, err = core.CoreV1().Pods(e.ns).Patch(t.Context(), pods.Items[0].Name, types.StrategicMergePatchType, []byte(started), metav1.PatchOptions{}, "status")
	e.ok(err)
	if r, _ := e.plan(); r.code != 0 || r.reports(reason.EnvironmentChanged) {
		t.Errorf("before the change: %s", r)
	}
	time.Sleep(3 * time.Second) // the API server's times are in seconds
	_, err = core.CoreV1().ConfigMaps(e.ns).Patch(t.Context(), "settings", types.MergePatchType, []byte(`{"data":{"TEXT":"after"}}`), metav1.PatchOptions{})
	e.ok(err)
	if r, _ := e.plan(); r.code != 0 || !r.reports(reason.EnvironmentChanged) || !r.mentions("ConfigMap settings was changed at ") {
		t.Errorf("after the change: %s", r)
	}
	e.checkDoctor(reason.EnvironmentChanged)
	e.ok(core.CoreV1().ConfigMaps(e.ns).Delete(t.Context(), "settings", metav1.DeleteOptions{}))
	if r, _ := e.plan(); r.code != 1 || !r.reports(reason.EnvironmentMissing) {
		t.Errorf("after the deletion: %s", r)
	}
}

// The runtime knows the image from another repository. The sandbox's has the repository of the spec and the digest
// that runs.
func TestField15AnImageIDOfAnotherRepository(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.Containers[0].Image = "registry.example.com/team/web:7" // the fake kubelet reports another one
	})
	e.route(nil)
	digest := fakeImageID[strings.Index(fakeImageID, "@"):]
	if r, pods := e.plan(); r.code != 0 || pods[0].Spec.Containers[1].Image != "registry.example.com/team/web"+digest {
		t.Errorf("image %s: %s", pods[0].Spec.Containers[1].Image, r)
	}
}

// A program without limits may use the whole node, and its VM is small.
func TestField18NoLimitsInASmallVM(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	if r, _ := e.plan("--weight", "100"); r.code != 0 || !r.reports(reason.NoLimitsInVM) {
		t.Errorf("at 100 %%: %s", r)
	}
	e.checkDoctor(reason.NoLimitsInVM)
	if r, _ := e.plan("--weight", "1"); r.code != 0 || r.reports(reason.NoLimitsInVM) {
		t.Errorf("at 1 %%: %s", r)
	}
}

// A claim that one pod writes and another one reads has one writer.
func TestField22AClaimWithAReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	createClaim(e, corev1.ReadWriteMany)
	mounts := func(readOnly bool) func(*appsv1.Deployment, *corev1.Service) {
		return func(d *appsv1.Deployment, _ *corev1.Service) {
			spec := &d.Spec.Template.Spec
			spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
			spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: readOnly}}
		}
	}
	e.deployment("web", 1, mounts(false))
	e.deployment("reader", 1, mounts(true))
	e.route(nil)
	if r, _ := e.plan(); r.code != 1 || !r.reports(reason.ClaimHasOneWriter) {
		t.Error(r)
	}
	e.checkDoctor(reason.ClaimHasOneWriter)
	if r, _ := e.plan("--empty-volume", "data"); r.code != 0 {
		t.Error(r)
	}
}
