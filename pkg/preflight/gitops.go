package preflight

import (
	"cmp"
	"strings"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// checkGitOps rejects a Route that a GitOps tool applies: the tool would revert the session's weights
// within minutes. The fix contains the setting that makes the tool ignore them.
func checkGitOps(f *Facts) error {
	r := f.Route
	label, journal := escapePointer(record.Label), escapePointer(record.JournalKey)
	switch {
	case r.Annotations["argocd.argoproj.io/tracking-id"] != "" || isManagedBy(r, "argocd-controller", "argocd-application-controller"):
		return reason.New(reason.ArgoCDAppliesRoute, "namespace", r.Namespace, "route", r.Name, "label", label, "journal", journal)
	case isDisabled(r, "kustomize.toolkit.fluxcd.io/reconcile") || r.Annotations["kustomize.toolkit.fluxcd.io/ssa"] == "IfNotPresent":
		return nil
	case r.Labels["kustomize.toolkit.fluxcd.io/name"] != "" || isManagedBy(r, "kustomize-controller"):
		return reason.New(reason.FluxAppliesRoute, "namespace", r.Namespace, "route", r.Name, "kustomization", cmp.Or(r.Labels["kustomize.toolkit.fluxcd.io/name"], "unknown"))
	case r.Labels["helm.toolkit.fluxcd.io/name"] != "" || isManagedBy(r, "helm-controller"):
		return reason.New(reason.HelmReleaseAppliesRoute, "namespace", r.Namespace, "route", r.Name,
			"release", cmp.Or(r.Labels["helm.toolkit.fluxcd.io/name"], "unknown"), "label", label, "journal", journal)
	}
	return nil
}

func isDisabled(r *routev1.Route, annotation string) bool {
	return strings.EqualFold(r.Annotations[annotation], "disabled")
}

// isManagedBy reports whether one of the field managers applied the Route.
func isManagedBy(r *routev1.Route, managers ...string) bool {
	for _, f := range r.ManagedFields {
		for _, m := range managers {
			if f.Manager == m {
				return true
			}
		}
	}
	return false
}

// escapePointer escapes a key for use in a JSON pointer (RFC 6901).
func escapePointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
