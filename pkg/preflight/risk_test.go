package preflight

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/sandbox"
	"github.com/osc-debug/osc-debug/pkg/workload"
)

func to[T any](v T) *T { return &v }

// mounting returns a pod that mounts claim data, with an owner of a kind, "" for none.
func mounting(name, owner string, readOnly bool) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "web", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: readOnly}}}},
		Volumes:    []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}}
	if owner != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Name: owner, UID: "uid", Controller: to(true)}}
	}
	return pod
}

// A program that must not run twice says so in several ways. Each is a risk, and its harmless neighbour is none.
func TestWhatMustNotRunTwice(t *testing.T) {
	recreate := func(replicas *int32) func(*workload.Program, *workload.Namespace) {
		return func(_ *workload.Program, ns *workload.Namespace) {
			ns.Deployments = []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: replicas, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}}}
		}
	}
	lease := func(holder string) func(*workload.Program, *workload.Namespace) {
		return func(p *workload.Program, ns *workload.Namespace) {
			p.Kind, p.Name = "Pod", "web-1"
			ns.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}}, {ObjectMeta: metav1.ObjectMeta{Name: "other-1"}}}
			ns.Leases = []coordinationv1.Lease{{ObjectMeta: metav1.ObjectMeta{Name: "leader"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}, {ObjectMeta: metav1.ObjectMeta{Name: "free"}}}
		}
	}
	claim := func(others ...corev1.Pod) func(*workload.Program, *workload.Namespace) {
		return func(p *workload.Program, ns *workload.Namespace) {
			own := mounting("web-1", "Rollout", false)
			p.Kind, p.Name, p.Spec, ns.Pods = "Rollout", "Rollout", own.Spec, append([]corev1.Pod{own}, others...)
		}
	}
	terminating := mounting("web-0", "", false)
	terminating.DeletionTimestamp = to(metav1.Now())
	ended := mounting("migrate", "", false)
	ended.Status.Phase = corev1.PodSucceeded
	initContainer := func(p *workload.Program, _ *workload.Namespace) {
		p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}, {Name: "proxy", RestartPolicy: to(corev1.ContainerRestartPolicyAlways)}}
	}
	for _, c := range []struct {
		what    string
		prepare func(*workload.Program, *workload.Namespace)
		changes sandbox.Changes
		want    []reason.Code
	}{
		{"nothing", func(*workload.Program, *workload.Namespace) {}, sandbox.Changes{}, nil},
		{"Recreate, one replica", recreate(to[int32](1)), sandbox.Changes{}, []reason.Code{reason.NeverTwoPods}},
		{"Recreate, replicas not set", recreate(nil), sandbox.Changes{}, []reason.Code{reason.NeverTwoPods}},
		{"Recreate, two replicas", recreate(to[int32](2)), sandbox.Changes{}, nil},
		{"a Lease held by its pod", lease("web-1"), sandbox.Changes{}, []reason.Code{reason.LeaseHeldByPod}},
		{"a Lease held as client-go does", lease("web-1_4711"), sandbox.Changes{}, []reason.Code{reason.LeaseHeldByPod}},
		{"a Lease of another pod", lease("other-1"), sandbox.Changes{}, nil},
		{"a Lease of a pod with a longer name", lease("web-10"), sandbox.Changes{}, nil},
		{"a claim that its pod alone writes", claim(), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim that another pod reads", claim(mounting("reader", "", true)), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim that a backup writes", claim(mounting("backup-1", "Job", false)), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim of a pod that is terminating", claim(terminating), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim of a pod that has ended", claim(ended), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim that a debug copy writes", claim(mounting("debug", "", false)), sandbox.Changes{}, []reason.Code{reason.ClaimHasOneWriter}},
		{"a claim that two pods write", claim(mounting("web-2", "Rollout", false)), sandbox.Changes{}, nil},
		{"a claim in place of which the sandbox has an empty volume", claim(), sandbox.Changes{EmptyVolumes: []string{"data"}}, nil},
		{"an init container", initContainer, sandbox.Changes{}, []reason.Code{reason.InitRunsAgain}},
		{"an init container that is skipped", initContainer, sandbox.Changes{SkipInit: []string{"migrate"}}, nil},
		{"a Deployment of an operator", func(_ *workload.Program, ns *workload.Namespace) {
			ns.Deployments = []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Name: "web", OwnerReferences: []metav1.OwnerReference{{Kind: "Keycloak", Name: "sso", Controller: to(true)}}}}}
		}, sandbox.Changes{}, []reason.Code{reason.ManagedByOperator}},
		{"a Deployment of another operator's", func(_ *workload.Program, ns *workload.Namespace) {
			ns.Deployments = []appsv1.Deployment{{ObjectMeta: metav1.ObjectMeta{Name: "other", OwnerReferences: []metav1.OwnerReference{{Kind: "Keycloak", Name: "sso", Controller: to(true)}}}}}
		}, sandbox.Changes{}, nil},
		{"a DeploymentConfig with strategy Recreate", func(p *workload.Program, ns *workload.Namespace) {
			p.Kind = "DeploymentConfig"
			ns.ReplicationControllers = []corev1.ReplicationController{{ObjectMeta: metav1.ObjectMeta{
				Name: "web-3", OwnerReferences: []metav1.OwnerReference{{Kind: "DeploymentConfig", Name: "web", Controller: to(true)}},
				Annotations: map[string]string{"openshift.io/encoded-deployment-config": `{"spec":{"replicas":1,"strategy":{"type":"Recreate"}}}`},
			}}}
		}, sandbox.Changes{}, []reason.Code{reason.NeverTwoPods}},
		{"an operator's", func(p *workload.Program, _ *workload.Namespace) { p.Kind, p.UnknownSelectors = "Kafka", true }, sandbox.Changes{}, []reason.Code{reason.ManagedByOperator}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, ns := &workload.Program{Kind: "Deployment", Name: "web"}, &workload.Namespace{Name: "shop"}
			c.prepare(p, ns)
			var got []reason.Code
			for _, risk := range Risks(p, ns, c.changes) {
				got = append(got, reason.CodeOf(risk))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
