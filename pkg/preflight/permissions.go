package preflight

import (
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// need is a right that a session uses. ClusterRole osc-debug-user (manifests/rbac) and role
// edit grant all of them.
type need struct{ group, resource, verb string }

var needs = []need{
	{"route.openshift.io", "routes", "get"},
	{"route.openshift.io", "routes", "patch"},
	{"", "services", "create"},
	{"", "services", "list"},
	{"", "services", "delete"},
	{"", "pods", "create"},
	{"", "pods", "list"},
	{"", "pods", "watch"},
	{"", "pods", "delete"},
	{"", "pods/exec", "create"},
	{"discovery.k8s.io", "endpointslices", "list"},
	{"discovery.k8s.io", "endpointslices", "watch"},
	{"apps", "replicasets", "list"},
}

func permissions(f *Facts) error { return Permissions(f.Namespace.Name, f.User, f.Rules) }

// Permissions names each verb that a user, "" for one who is not known, lacks in a namespace. An incomplete answer (an
// authorizer that can't list its rules) proves nothing and passes.
func Permissions(namespace, user string, rules *authorizationv1.SubjectRulesReviewStatus) error {
	if rules == nil || rules.Incomplete {
		return nil
	}
	var missing []string
	for _, n := range needs {
		if !granted(rules.ResourceRules, n) {
			resource := n.resource
			if n.group != "" {
				resource += "." + n.group
			}
			missing = append(missing, n.verb+" "+resource)
		}
	}
	if missing == nil {
		return nil
	}
	who := user
	if who == "" {
		who = "you"
	}
	return reason.Forbidden(reason.PermissionsMissing, "namespace", namespace, "who", who, "verbs", strings.Join(missing, ", "), "user", user)
}

func granted(rules []authorizationv1.ResourceRule, n need) bool {
	has := func(list []string, wanted string) bool {
		return slices.Contains(list, wanted) || slices.Contains(list, "*")
	}
	for _, r := range rules {
		if len(r.ResourceNames) == 0 && has(r.Verbs, n.verb) && has(r.APIGroups, n.group) && has(r.Resources, n.resource) {
			return true
		}
	}
	return false
}
