package workload

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// deploymentConfigSelector derives the selector of a DeploymentConfig from that of one of its
// ReplicationControllers by removing the labels that the DeploymentConfig adds. A lone label
// "deploymentconfig" is its own.
func deploymentConfigSelector(selector map[string]string) map[string]string {
	out := maps.Clone(selector)
	delete(out, "deployment")
	if len(out) > 1 {
		delete(out, "deploymentconfig")
	}
	return out
}

// Selector is an object that selects pods, with its label selector.
type Selector struct {
	Kind, Name string // kind in lower case
	labels.Selector
}

// String returns kind/name.
func (s Selector) String() string { return s.Kind + "/" + s.Name }

// Kinds of Selectors that are rules of pods for the scheduler, named after a pod that has them.
const (
	AntiAffinity = "anti-affinity of pod"
	Spread       = "topology spread of pod"
)

// Selectors returns the objects of the namespace whose selector has an effect on a pod: Services,
// controllers that adopt pods (a Deployment adopts only ReplicaSets), the owners of ReplicaSets and
// ReplicationControllers, PodDisruptionBudgets, and the scheduling rules of pods that are mandatory.
func (ns *Namespace) Selectors() []Selector {
	var out []Selector
	// An empty selector selects nothing in a Service or ReplicationController, but every pod in
	// apps/v1 and policy/v1.
	addSet := func(kind, name string, selector map[string]string) {
		if len(selector) > 0 {
			out = append(out, Selector{kind, name, labels.SelectorFromSet(selector)})
		}
	}
	addSelector := func(kind, name string, selector *metav1.LabelSelector) {
		// The API server validated it. An operator that this client does not know matches nothing.
		if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
			out = append(out, Selector{kind, name, s})
		}
	}
	for _, s := range ns.Services {
		addSet("service", s.Name, s.Spec.Selector)
	}
	// The owner of a ReplicaSet or ReplicationController selects pods by the child's selector without
	// its revision labels. The owner's autoscaler counts pods by that selector.
	owners := map[string]bool{}
	for _, r := range ns.ReplicaSets {
		addSelector("replicaset", r.Name, r.Spec.Selector)
		if kind, name := topController(kindReplicaSet, &r); kind != kindReplicaSet && !owners[kind+name] && r.Spec.Selector != nil {
			owners[kind+name] = true
			s := r.Spec.Selector.DeepCopy()
			// The revision labels of a Deployment and of a Rollout. Not "deployment": the Deployments that
			// 'oc new-app' creates select by it.
			delete(s.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey)
			delete(s.MatchLabels, "rollouts-pod-template-hash")
			addSelector(strings.ToLower(kind), name, s)
		}
	}
	for _, s := range ns.StatefulSets {
		addSelector("statefulset", s.Name, s.Spec.Selector)
	}
	for _, d := range ns.DaemonSets {
		addSelector("daemonset", d.Name, d.Spec.Selector)
	}
	for _, r := range ns.ReplicationControllers {
		addSet("replicationcontroller", r.Name, r.Spec.Selector)
		if kind, name := topController(kindReplicationController, &r); kind != kindReplicationController && !owners[kind+name] {
			owners[kind+name] = true
			addSet(strings.ToLower(kind), name, deploymentConfigSelector(r.Spec.Selector))
		}
	}
	for _, b := range ns.Budgets {
		addSelector("poddisruptionbudget", b.Name, b.Spec.Selector)
	}
	return append(out, ns.schedulingRules()...)
}

// schedulingRules returns the mandatory scheduling rules of the namespace's pods that count pods by labels, each
// once: required anti-affinity, and a spread that is DoNotSchedule. A pod that such a rule counts may be kept off
// nodes, or keep the rule's own pods off. The API server has already merged matchLabelKeys into the selectors.
func (ns *Namespace) schedulingRules() (out []Selector) {
	seen := map[string]bool{}
	add := func(kind, pod string, selector *metav1.LabelSelector) {
		s, err := metav1.LabelSelectorAsSelector(selector) // nil selects nothing
		if err != nil || seen[kind+s.String()] {
			return
		}
		seen[kind+s.String()] = true
		out = append(out, Selector{kind, pod, s})
	}
	for _, pod := range ns.Pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
			for _, term := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				own := len(term.Namespaces) == 0 && term.NamespaceSelector == nil
				if own || term.NamespaceSelector != nil || slices.Contains(term.Namespaces, ns.Name) {
					add(AntiAffinity, pod.Name, term.LabelSelector)
				}
			}
		}
		for _, c := range pod.Spec.TopologySpreadConstraints {
			if c.WhenUnsatisfiable == corev1.DoNotSchedule {
				add(Spread, pod.Name, c.LabelSelector)
			}
		}
	}
	return out
}

// Behind returns the pods that a Service selects, none if the Service does not exist.
func (ns *Namespace) Behind(service string) []corev1.Pod {
	s := ns.Service(service)
	if s == nil || len(s.Spec.Selector) == 0 {
		return nil
	}
	selector := labels.SelectorFromSet(s.Spec.Selector)
	var out []corev1.Pod
	for _, pod := range ns.Pods {
		if selector.Matches(labels.Set(pod.Labels)) {
			out = append(out, pod)
		}
	}
	return out
}

// IsNativeSidecar reports whether an init container is a native sidecar, which runs as long as the pod.
func IsNativeSidecar(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// PodsOf returns the pods of a program that serve the Route's Service, including those that are not ready.
func (ns *Namespace) PodsOf(p *Program) (out []corev1.Pod) {
	for _, pod := range ns.Pods {
		if other, err := ns.programOf(pod); err == nil && other.Kind == p.Kind && other.Name == p.Name {
			out = append(out, pod)
		}
	}
	return out
}

// ownKinds are the kinds of controllers whose pods are the same, so that one more is no member of anything.
var ownKinds = []string{kindDeployment, kindReplicaSet, kindReplicationController, kindStatefulSet, kindDaemonSet, "DeploymentConfig", "Rollout", kindPod}

// Operator returns the custom resource, as KIND NAME, by which an operator manages a program, "" for none: what
// controls its pods, or their Deployment, StatefulSet or DaemonSet.
func (ns *Namespace) Operator(p *Program) string {
	if !slices.Contains(ownKinds, p.Kind) {
		return p.Kind + " " + p.Name
	}
	var controllers []metav1.Object
	for i := range ns.Deployments {
		controllers = append(controllers, &ns.Deployments[i])
	}
	for i := range ns.StatefulSets {
		controllers = append(controllers, &ns.StatefulSets[i])
	}
	for i := range ns.DaemonSets {
		controllers = append(controllers, &ns.DaemonSets[i])
	}
	kindOf := func(o metav1.Object) string {
		switch o.(type) {
		case *appsv1.Deployment:
			return kindDeployment
		case *appsv1.StatefulSet:
			return kindStatefulSet
		}
		return kindDaemonSet
	}
	for _, o := range controllers {
		if owner := metav1.GetControllerOf(o); owner != nil && kindOf(o) == p.Kind && o.GetName() == p.Name && !slices.Contains(ownKinds, owner.Kind) {
			return owner.Kind + " " + owner.Name
		}
	}
	return ""
}

// encodedConfig is the annotation of a ReplicationController with the DeploymentConfig that it was made from
// (github.com/openshift/api/apps/v1).
const encodedConfig = "openshift.io/encoded-deployment-config"

// NeverTwo reports whether a program's controller makes sure that two of its pods never run at once: one replica,
// and strategy Recreate.
func (ns *Namespace) NeverTwo(p *Program) bool {
	for _, d := range ns.Deployments {
		if p.Kind == kindDeployment && d.Name == p.Name {
			return d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && (d.Spec.Replicas == nil || *d.Spec.Replicas <= 1)
		}
	}
	for _, rc := range ns.ReplicationControllers {
		if kind, name := topController(kindReplicationController, &rc); kind != p.Kind || name != p.Name || rc.Annotations[encodedConfig] == "" {
			continue
		}
		var config struct {
			Spec struct {
				Replicas int32
				Strategy struct{ Type string }
			}
		}
		if json.Unmarshal([]byte(rc.Annotations[encodedConfig]), &config) == nil && config.Spec.Strategy.Type == "Recreate" && config.Spec.Replicas <= 1 {
			return true
		}
	}
	return false
}

// PodsMounting returns the pods that mount a claim and have not terminated.
func (ns *Namespace) PodsMounting(claim string) []corev1.Pod {
	var out []corev1.Pod
	for _, pod := range ns.Pods {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if !ended && slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
		}) {
			out = append(out, pod)
		}
	}
	return out
}

// Scaling returns the autoscalers of a program, including the ones that KEDA creates.
func (ns *Namespace) Scaling(p *Program) []autoscalingv2.HorizontalPodAutoscaler {
	return Scaling(ns.Autoscalers, p.String())
}

// Scaling returns those of the autoscalers in all that scale a workload, kind/name with the kind in
// lower case.
func Scaling(all []autoscalingv2.HorizontalPodAutoscaler, workload string) []autoscalingv2.HorizontalPodAutoscaler {
	var out []autoscalingv2.HorizontalPodAutoscaler
	for _, h := range all {
		if t := h.Spec.ScaleTargetRef; strings.ToLower(t.Kind)+"/"+t.Name == workload {
			out = append(out, h)
		}
	}
	return out
}

// LeastOf names the field that sets an autoscaler's minimum number of pods. For an autoscaler of KEDA
// that is a field of the ScaledObject, by which KEDA resets the autoscaler's own.
func LeastOf(h autoscalingv2.HorizontalPodAutoscaler) string {
	if c := metav1.GetControllerOf(&h); c != nil && c.Kind == "ScaledObject" {
		return "minReplicaCount of KEDA's ScaledObject " + c.Name
	}
	return "minReplicas of HorizontalPodAutoscaler " + h.Name
}
