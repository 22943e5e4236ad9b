package router

import (
	"sort"

	routev1 "github.com/openshift/api/route/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// canonicalHost returns the host that the DNS names of Routes would point to with a real router.
func canonicalHost(router string) string { return "router-" + router + ".apps.osc-debug.test" }

// verdict says whether the router serves a Route.
type verdict struct {
	route           *routev1.Route
	reason, message string // empty when admitted
}

// admit decides which Routes are served. The oldest Route owns its host; a younger one in another
// namespace or with the same path is rejected with HostAlreadyClaimed.
func admit(routes []*routev1.Route) []verdict {
	sorted := append([]*routev1.Route(nil), routes...)
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
			return a.CreationTimestamp.Before(&b.CreationTimestamp)
		}
		return a.UID < b.UID
	})
	namespaces, paths := map[string]string{}, map[string]bool{}
	var out []verdict
	for _, r := range sorted {
		v := verdict{route: r}
		host := r.Spec.Host
		owner, claimed := namespaces[host]
		switch {
		case host == "":
			v.reason, v.message = "NoHostValue", "no host value was defined for the route"
		case claimed && owner != r.Namespace || paths[host+r.Spec.Path]:
			v.reason, v.message = "HostAlreadyClaimed", "an older route in another namespace or with the same path owns "+host
		default:
			namespaces[host], paths[host+r.Spec.Path] = r.Namespace, true
		}
		out = append(out, v)
	}
	return out
}

// status returns the Route's status with the entry of a router, and whether it differs from the current
// status.
func (v verdict) status(router string, now metav1.Time) (routev1.RouteStatus, bool) {
	condition := routev1.RouteIngressCondition{Type: routev1.RouteAdmitted, Status: corev1.ConditionTrue, LastTransitionTime: &now}
	if v.reason != "" {
		condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, v.reason, v.message
	}
	mine := routev1.RouteIngress{
		Host: v.route.Spec.Host, RouterName: router, RouterCanonicalHostname: canonicalHost(router),
		WildcardPolicy: v.route.Spec.WildcardPolicy, Conditions: []routev1.RouteIngressCondition{condition},
	}
	status := *v.route.Status.DeepCopy()
	for i, e := range status.Ingress {
		if e.RouterName != router {
			continue
		}
		if len(e.Conditions) == 1 && e.Host == mine.Host && e.Conditions[0].Status == condition.Status && e.Conditions[0].Reason == condition.Reason {
			return status, false
		}
		status.Ingress[i] = mine
		return status, true
	}
	status.Ingress = append(status.Ingress, mine)
	return status, true
}
