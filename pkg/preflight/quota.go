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

// Objects is what a session creates.
type Objects struct {
	Pod      *corev1.Pod // any of its pods
	Pods     int
	Policies int // NetworkPolicies
	Budgets  int // PodDisruptionBudgets
}

// Quota compares a session's objects and its Service with what is left of the namespace's quotas. It
// returns one line for each quota that counts them, and an error with reason QuotaTooSmall for the
// first resource of which too little is left.
func Quota(quotas []corev1.ResourceQuota, o Objects) (lines []string, err error) {
	usage, n := sessionUsage(o), o.Pods
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

// sessionUsage returns what quotas count for a session.
func sessionUsage(o Objects) corev1.ResourceList {
	number := func(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }
	out := corev1.ResourceList{
		corev1.ResourcePods: number(o.Pods), "count/pods": number(o.Pods),
		corev1.ResourceServices: number(1), "count/services": number(1),
		"count/networkpolicies.networking.k8s.io": number(o.Policies), "count/poddisruptionbudgets.policy": number(o.Budgets),
	}
	pod := o.Pod
	times := func(q resource.Quantity) resource.Quantity { q.Mul(int64(o.Pods)); return q }
	addClaims(out, pod, times)
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

// addClaims adds what quotas count for the claims of a pod's ephemeral volumes: their number and storage, in all and
// of each storage class.
func addClaims(out corev1.ResourceList, pod *corev1.Pod, times func(resource.Quantity) resource.Quantity) {
	add := func(name corev1.ResourceName, q resource.Quantity) {
		sum := out[name]
		sum.Add(times(q))
		out[name] = sum
	}
	one := *resource.NewQuantity(1, resource.DecimalSI)
	for _, v := range pod.Spec.Volumes {
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		spec := v.Ephemeral.VolumeClaimTemplate.Spec
		storage := spec.Resources.Requests[corev1.ResourceStorage]
		add(corev1.ResourcePersistentVolumeClaims, one)
		add("count/persistentvolumeclaims", one)
		add(corev1.ResourceRequestsStorage, storage)
		if spec.StorageClassName != nil {
			class := corev1.ResourceName(*spec.StorageClassName + ".storageclass.storage.k8s.io/")
			add(class+corev1.ResourcePersistentVolumeClaims, one)
			add(class+corev1.ResourceRequestsStorage, storage)
		}
	}
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
