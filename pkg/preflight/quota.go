package preflight

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// Quota compares a session's n pods and its Service with what is left of the namespace's quotas. It
// returns one line for each quota that counts them, and an error with reason QuotaTooSmall for the
// first resource of which too little is left. pod is any of the session's pods.
func Quota(quotas []corev1.ResourceQuota, pod *corev1.Pod, n int) (lines []string, err error) {
	usage := sessionUsage(pod, int64(n))
	for _, q := range quotas {
		if !countsSandboxPods(q.Spec) {
			continue
		}
		var parts []string
		for _, name := range sortedNames(q.Status.Hard) {
			need, counted := usage[name]
			if !counted || need.IsZero() {
				continue
			}
			hard, used := q.Status.Hard[name], q.Status.Used[name]
			parts = append(parts, fmt.Sprintf("%s %s of %s used, the session takes %s", name, used.String(), hard.String(), need.String()))
			after := used.DeepCopy()
			after.Add(need)
			if after.Cmp(hard) > 0 && err == nil {
				err = reason.New(reason.QuotaTooSmall, "quota", q.Name, "resource", name, "used", used.String(), "hard", hard.String(), "pods", n, "need", need.String())
			}
		}
		if parts != nil {
			lines = append(lines, fmt.Sprintf("quota %s: %s", q.Name, strings.Join(parts, "; ")))
		}
	}
	return lines, err
}

// sessionUsage returns what quotas count for a session with n pods.
func sessionUsage(pod *corev1.Pod, n int64) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourcePods: *resource.NewQuantity(n, resource.DecimalSI), "count/pods": *resource.NewQuantity(n, resource.DecimalSI),
		corev1.ResourceServices: *resource.NewQuantity(1, resource.DecimalSI), "count/services": *resource.NewQuantity(1, resource.DecimalSI),
	}
	times := func(q resource.Quantity) resource.Quantity { q.Mul(n); return q }
	for name, q := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		out["requests."+name] = times(q)
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory {
			out[name] = times(q)
		}
	}
	for name, q := range resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}) {
		out["limits."+name] = times(q)
	}
	return out
}

// countsSandboxPods reports whether a quota's scopes include sandbox pods. These have a deadline
// (scope Terminating), requests (scope NotBestEffort) and no priority class.
func countsSandboxPods(spec corev1.ResourceQuotaSpec) bool {
	excluding := []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopePriorityClass}
	for _, s := range spec.Scopes {
		if slices.Contains(excluding, s) {
			return false
		}
	}
	if spec.ScopeSelector != nil {
		for _, e := range spec.ScopeSelector.MatchExpressions {
			if slices.Contains(excluding, e.ScopeName) && e.Operator != corev1.ScopeSelectorOpDoesNotExist && e.Operator != corev1.ScopeSelectorOpNotIn {
				return false
			}
		}
	}
	return true
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name := range list {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
