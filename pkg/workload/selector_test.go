package workload

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// An autoscaler counts the pods that its target's selector selects, of any revision: a clone must not
// match that selector either, besides those of the revisions.
func TestSelectorsOfWhoMakesRevisions(t *testing.T) {
	yes := true
	by := func(kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name + "-3", OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}}
	}
	set := func(meta metav1.ObjectMeta, hash string) appsv1.ReplicaSet {
		return appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": meta.OwnerReferences[0].Name, hash: "6f7d"}}}}
	}
	ns := &Namespace{
		ReplicaSets: []appsv1.ReplicaSet{set(by("Deployment", "web"), "pod-template-hash"), set(by("Rollout", "shop"), "rollouts-pod-template-hash")},
		ReplicationControllers: []corev1.ReplicationController{{ObjectMeta: by("DeploymentConfig", "old"),
			Spec: corev1.ReplicationControllerSpec{Selector: map[string]string{"app": "old", "deployment": "old-3", "deploymentconfig": "old"}}}},
	}
	// A Deployment of 'oc new-app' selects by a single label.
	fresh := set(by("Deployment", "fresh"), "pod-template-hash")
	fresh.Spec.Selector.MatchLabels = map[string]string{"deployment": "fresh", "pod-template-hash": "6f7d"}
	ns.ReplicaSets = append(ns.ReplicaSets, fresh)
	ns.ReplicationControllers = append(ns.ReplicationControllers, corev1.ReplicationController{ObjectMeta: by("DeploymentConfig", "classic"),
		Spec: corev1.ReplicationControllerSpec{Selector: map[string]string{"deployment": "classic-3", "deploymentconfig": "classic"}}})
	for _, c := range []struct{ key, value, want string }{
		{"app", "web", "deployment/web"}, {"app", "shop", "rollout/shop"}, {"app", "old", "deploymentconfig/old"}, {"app", "other", ""},
		{"deployment", "fresh", "deployment/fresh"}, {"deploymentconfig", "classic", "deploymentconfig/classic"}, {"deployment", "other", ""},
	} {
		got := ""
		for _, s := range ns.Selectors() {
			if s.Matches(labels.Set{c.key: c.value}) {
				got += s.String()
			}
		}
		if got != c.want {
			t.Errorf("a pod with only label %s=%s is selected by %q, wanted %q", c.key, c.value, got, c.want)
		}
	}
}

// KEDA creates a HorizontalPodAutoscaler and resets its minReplicas whenever someone changes it, so the
// user must change the ScaledObject.
func TestWhereTheLeastNumberOfPodsIsSet(t *testing.T) {
	yes := true
	target := autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}
	plain := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: target}
	kedas := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "keda-hpa-web",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: "web-scaler", Controller: &yes}}}, Spec: target}
	other := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "StatefulSet", Name: "web"}}}
	var fields []string
	for _, h := range Scaling([]autoscalingv2.HorizontalPodAutoscaler{other, plain, kedas}, "deployment/web") {
		fields = append(fields, LeastOf(h))
	}
	if want := []string{"minReplicas of HorizontalPodAutoscaler web", "minReplicaCount of KEDA's ScaledObject web-scaler"}; !slices.Equal(fields, want) {
		t.Errorf("%q, wanted %q", fields, want)
	}
}
