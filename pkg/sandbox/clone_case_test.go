package sandbox_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

// cloneCase is the contents of a file in testdata/clone, with one document for each of:
//   - the workload, as it was applied
//   - kind Live: the changes that admission and the kubelet made to its pod, a strategic merge patch
//   - kind Newer: a template applied later, of which no pod is ready yet (optional)
//   - kind Changes: what the user requested (optional)
//   - other objects of the namespace: Route, Services, claims, NetworkPolicies, ... (optional)
type cloneCase struct {
	ns      workload.Namespace
	route   routev1.Route
	changes sandbox.Changes
	patch   []byte
	newer   *corev1.PodTemplateSpec
	live    corev1.Pod
}

func readCase(t *testing.T, file string) *cloneCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloneCase{ns: workload.Namespace{Name: "shop"}}
	c.route = routev1.Route{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop", UID: "route-uid"},
		Spec:       routev1.RouteSpec{To: routev1.RouteTargetReference{Kind: "Service", Name: "web"}, Port: &routev1.RoutePort{TargetPort: intstr.FromString("http")}},
	}
	service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}}}
	var first []byte
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		unmarshal(t, doc, &kind)
		switch kind.Kind {
		case "Live":
			c.patch = doc
		case "Newer":
			var o struct {
				Spec struct{ Template corev1.PodTemplateSpec }
			}
			unmarshal(t, doc, &o)
			c.newer = &o.Spec.Template
		case "Changes":
			unmarshal(t, doc, &c.changes)
		case "Route":
			unmarshal(t, doc, &c.route)
			c.route.Namespace, c.route.Name, c.route.UID = "shop", "shop", "route-uid"
		case "Service":
			var s corev1.Service
			unmarshal(t, doc, &s)
			if s.Name == service.Name {
				service = s
			} else {
				c.ns.Services = append(c.ns.Services, s)
			}
		case "PersistentVolumeClaim":
			c.ns.Claims = append(c.ns.Claims, *decode[corev1.PersistentVolumeClaim](t, doc))
		case "NetworkPolicy":
			c.ns.Policies = append(c.ns.Policies, *decode[networkingv1.NetworkPolicy](t, doc))
		case "PodDisruptionBudget":
			c.ns.Budgets = append(c.ns.Budgets, *decode[policyv1.PodDisruptionBudget](t, doc))
		case "LimitRange":
			c.ns.Ranges = append(c.ns.Ranges, *decode[corev1.LimitRange](t, doc))
		case "Pod":
			if first != nil { // another pod of the namespace
				c.ns.Pods = append(c.ns.Pods, *decode[corev1.Pod](t, doc))
				continue
			}
			first = doc
		default:
			first = doc
		}
	}
	c.live = c.apply(t, first)
	if service.Spec.Selector == nil {
		service.Spec.Selector = map[string]string{"app": c.live.Labels["app"]}
	}
	c.ns.Services = append(c.ns.Services, service)
	c.ns.Pods = append(c.ns.Pods, c.live)
	c.ns.Slices = []discoveryv1.EndpointSlice{endpointsOf(&service, &c.live)}
	return c
}

// endpointsOf makes a pod an endpoint of a Service, as Kubernetes would.
func endpointsOf(s *corev1.Service, pod *corev1.Pod) discoveryv1.EndpointSlice {
	slice := discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod.Name}}},
	}
	for _, p := range s.Spec.Ports {
		number := p.TargetPort.IntVal
		for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			for _, port := range container.Ports {
				if port.Name == p.TargetPort.StrVal {
					number = port.ContainerPort
				}
			}
		}
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Port: &number})
	}
	return slice
}

// apply creates the pod of a workload as controllers, admission and the kubelet would.
func (c *cloneCase) apply(t *testing.T, doc []byte) corev1.Pod {
	t.Helper()
	var o struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	unmarshal(t, doc, &o)
	template := o.Spec.Template
	yes := true
	owned := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(kind + name), Controller: &yes}}
	}
	by := func(kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, UID: types.UID(kind + name)}
	}
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: o.Name + "-0", Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	switch o.Kind {
	case "Pod":
		pod = *decode[corev1.Pod](t, doc)
	case "ReplicaSet", "Deployment", "Rollout":
		meta := by("ReplicaSet", o.Name)
		if o.Kind != "ReplicaSet" {
			meta = by("ReplicaSet", o.Name+"-6f7d")
			meta.OwnerReferences = owned(o.Kind, o.Name)
			hash := "pod-template-hash"
			if o.Kind == "Rollout" {
				hash = "rollouts-pod-template-hash"
			}
			template.Labels = merged(template.Labels, hash, "6f7d")
		}
		pod.Labels, pod.OwnerReferences = template.Labels, owned("ReplicaSet", meta.Name)
		c.ns.ReplicaSets = append(c.ns.ReplicaSets, appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Template: template, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}}})
		if c.newer != nil {
			meta.Name, meta.UID = o.Name+"-9e8d", "newer"
			next := *c.newer
			next.Labels = merged(next.Labels, "pod-template-hash", "9e8d")
			c.ns.ReplicaSets = append(c.ns.ReplicaSets, appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Template: next, Selector: &metav1.LabelSelector{MatchLabels: next.Labels}}})
		}
	case "ReplicationController", "DeploymentConfig":
		meta := by("ReplicationController", o.Name)
		if o.Kind == "DeploymentConfig" {
			meta = by("ReplicationController", o.Name+"-3")
			meta.OwnerReferences = owned(o.Kind, o.Name)
			template.Labels = merged(merged(template.Labels, "deployment", o.Name+"-3"), "deploymentconfig", o.Name)
		}
		pod.Labels, pod.OwnerReferences = template.Labels, owned("ReplicationController", meta.Name)
		c.ns.ReplicationControllers = append(c.ns.ReplicationControllers, corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Template: &template, Selector: template.Labels}})
		if c.newer != nil {
			meta.Name, meta.UID = o.Name+"-4", "newer"
			next := *c.newer
			next.Labels = merged(next.Labels, "deployment", meta.Name)
			c.ns.ReplicationControllers = append(c.ns.ReplicationControllers, corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Template: &next, Selector: next.Labels}})
		}
	case "StatefulSet", "DaemonSet":
		revision, label := o.Name+"-7c9f", o.Name+"-7c9f"
		if o.Kind == "DaemonSet" {
			label = "7c9f"
			d := decode[appsv1.DaemonSet](t, doc)
			if c.newer != nil {
				d.Spec.Template = *c.newer
			}
			c.ns.DaemonSets = append(c.ns.DaemonSets, *d)
		} else {
			s := decode[appsv1.StatefulSet](t, doc)
			for _, claim := range s.Spec.VolumeClaimTemplates {
				name := claim.Name + "-" + pod.Name
				pod.Spec.Volumes = append(slices.Clone(pod.Spec.Volumes), corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
				claim.Name = name
				c.ns.Claims = append(c.ns.Claims, claim)
			}
			if c.newer != nil {
				s.Spec.Template = *c.newer
			}
			pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, s.Spec.ServiceName
			pod.Labels = merged(merged(pod.Labels, "statefulset.kubernetes.io/pod-name", pod.Name), "apps.kubernetes.io/pod-index", "0")
			c.ns.StatefulSets = append(c.ns.StatefulSets, *s)
		}
		pod.Labels, pod.OwnerReferences = merged(pod.Labels, appsv1.ControllerRevisionHashLabelKey, label), owned(o.Kind, o.Name)
		revisions := map[string]*corev1.PodTemplateSpec{revision: &template, o.Name + "-1a2b": c.newer}
		for _, name := range []string{o.Name + "-1a2b", revision} { // the newer one first: it must be skipped
			if revisions[name] == nil {
				continue
			}
			raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": revisions[name]}})
			if err != nil {
				t.Fatal(err)
			}
			c.ns.Revisions = append(c.ns.Revisions, appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owned(o.Kind, o.Name)}, Data: runtime.RawExtension{Raw: raw}})
		}
	default:
		pod.OwnerReferences = owned(o.Kind, o.Name)
	}
	return c.admit(t, pod)
}

// admit makes a pod ready and applies the case's Live patch to it.
func (c *cloneCase) admit(t *testing.T, pod corev1.Pod) corev1.Pod {
	t.Helper()
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Spec.NodeName, pod.Status.Phase = "worker-1", corev1.PodRunning
	if c.patch == nil {
		return pod
	}
	original, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	var patch map[string]any
	unmarshal(t, c.patch, &patch)
	delete(patch, "kind")
	data, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	admitted, err := strategicpatch.StrategicMergePatch(original, data, corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	return *decode[corev1.Pod](t, admitted)
}

func unmarshal(t *testing.T, data []byte, o any) {
	t.Helper()
	if err := yaml.Unmarshal(data, o); err != nil {
		t.Fatalf("%v in:\n%s", err, data)
	}
}

func decode[T any](t *testing.T, data []byte) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict(data, out); err != nil {
		t.Fatalf("%v in:\n%s", err, data)
	}
	return out
}

func merged(set map[string]string, k, v string) map[string]string {
	out := map[string]string{k: v}
	for key, value := range set {
		out[key] = value
	}
	return out
}
