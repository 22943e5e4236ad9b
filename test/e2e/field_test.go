//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// The inputs of these tests are from public bug reports. Their numbers are those of docs/edge-cases.md, section
// "From the field".

// plan has the API server check a session on Route shop, and returns the result and the pods that it would create.
func (e *env) plan(args ...string) (result, []corev1.Pod) {
	e.t.Helper()
	r := e.cli(append([]string{"shift", "--route", "shop", "--no-guard", "--weight", "50", "--dry-run", "server", "-o", "json"}, args...)...)
	var list struct{ Items []json.RawMessage }
	if r.code == 0 {
		e.ok(json.Unmarshal([]byte(r.out), &list))
	}
	var pods []corev1.Pod
	for _, item := range list.Items {
		var pod corev1.Pod
		if e.ok(json.Unmarshal(item, &pod)); pod.Kind == "Pod" {
			pods = append(pods, pod)
		}
	}
	if r.code == 0 && len(pods) == 0 {
		e.t.Fatalf("no pod is planned: %s", r)
	}
	return r, pods
}

// checkDoctor checks that doctor finds a problem of Route shop before a session does.
func (e *env) checkDoctor(code reason.Code, args ...string) {
	e.t.Helper()
	r := e.cli(append([]string{"doctor", "shop", "-o", "json"}, args...)...)
	if !strings.Contains(r.out, fmt.Sprintf("%q", code)) {
		e.t.Errorf("doctor does not find %s: %s", code, r)
	}
}

// ready waits until an object that e does not create by itself has ready pods.
func (e *env) ready(selector string, count int) {
	e.t.Helper()
	e.eventually("pods "+selector+" are ready", func() bool {
		list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{LabelSelector: selector})
		return err == nil && len(list.Items) == count && !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
	})
}

// A Job's pod carries the Service's labels and is first by name. It has no port http, so it is no endpoint.
func TestField01AJobBehindTheService(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "cleanup"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "cleanup", Image: fakeImage}}},
	}}}
	onFakeNode(&job.Spec.Template.Spec)
	_, err := core.BatchV1().Jobs(e.ns).Create(t.Context(), job, metav1.CreateOptions{})
	e.ok(err)
	e.ready("job-name=cleanup", 1)
	e.deployment("web", 2, nil)
	e.route(func(r *routev1.Route) { r.Spec.Port.TargetPort = intstr.FromString("http") })
	for _, args := range [][]string{nil, {"--workload", "deployment/web"}} {
		if r, _ := e.plan(args...); r.code != 0 || !strings.Contains(r.out, `deployment/web`) {
			t.Errorf("%v: %s", args, r)
		}
	}
}

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
	for _, v := range pods[0].Spec.Containers[0].Env {
		got = append(got, v.Name+"="+v.Value)
	}
	if want := []string{"GREETING=bye", "PLACE=moon", "TEXT=$(GREETING) $(PLACE)"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A pod that is two servers of the Route counts as one pod: under two names of a port, on two ports, and with UDP
// beside TCP. Both pods of a sandbox must be ready, and both are proven.
func TestField03ServersAreNotPods(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	port := func(name string, number, target int32, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: number, TargetPort: intstr.FromInt32(target), Protocol: protocol}
	}
	e.deployment("web", 4, func(_ *appsv1.Deployment, s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{port("http", 80, plainPort, corev1.ProtocolTCP), port("http-alt", 8080, plainPort, corev1.ProtocolTCP), port("h3", 8080, plainPort, corev1.ProtocolUDP)}
	})
	byNumber := intstr.FromInt32(plainPort)
	for name, target := range map[string]*routev1.RoutePort{"two names": {TargetPort: byNumber}, "no port": nil} {
		route := "shop-" + strings.ReplaceAll(name, " ", "-")
		e.route(func(r *routev1.Route) { r.Name, r.Spec.Host, r.Spec.Port = route, route+"-"+r.Spec.Host, target })
		if r, pods := e.plan("--route", route, "--weight", "100"); r.code != 0 || len(pods) != 3 {
			t.Errorf("%s: %d pods, want 3 (the work of 4 pods, each 1.5 times): %s", name, len(pods), r)
		}
	}
	e.route(func(r *routev1.Route) { r.Spec.Port = &routev1.RoutePort{TargetPort: byNumber} })
	if r := e.shift("--weight", "50", "--replicas", "2", "--for", "1s").wait(); r.code != 0 || strings.Count(r.errOut, "answers 200 through the router") != 4 {
		t.Errorf("wanted two pods with two servers each proven: %s", r)
	}
}

// The original's required anti-affinity, and its mandatory spread, go by a label. The sandbox does not have it.
func TestField04SchedulingRulesByAKeptLabel(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	front := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}
	for name, rule := range map[string]func(*corev1.PodSpec){
		"anti-affinity": func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: front, TopologyKey: corev1.LabelHostname}}}}
		},
		"spread": func(s *corev1.PodSpec) {
			s.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: front}}
		},
	} {
		e.deployment("web-"+name, 1, func(d *appsv1.Deployment, _ *corev1.Service) { rule(&d.Spec.Template.Spec) })
		e.route(func(r *routev1.Route) { r.Name, r.Spec.Host, r.Spec.To.Name = name, name+"-"+r.Spec.Host, "web-"+name })
		r, pods := e.plan("--route", name)
		if r.code != 0 || pods[0].Labels["tier"] != "" || !r.mentions("label tier=front is left off") {
			t.Errorf("%s: labels %v: %s", name, pods[0].Labels, r)
		}
	}
}

// Scheduling gates are left off: nobody would open those of the sandbox.
func TestField05SchedulingGates(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, func(d *appsv1.Deployment, _ *corev1.Service) {
		d.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
		d.Spec.Template.Spec.NodeName = "" // the API server rejects gates on a pod with a node
		d.Spec.Template.Spec.NodeSelector = map[string]string{"nowhere": "true"}
		d.Spec.Replicas = new(int32)
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
	e.markRunning(t.Context(), &pod)
	e.route(nil)
	e.eventually("the session can be planned", func() bool {
		r, pods := e.plan()
		return r.code == 0 && pods[0].Spec.SchedulingGates == nil && r.mentions("scheduling gate example.com/gate is left off")
	})
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
	sidecar := pods[0].Spec.Containers[len(pods[0].Spec.Containers)-1].Resources.Limits
	if sidecar.Cpu().String() != "500m" || sidecar.Memory().String() != "344Mi" {
		t.Errorf("the sidecar's limits are %v, want what the program leaves: 500m and 344Mi", sidecar)
	}
}

// Two programs and a colleague's debug copy are behind one Service. The user must say which one to clone.
func TestField12TwoProgramsBehindOneService(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("shop", -1, nil)
	for color, replicas := range map[string]int32{"blue": 1, "green": 3} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: color}, Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop", "color": color}}, Spec: fieldPod()},
		}}
		_, err := core.AppsV1().Deployments(e.ns).Create(t.Context(), d, metav1.CreateOptions{})
		e.ok(err)
	}
	_, err := core.CoreV1().Pods(e.ns).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a-debug-copy", Labels: map[string]string{"app": "shop"}}, Spec: fieldPod()}, metav1.CreateOptions{})
	e.ok(err)
	e.route(func(r *routev1.Route) { r.Spec.To.Name = "shop" })
	e.eventually("all pods are endpoints, and the session is refused", func() bool {
		r, _ := e.plan()
		return r.code == 1 && r.reports(reason.SeveralWorkloads) &&
			r.mentions("pod/a-debug-copy (1 pod(s))", "deployment/blue (1 pod(s))", "deployment/green (3 pod(s))", "--workload deployment/green")
	})
	e.checkDoctor(reason.SeveralWorkloads)
	if r, _ := e.plan("--workload", "deployment/green"); r.code != 0 || !strings.Contains(r.out, "deployment/green") {
		t.Error(r)
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
	if r, pods := e.plan(); r.code != 0 || pods[0].Spec.Containers[0].Image != "registry.example.com/team/web"+digest {
		t.Errorf("image %s: %s", pods[0].Spec.Containers[0].Image, r)
	}
}

// A proxy before the router takes cookies away. Nothing can be proven, so the smallest share comes first: a sandbox
// that answers 500 meets a canary, not half of the users. A good one goes live and ends without a cookie too.
func TestField16TheCookieThatNeverComes(t *testing.T) {
	t.Parallel()
	target, err := url.Parse("http://" + routerIP)
	if err != nil {
		t.Fatal(err)
	}
	waf := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Cookie")
		},
		ModifyResponse: func(r *http.Response) error { r.Header.Del("Set-Cookie"); return nil },
	})
	t.Cleanup(waf.Close)
	e := newEnv(t)
	e.deployment("web", 1, nil)
	e.route(nil)
	before := e.snapshot()
	e.eventuallyPolled("the router serves the Route", func() bool { return e.get(e.shop().Spec.Host) == "original" })
	e.checkDoctor(reason.NotProven, "--router", strings.TrimPrefix(waf.URL, "http://"))
	r := e.start("alice", "shift", "--route", "shop", "--router", strings.TrimPrefix(waf.URL, "http://"), "--drain", "1s", "--no-guard", "--weight", "50", "--for", "1s").wait()
	if r.code != 0 || !r.reports(reason.NotProven) || strings.Contains(r.errOut, "answers 200 through the router") {
		t.Errorf("a session behind the proxy: %s", r)
	}
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
}

// A Route has a subdomain and no host: the host is in its status.
func TestField17ARouteBySubdomain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.deployment("web", 1, nil)
	host := e.route(nil).Spec.Host
	e.eventuallyPolled("the router serves the Route", func() bool { return e.get(host) == "original" })
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/host"},{"op":"add","path":"/spec/subdomain","value":"web"}]`), metav1.PatchOptions{})
	e.ok(err)
	// A second Route has the host and the same backends, because the development router does not serve subdomains.
	e.route(func(r *routev1.Route) { r.Name = "stand-in" })
	status := fmt.Sprintf(`[{"op":"add","path":"/status/ingress/-","value":{"routerName":"shard","host":%q,"conditions":[{"type":"Admitted","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}]`, host)
	_, err = routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.JSONPatchType, []byte(status), metav1.PatchOptions{}, "status")
	e.ok(err)
	if r, _ := e.plan(); r.code != 0 {
		t.Errorf("the dry run: %s", r)
	}
	// Preflight asks for that host. The stand-in's router cannot know the sandbox, so the proof fails.
	r := e.shift("--weight", "50").wait()
	if r.reports(reason.RouterNotReached) || !r.reports(reason.RouterDoesNotReachSandbox) {
		t.Errorf("the session does not ask for the host in the status: %s", r)
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

// Someone renames the primary backend while a session has half of the users. The renamed one gets what the old one
// had, and the Event says what was kept.
func TestField21ThePrimaryIsRenamed(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.deployment("web", 1, nil)
	e.deployment("canary", 1, nil)
	e.deployment("web-v2", 1, nil)
	e.route(func(r *routev1.Route) {
		r.Spec.To.Weight = new(int32)
		*r.Spec.To.Weight = 90
		r.Spec.AlternateBackends = []routev1.RouteTargetReference{alternate("canary", 10)}
	})
	e.plant("shop", record.Live, time.Hour)
	_, err := routes.RouteV1().Routes(e.ns).Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"to":{"name":"web-v2"}}}`), metav1.PatchOptions{})
	e.ok(err)
	e.expire()
	e.eventually("the Route is restored", func() bool {
		r := e.shop()
		return record.Of(r) == nil && r.Spec.To.Name == "web-v2" && *r.Spec.To.Weight == 90 && len(r.Spec.AlternateBackends) == 1 && *r.Spec.AlternateBackends[0].Weight == 10
	})
	e.eventually("the Event says what was kept", func() bool {
		return strings.Contains(e.eventMessage("DebugSessionExpired"), "web-v2 is the primary backend instead of web")
	})
}

// A claim that one pod writes and another one reads has one writer.
func TestField22AClaimWithAReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	_, err := core.CoreV1().PersistentVolumeClaims(e.ns).Create(t.Context(), claim, metav1.CreateOptions{})
	e.ok(err)
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
