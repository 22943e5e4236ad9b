package preflight

import (
	"strings"
	"testing"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// A Route that a GitOps tool applies is rejected; the fix contains the setting that makes the tool
// ignore the session's changes.
func TestGitOpsMarks(t *testing.T) {
	for name, c := range map[string]struct {
		meta metav1.ObjectMeta
		code reason.Code
		rule []string
	}{
		"nobody's":             {meta: metav1.ObjectMeta{}},
		"Helm's label alone":   {meta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/instance": "shop"}}},
		"Argo CD's annotation": {meta: metav1.ObjectMeta{Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "shop:route.openshift.io/Route:shop/web"}}, code: reason.ArgoCDAppliesRoute, rule: []string{"RespectIgnoreDifferences=true", "name: web", "/metadata/annotations/osc-debug.dev~1journal]"}},
		"Argo CD's manager":    {meta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}, {Manager: "argocd-controller"}}}, code: reason.ArgoCDAppliesRoute, rule: []string{"ignoreDifferences"}},
		"Flux' Kustomization":  {meta: metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}}, code: reason.FluxAppliesRoute, rule: []string{"oc annotate route web -n shop kustomize.toolkit.fluxcd.io/reconcile=disabled"}},
		"Flux, disabled":       {meta: metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, Annotations: map[string]string{"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}}},
		"Flux once only":       {meta: metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, Annotations: map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}}},
		"Flux' HelmRelease":    {meta: metav1.ObjectMeta{Labels: map[string]string{"helm.toolkit.fluxcd.io/name": "shop"}}, code: reason.HelmReleaseAppliesRoute, rule: []string{"driftDetection", "target: {kind: Route, name: web}"}},
	} {
		c.meta.Namespace, c.meta.Name = "shop", "web"
		err := checkGitOps(&Facts{Route: &routev1.Route{ObjectMeta: c.meta}})
		if reason.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, rule := range c.rule {
			if fix := reason.Of(err).Fix(nil); !strings.Contains(fix, rule) {
				t.Errorf("%s: no %q in: %s", name, rule, fix)
			}
		}
	}
}

func TestQuotasCountAllPodsOfASession(t *testing.T) {
	quantity := resource.MustParse
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("300m")}}}},
		Containers: []corev1.Container{
			{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("100m"), "memory": quantity("64Mi")}, Limits: corev1.ResourceList{"memory": quantity("128Mi")}}},
			{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("50m")}}},
		},
	}}
	class := "fast"
	pod.Spec.Volumes = []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": quantity("1Gi")}}},
	}}}}}
	for name, c := range map[string]struct {
		spec       corev1.ResourceQuotaSpec
		hard, used corev1.ResourceList
		n          int
		refused    string // words in the error
		line       string
	}{
		"room":          {hard: corev1.ResourceList{"pods": quantity("5")}, used: corev1.ResourceList{"pods": quantity("3")}, n: 2, line: "quota q: pods 3 of 5 used, the session takes 2"},
		"one too many":  {hard: corev1.ResourceList{"pods": quantity("5")}, used: corev1.ResourceList{"pods": quantity("3")}, n: 3, refused: "pods 3 5 3"},
		"the larger":    {hard: corev1.ResourceList{"requests.cpu": quantity("1")}, used: corev1.ResourceList{"requests.cpu": quantity("500m")}, n: 2, refused: "requests.cpu 500m 1 2 600m"},
		"cpu for short": {hard: corev1.ResourceList{"cpu": quantity("1")}, used: corev1.ResourceList{"cpu": quantity("800m")}, n: 1, refused: "cpu 800m 1 300m"},
		"limits":        {hard: corev1.ResourceList{"limits.memory": quantity("200Mi")}, used: corev1.ResourceList{"limits.memory": quantity("100Mi")}, n: 1, refused: "limits.memory"},
		"a Service":     {hard: corev1.ResourceList{"services": quantity("1")}, used: corev1.ResourceList{"services": quantity("1")}, n: 1, refused: "services 1 1"},
		"a budget":      {hard: corev1.ResourceList{"count/poddisruptionbudgets.policy": quantity("1")}, used: corev1.ResourceList{"count/poddisruptionbudgets.policy": quantity("1")}, n: 1, refused: "count/poddisruptionbudgets.policy 1 1"},
		"policies":      {hard: corev1.ResourceList{"count/networkpolicies.networking.k8s.io": quantity("4")}, used: corev1.ResourceList{"count/networkpolicies.networking.k8s.io": quantity("3")}, n: 1, refused: "count/networkpolicies.networking.k8s.io 3 4 2"},
		"claims":        {hard: corev1.ResourceList{"persistentvolumeclaims": quantity("2")}, used: corev1.ResourceList{"persistentvolumeclaims": quantity("1")}, n: 2, refused: "persistentvolumeclaims 1 2 2"},
		"their storage": {hard: corev1.ResourceList{"requests.storage": quantity("3Gi")}, used: corev1.ResourceList{"requests.storage": quantity("2Gi")}, n: 2, refused: "requests.storage 2Gi 3Gi"},
		"of a class":    {hard: corev1.ResourceList{"fast.storageclass.storage.k8s.io/requests.storage": quantity("1Gi")}, n: 2, refused: "fast.storageclass.storage.k8s.io/requests.storage 1Gi 2Gi"},
		"of others":     {hard: corev1.ResourceList{"slow.storageclass.storage.k8s.io/requests.storage": quantity("0")}, n: 1},
		"others' scope": {spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{"NotTerminating"}}, hard: corev1.ResourceList{"pods": quantity("0")}, n: 1},
		"its scope":     {spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{"Terminating"}}, hard: corev1.ResourceList{"pods": quantity("0")}, n: 1, refused: "pods 0 0"},
		"other things":  {hard: corev1.ResourceList{"configmaps": quantity("0")}, n: 1},
		"no priority": {spec: corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: "PriorityClass", Operator: "In", Values: []string{"high"}}}}}, hard: corev1.ResourceList{"pods": quantity("0")}, n: 1},
	} {
		lines, err := Quota([]corev1.ResourceQuota{{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: c.spec, Status: corev1.ResourceQuotaStatus{Hard: c.hard, Used: c.used}}}, Objects{Pod: pod, Pods: c.n, Policies: 2, Budgets: 1})
		if reason.Is(err, reason.QuotaTooSmall) != (c.refused != "") {
			t.Errorf("%s: %v, wanted an error with %q", name, err, c.refused)
		}
		for _, word := range strings.Fields(c.refused) {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("%s: no %q in: %v", name, word, err)
			}
		}
		if c.line != "" && (len(lines) != 1 || lines[0] != c.line) {
			t.Errorf("%s: %q, wanted %q", name, lines, c.line)
		}
	}
}

func TestRoutersThatDoNotServe(t *testing.T) {
	ingress := func(name string, status corev1.ConditionStatus) routev1.RouteIngress {
		return routev1.RouteIngress{RouterName: name, Conditions: []routev1.RouteIngressCondition{{Type: routev1.RouteAdmitted, Status: status, Reason: "HostAlreadyClaimed", Message: "taken"}}}
	}
	r := &routev1.Route{}
	for _, c := range []struct {
		ingress []routev1.RouteIngress
		routers []string
	}{
		{[]routev1.RouteIngress{ingress("default", "True")}, nil},
		{[]routev1.RouteIngress{ingress("default", "True"), ingress("internal", "False")}, []string{"internal"}},
		{[]routev1.RouteIngress{ingress("default", "True"), ingress("internal", "True")}, nil},
	} {
		r.Status.Ingress = c.ingress
		got := OtherRouters(r)
		if len(got) != len(c.routers) {
			t.Errorf("%v: %v", c.ingress, got)
			continue
		}
		for i, router := range c.routers {
			if !reason.Is(got[i], reason.RouterNotServing) || !strings.Contains(got[i].Error(), router) || !strings.Contains(got[i].Error(), "HostAlreadyClaimed: taken") {
				t.Errorf("%v, wanted a warning of router %s", got[i], router)
			}
		}
	}
	for probed, refused := range []bool{true, true, false} { // of the two that serve it
		if err := Unproven(r, probed); reason.Is(err, reason.RoutersNotProbed) != refused || err != nil && !strings.Contains(err.Error(), "default, internal") {
			t.Errorf("%d probed: %v", probed, err)
		}
	}
}
