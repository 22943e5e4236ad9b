package preflight

import (
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
)

// permission is one that a session needs.
type permission struct{ group, resource, verb string }

// requiredPermissions are granted by ClusterRole osc-debug-user (manifests/rbac) and by role edit.
var requiredPermissions = []permission{
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

func checkPermissions(f *Facts) error { return Permissions(f.Namespace.Name, f.User, f.Rules) }

// Permissions returns an error with reason PermissionsMissing that lists the permissions the user
// lacks in the namespace. user is "" if unknown. If rules are nil or incomplete, as with an authorizer
// that cannot list its rules, they prove nothing and the result is nil.
func Permissions(namespace, user string, rules *authorizationv1.SubjectRulesReviewStatus) error {
	if rules == nil || rules.Incomplete {
		return nil
	}
	var missing []string
	for _, p := range requiredPermissions {
		if !isGranted(rules.ResourceRules, p) {
			resource := p.resource
			if p.group != "" {
				resource += "." + p.group
			}
			missing = append(missing, p.verb+" "+resource)
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

func isGranted(rules []authorizationv1.ResourceRule, p permission) bool {
	includes := func(list []string, wanted string) bool {
		return slices.Contains(list, wanted) || slices.Contains(list, "*")
	}
	for _, r := range rules {
		if len(r.ResourceNames) == 0 && includes(r.Verbs, p.verb) && includes(r.APIGroups, p.group) && includes(r.Resources, p.resource) {
			return true
		}
	}
	return false
}
