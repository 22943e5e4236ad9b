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

// ofMaker is the selector of a DeploymentConfig by that of one of its ReplicationControllers:
// without the labels that it adds. "deploymentconfig" is its own where there is no other.
func ofMaker(selector map[string]string) map[string]string {
	out := maps.Clone(selector)
	delete(out, "deployment")
	if len(out) > 1 {
		delete(out, "deploymentconfig")
	}
	return out
}

// Selector is an object that selects pods.
type Selector struct {
	Kind, Name string
	labels.Selector
}

// String is kind/name.
func (s Selector) String() string { return s.Kind + "/" + s.Name }

// Selectors are all that may select a pod of the namespace and do something about it:
// Services, the controllers that adopt pods (a Deployment adopts ReplicaSets only), and
// disruption budgets.
func (ns *Namespace) Selectors() []Selector {
	var out []Selector
	// An empty selector of a Service or ReplicationController selects nothing, one of apps/v1
	// or policy/v1 everything.
	plain := func(kind, name string, selector map[string]string) {
		if len(selector) > 0 {
			out = append(out, Selector{kind, name, labels.SelectorFromSet(selector)})
		}
	}
	full := func(kind, name string, selector *metav1.LabelSelector) {
		// The API server validated it: one newer than this client matches nothing for us.
		if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
			out = append(out, Selector{kind, name, s})
		}
	}
	for _, s := range ns.Services {
		plain("service", s.Name, s.Spec.Selector)
	}
	// The selector of who makes ReplicaSets or ReplicationControllers is theirs without the
	// labels that tell revisions apart: his autoscaler counts pods by it.
	makers := map[string]bool{}
	for _, r := range ns.ReplicaSets {
		full("replicaset", r.Name, r.Spec.Selector)
		if kind, name := top(kindReplicaSet, &r); kind != kindReplicaSet && !makers[kind+name] && r.Spec.Selector != nil {
			makers[kind+name] = true
			s := r.Spec.Selector.DeepCopy()
			// A Deployment's and a Rollout's mark. Not "deployment": 'oc new-app' has its Deployments
			// select by that.
			delete(s.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey)
			delete(s.MatchLabels, "rollouts-pod-template-hash")
			full(strings.ToLower(kind), name, s)
		}
	}
	for _, s := range ns.StatefulSets {
		full("statefulset", s.Name, s.Spec.Selector)
	}
	for _, d := range ns.DaemonSets {
		full("daemonset", d.Name, d.Spec.Selector)
	}
	for _, r := range ns.ReplicationControllers {
		plain("replicationcontroller", r.Name, r.Spec.Selector)
		if kind, name := top(kindReplicationController, &r); kind != kindReplicationController && !makers[kind+name] {
			makers[kind+name] = true
			plain(strings.ToLower(kind), name, ofMaker(r.Spec.Selector))
		}
	}
	for _, b := range ns.Budgets {
		full("poddisruptionbudget", b.Name, b.Spec.Selector)
	}
	return out
}

// Behind are the pods that a Service selects.
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

// Mounting are the pods that mount a claim and have not ended.
func (ns *Namespace) Mounting(claim string) []corev1.Pod {
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

// Scaling are the autoscalers of a program; KEDA scales by one of its own making.
func (ns *Namespace) Scaling(p *Program) []autoscalingv2.HorizontalPodAutoscaler {
	return Scaling(ns.Autoscalers, p.String())
}

// Scaling are those of some autoscalers that scale a workload, kind/name.
func Scaling(all []autoscalingv2.HorizontalPodAutoscaler, workload string) []autoscalingv2.HorizontalPodAutoscaler {
	var out []autoscalingv2.HorizontalPodAutoscaler
	for _, h := range all {
		if t := h.Spec.ScaleTargetRef; strings.ToLower(t.Kind)+"/"+t.Name == workload {
			out = append(out, h)
		}
	}
	return out
}

// LeastOf says where the least number of pods that an autoscaler leaves is set: KEDA sets
// the autoscaler's own by its ScaledObject, whenever it differs.
func LeastOf(h autoscalingv2.HorizontalPodAutoscaler) string {
	if c := metav1.GetControllerOf(&h); c != nil && c.Kind == "ScaledObject" {
		return "minReplicaCount of KEDA's ScaledObject " + c.Name
	}
	return "minReplicas of HorizontalPodAutoscaler " + h.Name
}
