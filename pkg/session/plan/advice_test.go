package plan_test

import (
	"errors"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/preflight"
	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/route"
	"github.com/osc-debug/osc-debug/pkg/session/plan"
)

// What is only risky is refused, and with Force it becomes a warning. What cannot work is refused
// either way.
func TestForceTurnsRisksIntoWarnings(t *testing.T) {
	everything := &metav1.LabelSelector{}
	for _, c := range []struct {
		name     string
		change   func(*preflight.Facts)
		code     reason.Code
		forcible bool
	}{
		{"secondary networks", func(f *preflight.Facts) {
			changeTemplate(f, func(meta *metav1.ObjectMeta, _ *corev1.PodSpec) {
				meta.Annotations = map[string]string{"k8s.v1.cni.cncf.io/networks": "storage"}
			})
		}, reason.SecondaryNetworks, true},
		{"a claim that one pod writes", func(f *preflight.Facts) {
			f.Namespace.Claims = []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}},
			}}
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
				spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
				}}}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
			})
		}, reason.ClaimHasOneWriter, true},
		{"a disruption budget that selects every pod", func(f *preflight.Facts) {
			f.Namespace.Budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: everything}}}
		}, reason.BudgetSelectsEveryPod, true},
		{"a router that is not probed", func(f *preflight.Facts) { admit(f, corev1.ConditionTrue, "default", "internal") }, reason.RoutersNotProbed, true},
		{"a controller that selects every pod", func(f *preflight.Facts) {
			f.Namespace.StatefulSets = []appsv1.StatefulSet{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: appsv1.StatefulSetSpec{Selector: everything}}}
		}, reason.SelectsEveryPod, false},
		{"the node's network", func(f *preflight.Facts) {
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) { spec.HostNetwork = true })
		}, reason.HostNamespaces, false},
		{"no ready pod", func(f *preflight.Facts) { f.Namespace.Pods = nil }, reason.NoReadyPod, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := shop(web(1))
			c.change(f)
			q := request(20, route.KeepFloor)
			if _, err := plan.Make(f, q, plan.NoGuard, armFor); reason.CodeOf(err) != c.code {
				t.Errorf("without force: %v, want %s", err, c.code)
			}
			q.Force = true
			p, err := plan.Make(f, q, plan.NoGuard, armFor)
			if !c.forcible {
				if reason.CodeOf(err) != c.code {
					t.Errorf("with force: %v, want %s", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatalf("with force: %v", err)
			}
			var forced *reason.Forced
			if len(p.Warnings) != 1 || !errors.As(p.Warnings[0], &forced) || reason.CodeOf(forced.Refused) != c.code {
				t.Errorf("with force: warnings %v, want the refusal %s", p.Warnings, c.code)
			}
		})
	}
}

// The user is warned of what may go wrong during the session but does not keep it from starting.
func TestWarnings(t *testing.T) {
	autoscaler := autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web"}},
	}
	other := autoscaler
	other.Spec.ScaleTargetRef.Name = "other"
	for _, c := range []struct {
		name   string
		change func(*preflight.Facts, *plan.Request)
		want   reason.Code // "" for no warning
	}{
		{"nothing special", func(*preflight.Facts, *plan.Request) {}, ""},
		{"no limits, at a high share", func(f *preflight.Facts, q *plan.Request) {
			q.Percent = 50
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
				spec.Containers[0].Resources = corev1.ResourceRequirements{}
			})
		}, reason.NoLimitsInVM},
		{"no limits, at a low share", func(f *preflight.Facts, q *plan.Request) {
			q.Percent = 10
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
				spec.Containers[0].Resources = corev1.ResourceRequirements{}
			})
		}, ""},
		{"no limits, but those of the pod", func(f *preflight.Facts, q *plan.Request) {
			q.Percent = 50
			changeTemplate(f, func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) {
				limits := spec.Containers[0].Resources
				spec.Resources, spec.Containers[0].Resources = &limits, corev1.ResourceRequirements{}
			})
		}, ""},
		{"an autoscaler", func(f *preflight.Facts, _ *plan.Request) {
			f.Namespace.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{autoscaler}
		}, reason.AutoscalerMayShrink},
		{"an autoscaler of a detached session", func(f *preflight.Facts, q *plan.Request) {
			f.Namespace.Autoscalers, q.Detach = []autoscalingv2.HorizontalPodAutoscaler{autoscaler}, true
		}, reason.DetachedMayShrink},
		{"another workload's autoscaler", func(f *preflight.Facts, _ *plan.Request) {
			f.Namespace.Autoscalers = []autoscalingv2.HorizontalPodAutoscaler{other}
		}, ""},
		{"kinds that cannot be listed", func(f *preflight.Facts, _ *plan.Request) { f.Namespace.Unreadable = []string{"NetworkPolicies"} }, reason.RightsToListMissing},
		{"a router that does not serve the Route", func(f *preflight.Facts, _ *plan.Request) {
			admit(f, corev1.ConditionTrue, "default")
			admit(f, corev1.ConditionFalse, "internal")
		}, reason.RouterNotServing},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, q := shop(web(2)), request(20, route.KeepFloor)
			c.change(f, &q)
			p := mustMake(t, f, q)
			if c.want == "" && len(p.Warnings) == 0 {
				return
			}
			if len(p.Warnings) != 1 || reason.CodeOf(p.Warnings[0]) != c.want {
				t.Errorf("warnings %v, want %q", p.Warnings, c.want)
			}
		})
	}
}
