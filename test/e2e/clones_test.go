//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/session/record"
	"github.com/osc-debug/osc-debug/test/sample"
)

// realCloneCases are cases of pkg/sandbox/testdata/clone that run here with the example's image in
// place of their own. Each has its original kind, the security contexts that OpenShift gave it, and
// real controllers and kubelets.
var realCloneCases = []string{
	"deployment-restricted-v2", "deployment-anyuid", "deployment-nonroot-v2", "php-fpm-nginx", "init-migrations", "native-sidecar",
	"projected-volumes", "statefulset", "daemonset", "replicaset", "replicationcontroller", "deploymentconfig", "bare-pod",
}

// sampleCases returns all cases in 'make soak'. In 'make test' it returns those in differ, which
// differ most from each other, and a random one of the others; OSC_DEBUG_SEED sets the seed.
func sampleCases(t *testing.T, all []string, differ ...string) []string {
	t.Helper()
	if full {
		return all
	}
	others := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(differ, name) })
	seed := intFromEnv(t, "OSC_DEBUG_SEED", int(rand.Uint32()))
	one := others[rand.New(rand.NewPCG(uint64(seed), uint64(len(others)))).IntN(len(others))]
	summarize(t, "seed %d: ran %s in addition to %s", seed, one, strings.Join(differ, ", "))
	return append(differ, one)
}

// Each case is cloned and answers users from the VM, and its processes there have the users, groups,
// capabilities and seccomp profile of the original's.
func TestClonesThatRun(t *testing.T) {
	t.Parallel()
	cluster := sample.Cluster{State: state, CLI: binary}
	if _, err := cluster.Kubectl(t.Context(), "apply", "-f", "test/e2e/testdata/deploymentconfig.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, name := range sampleCases(t, realCloneCases, "php-fpm-nginx", "statefulset", "deploymentconfig") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newGuardedEnv(t)
			e.reserveVM()
			e.createCase(cluster, name)
			e.route(nil)
			e.waitForEndpoints("web", true)
			before := e.snapshot()
			args := append([]string{"--weight", "100", "--replicas", "1"}, inSlowVM...)
			if name == "init-migrations" {
				args = append(args, "--force") // its init containers run again
			}
			run := e.guardedShift(args...)
			if !run.reaches("live") {
				t.Fatal(run.wait())
			}
			e.compareWithOriginal()
			if name == "php-fpm-nginx" {
				e.checkOutOfMemory()
			}
			run.signal(2)
			if r := run.wait(); r.code != 0 {
				t.Error(r)
			}
			if after := e.snapshot(); after != before {
				t.Errorf("before %s\nafter  %s", before, after)
			}
			e.checkNothingLeft()
		})
	}
}

// checkOutOfMemory runs a tool in the sidecar that needs more memory than the sidecar has. The kernel kills the tool; the
// sidecar and the session go on.
func (e *env) checkOutOfMemory() {
	e.t.Helper()
	if r := e.cli("exec", "--", "tail", "/dev/zero"); r.code != 137 {
		e.t.Errorf("a tool without end must be killed (137): %s", r)
	}
	if r := e.cli("exec", "--", "true"); r.code != 0 {
		e.t.Errorf("the sidecar runs no other tool afterwards: %s", r)
	}
	if s := e.state(); s != record.Live {
		e.t.Errorf("after a tool was killed for its memory, the session is %s", s)
	}
}

// compareWithOriginal compares the sandbox's pod and processes with those of the original.
func (e *env) compareWithOriginal() {
	e.t.Helper()
	list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{})
	e.ok(err)
	var original, clone *corev1.Pod
	for i := range list.Items {
		if p := &list.Items[i]; p.Labels[record.Label] != "" {
			clone = p
		} else if original == nil {
			original = p
		}
	}
	if clone == nil || original == nil || clone.Spec.NodeName == original.Spec.NodeName {
		e.t.Fatalf("no clone on another node than the original among %d pods", len(list.Items))
	}
	if !reflect.DeepEqual(clone.Spec.SecurityContext, original.Spec.SecurityContext) {
		e.t.Errorf("pod security context: %+v, the original has %+v", clone.Spec.SecurityContext, original.Spec.SecurityContext)
	}
	users := func(p *corev1.Pod, name string) *corev1.ContainerUser {
		for _, s := range append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...) {
			if s.Name == name {
				return s.User
			}
		}
		return nil
	}
	for _, c := range append(slices.Clone(clone.Spec.InitContainers), clone.Spec.Containers...) {
		for _, o := range append(slices.Clone(original.Spec.InitContainers), original.Spec.Containers...) {
			if c.Name != o.Name {
				continue
			}
			if !reflect.DeepEqual(c.SecurityContext, o.SecurityContext) {
				e.t.Errorf("security context of container %s: %+v, the original has %+v", c.Name, c.SecurityContext, o.SecurityContext)
			}
			if ran := slices.ContainsFunc(clone.Spec.Containers, func(k corev1.Container) bool { return k.Name == c.Name }); ran {
				mine, theirs := e.privilegesInSandbox(sandbox.ContainerID(clone, c.Name)), e.privilegesOnNode(sandbox.ContainerID(original, c.Name))
				if mine != theirs || mine == "" {
					e.t.Errorf("privileges of container %s:\n%s\nof the original's:\n%s", c.Name, mine, theirs)
				}
			}
			// The user as the runtime reports it, including groups from fsGroup and the image.
			if u, w := users(clone, c.Name), users(original, c.Name); !reflect.DeepEqual(u, w) {
				e.t.Errorf("container %s runs as %+v, the original's as %+v", c.Name, u, w)
			}
		}
	}
}

// privileges matches the lines of /proc/PID/status with a process's privileges.
const privileges = "^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):"

// privilegesInSandbox reads the privileges of a container's first process in the VM.
func (e *env) privilegesInSandbox(container string) string {
	e.t.Helper()
	r := e.cli("exec", "--", "bash", "-c", `f=$(grep -ls "$1" /proc/[0-9]*/cgroup | sort -V | head -1) && grep -E "$2" "${f%cgroup}status"`, "bash", container, privileges)
	if r.code != 0 {
		e.t.Error(r)
	}
	return strings.TrimSpace(r.out)
}

// privilegesOnNode reads the privileges of a container's first process on this machine, which is
// also the runc node.
func (e *env) privilegesOnNode(container string) string {
	e.t.Helper()
	cgroups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	e.ok(err)
	slices.SortFunc(cgroups, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	wanted := regexp.MustCompile(privileges)
	for _, file := range cgroups {
		if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), container) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		e.ok(err)
		lines := slices.DeleteFunc(strings.Split(string(status), "\n"), func(l string) bool { return !wanted.MatchString(l) })
		return strings.TrimSpace(strings.Join(lines, "\n"))
	}
	e.t.Errorf("no process of container %s on this machine", container)
	return ""
}

// createCase creates the workload of a case, with its pods as OpenShift would have admitted them, and
// waits until a pod is ready.
func (e *env) createCase(cluster sample.Cluster, name string) {
	e.t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "..", "pkg", "sandbox", "testdata", "clone", name+".yaml"))
	e.ok(err)
	docs := bytes.Split(file, []byte("\n---\n"))
	var w struct {
		Kind     string            `json:"kind"`
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     json.RawMessage   `json:"spec"`
	}
	e.ok(yaml.Unmarshal(docs[0], &w))
	var inner struct {
		Template corev1.PodTemplateSpec `json:"template"`
	}
	e.ok(json.Unmarshal(w.Spec, &inner))
	template := inner.Template
	if w.Kind == "Pod" {
		template.ObjectMeta = w.Metadata
		e.ok(json.Unmarshal(w.Spec, &template.Spec))
	}
	for _, doc := range docs[1:] {
		var live struct {
			Kind string          `json:"kind"`
			Spec json.RawMessage `json:"spec"`
		}
		e.ok(yaml.Unmarshal(doc, &live))
		if live.Kind != "Live" || live.Spec == nil {
			continue
		}
		spec, err := json.Marshal(template.Spec)
		e.ok(err)
		merged, err := strategicpatch.StrategicMergePatch(spec, live.Spec, corev1.PodSpec{})
		e.ok(err)
		template.Spec = corev1.PodSpec{}
		e.ok(json.Unmarshal(merged, &template.Spec))
	}
	makeRunnable(&template.Spec, e.builtInSidecar())
	template.Annotations, template.Labels = nil, map[string]string{"app": "web"}
	e.createWorkload(cluster, w.Kind, template)
	_, err = core.CoreV1().Services(e.ns).Create(e.t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}, metav1.CreateOptions{})
	e.ok(err)
	e.eventually("a ready pod of "+name, func() bool {
		list, err := core.CoreV1().Pods(e.ns).List(e.t.Context(), metav1.ListOptions{})
		e.ok(err)
		return len(list.Items) > 0 && slices.ContainsFunc(list.Items[0].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
}

// makeRunnable replaces the case's images with images that the cluster has, and drops what does not
// exist here. It keeps the containers, port names and security contexts.
func makeRunnable(spec *corev1.PodSpec, tools string) {
	spec.ServiceAccountName, spec.NodeName, spec.NodeSelector, spec.PriorityClassName, spec.Priority = "", "", nil, "", nil
	spec.ImagePullSecrets, spec.EphemeralContainers, spec.Affinity, spec.Hostname, spec.Subdomain = nil, nil, nil, "", ""
	drop := func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "kube-api-access-") }
	spec.Volumes = slices.DeleteFunc(spec.Volumes, drop)
	yes := true
	for i := range spec.Volumes {
		if v := spec.Volumes[i].ConfigMap; v != nil {
			v.Optional = &yes
		}
		if p := spec.Volumes[i].Projected; p != nil {
			for j := range p.Sources {
				if s := p.Sources[j].Secret; s != nil {
					s.Optional = &yes
				}
				if s := p.Sources[j].ConfigMap; s != nil {
					s.Optional = &yes
				}
			}
		}
	}
	strip := func(c *corev1.Container) {
		c.Env, c.EnvFrom, c.Command, c.Args, c.StartupProbe, c.LivenessProbe, c.ReadinessProbe, c.ImagePullPolicy = nil, nil, nil, nil, nil, nil, nil, ""
		c.Resources = corev1.ResourceRequirements{}
		c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, "kube-api-access-") })
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		strip(c)
		c.Image, c.Command = tools, []string{"true"}
		if c.RestartPolicy != nil {
			c.Command = []string{"sleep", "3600"}
		}
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		strip(c)
		if serves := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "http" }); serves < 0 {
			c.Image, c.Command, c.Ports = tools, []string{"sleep", "3600"}, nil
			continue
		}
		c.Image, c.Args, c.Ports = fakeImage, []string{"-text", "hello", "-listen", ":8080"}, []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1, TimeoutSeconds: 5}
	}
}

// createWorkload creates workload "web" of a kind with one pod.
func (e *env) createWorkload(cluster sample.Cluster, kind string, template corev1.PodTemplateSpec) {
	e.t.Helper()
	ctx, options := e.t.Context(), metav1.CreateOptions{}
	meta, selector, one := metav1.ObjectMeta{Name: "web"}, &metav1.LabelSelector{MatchLabels: template.Labels}, int32(1)
	var err error
	switch kind {
	case "Pod":
		_, err = core.CoreV1().Pods(e.ns).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: template.Labels}, Spec: template.Spec}, options)
	case "Deployment":
		_, err = core.AppsV1().Deployments(e.ns).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}, options)
	case "ReplicaSet":
		_, err = core.AppsV1().ReplicaSets(e.ns).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}}, options)
	case "StatefulSet":
		_, err = core.AppsV1().StatefulSets(e.ns).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{ServiceName: "web", Selector: selector, Template: template}}, options)
	case "DaemonSet":
		_, err = core.AppsV1().DaemonSets(e.ns).Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}, options)
	case "ReplicationController":
		_, err = core.CoreV1().ReplicationControllers(e.ns).Create(ctx, &corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Replicas: &one, Template: &template}}, options)
	case "DeploymentConfig":
		file := filepath.Join(e.t.TempDir(), "dc.yaml")
		e.ok(os.WriteFile(file, []byte("apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig\nmetadata: {name: web, namespace: "+e.ns+"}\nspec: {replicas: 1}\n"), 0o600))
		_, err = cluster.Kubectl(ctx, "create", "-f", file)
		e.ok(err)
		uid, uidErr := cluster.Kubectl(ctx, "get", "deploymentconfig", "web", "-n", e.ns, "-o", "jsonpath={.metadata.uid}")
		e.ok(uidErr)
		yes := true
		template.Labels = map[string]string{"app": "web", "deployment": "web-1", "deploymentconfig": "web"}
		rc := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}, Spec: corev1.ReplicationControllerSpec{Replicas: &one, Selector: template.Labels, Template: &template}}
		rc.OwnerReferences = append(rc.OwnerReferences, metav1.OwnerReference{APIVersion: "apps.openshift.io/v1", Kind: "DeploymentConfig", Name: "web", Controller: &yes})
		e.ok(json.Unmarshal([]byte(`"`+uid+`"`), &rc.OwnerReferences[0].UID))
		_, err = core.CoreV1().ReplicationControllers(e.ns).Create(ctx, rc, options)
	default:
		e.t.Fatalf("unsupported kind %s", kind)
	}
	e.ok(err)
}
