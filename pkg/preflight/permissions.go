package preflight

import (
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/rights"
)

func checkPermissions(f *Facts) error { return Permissions(f.Namespace.Name, f.User, f.Rules) }

// Permissions returns an error with reason PermissionsMissing that lists the permissions the user
// lacks in the namespace. user is "" if unknown. If rules are nil or incomplete, as with an authorizer
// that cannot list its rules, they prove nothing and the result is nil.
func Permissions(namespace, user string, rules *authorizationv1.SubjectRulesReviewStatus) error {
	if rules == nil || rules.Incomplete {
		return nil
	}
	var missing []string
	for _, right := range rights.Session {
		if !isGranted(rules.ResourceRules, right) {
			missing = append(missing, right.String())
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

func isGranted(rules []authorizationv1.ResourceRule, right rights.Right) bool {
	includes := func(list []string, wanted string) bool {
		return slices.Contains(list, wanted) || slices.Contains(list, "*")
	}
	for _, r := range rules {
		if len(r.ResourceNames) == 0 && includes(r.Verbs, right.Verb) && includes(r.APIGroups, right.Group) && includes(r.Resources, right.Resource) {
			return true
		}
	}
	return false
}
