//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Role osc-debug-user is enough for a whole session without role edit, and grants nothing else, also under
// the policy that narrows it.
// Role osc-debug-viewer can list sessions but not change them.
func TestTheTeamsRolesAreEnough(t *testing.T) {
	t.Parallel()
	e := newGuardedEnv(t)
	e.reserveVM()
	e.applyRoles()
	e.ok(core.RbacV1().RoleBindings(e.ns).Delete(t.Context(), "alice-edit", metav1.DeleteOptions{}))
	e.bind("alice", "osc-debug-user")
	e.installPolicies("osc-debug-user")
	e.bind("bob", "osc-debug-viewer")
	e.deployment("web", 1, onRealNode)
	e.createNeighbours()
	e.route(nil)
	before := e.snapshot()

	e.eventually("alice's rights", func() bool { return e.cli("doctor", "--route", "shop").code == 0 })
	if r := e.guardedShift("--weight", "100", "--dry-run=server", "-o", "yaml").wait(); r.code != 0 || r.reports(reason.RightsToListMissing) {
		t.Error(r)
	}
	run := e.guardedShift(append([]string{"--weight", "100", "--trace", "open"}, inSlowVM...)...)
	if !run.reaches("live") {
		t.Fatal(run.wait())
	}
	if run.reports(reason.RightsToListMissing) {
		t.Errorf("the role lacks a right to list: %s", run.progress.String())
	}
	policies, err := core.NetworkingV1().NetworkPolicies(e.ns).List(t.Context(), metav1.ListOptions{})
	e.ok(err)
	budgets, err := core.PolicyV1().PodDisruptionBudgets(e.ns).List(t.Context(), metav1.ListOptions{})
	e.ok(err)
	if len(policies.Items) != 2 || len(budgets.Items) != 2 {
		t.Errorf("%d NetworkPolicies and %d PodDisruptionBudgets, wanted 2 of each: the original's and the session's", len(policies.Items), len(budgets.Items))
	}
	for _, args := range [][]string{{"status"}, {"status", "-o", "tree"}, {"weight", "50", "--router", routerIP}, {"extend", "1m"}, {"exec", "--", "id"}} {
		if r := e.cli(args...); r.code != 0 {
			t.Errorf("%v: %s", args, r)
		}
	}
	bob := func(args ...string) result { return e.start("bob", args...).wait() }
	if r := bob("status", "-o", "tree"); r.code != 0 || !strings.Contains(r.out, "alice") {
		t.Errorf("the viewer's status: %s", r)
	}
	for _, args := range [][]string{{"rollback"}, {"weight", "1", "--router", routerIP}, {"extend", "1m"}, {"exec", "--", "id"}} {
		if r := bob(args...); r.code == 0 {
			t.Errorf("the viewer could run %v: %s", args, r)
		}
	}
	if r := e.cli("rollback"); r.code != 0 {
		t.Error(r)
	}
	run.wait()
	if after := e.snapshot(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	e.checkNothingLeft()
	e.tryBeyondSessions()
	for _, denied := range []string{"get secrets", "list configmaps", "update pods", "patch services", "delete networkpolicies", "update routes", "create routes", "create deployments.apps", "patch statefulsets.apps", "create pods --subresource=portforward", "patch pods --subresource=ephemeralcontainers"} {
		if out := e.canI("alice", strings.Fields(denied)...); out != "no" {
			t.Errorf("kubectl auth can-i %s says %q for alice, wanted no", denied, out)
		}
	}
}

// canI asks 'kubectl auth can-i' whether a user has a right in the namespace, and returns yes or no.
func (e *env) canI(user string, what ...string) string {
	e.t.Helper()
	out, err := kubectlAs(user, append([]string{"-n", e.ns, "auth", "can-i"}, what...)...).Output() // exit 1 means no
	if err != nil && len(out) == 0 {
		e.t.Fatal(fmt.Errorf("kubectl auth can-i: %w", err))
	}
	return strings.TrimSpace(string(out))
}

// createNeighbours creates objects beside Deployment web that a session takes into account: a
// NetworkPolicy, a PodDisruptionBudget, an autoscaler and a quota.
func (e *env) createNeighbours() {
	e.t.Helper()
	web := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	meta := metav1.ObjectMeta{Name: "web"}
	one := intstr.FromInt32(1)
	_, err := core.NetworkingV1().NetworkPolicies(e.ns).Create(e.t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: meta,
		Spec: networkingv1.NetworkPolicySpec{PodSelector: web, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.PolicyV1().PodDisruptionBudgets(e.ns).Create(e.t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: meta,
		Spec: policyv1.PodDisruptionBudgetSpec{Selector: &web, MaxUnavailable: &one}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.AutoscalingV2().HorizontalPodAutoscalers(e.ns).Create(e.t.Context(), &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 2, ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}}, metav1.CreateOptions{})
	e.ok(err)
	_, err = core.CoreV1().ResourceQuotas(e.ns).Create(e.t.Context(), &corev1.ResourceQuota{ObjectMeta: meta,
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}}}, metav1.CreateOptions{})
	e.ok(err)
}
