package workload

import (
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

// Selectors returns the objects of the namespace whose selector has an effect on a pod: Services,
// controllers that adopt pods (a Deployment adopts only ReplicaSets), the owners of ReplicaSets and
// ReplicationControllers, and PodDisruptionBudgets.
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
