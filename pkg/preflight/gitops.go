package preflight

import (
	"strings"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/reason"
	"github.com/osc-debug/osc-debug/pkg/session/record"
)

// gitops refuses a Route that a GitOps tool applies: it would take the session's weights
// back within minutes. The fix has the rule by which it lets them be.
func gitops(f *Facts) error {
	r := f.Route
	label, journal := pointer(record.Label), pointer(record.JournalKey)
	switch {
	case r.Annotations["argocd.argoproj.io/tracking-id"] != "" || manages(r, "argocd-controller", "argocd-application-controller"):
		return reason.New(reason.ArgoCDAppliesRoute, "namespace", r.Namespace, "route", r.Name, "label", label, "journal", journal)
	case off(r, "kustomize.toolkit.fluxcd.io/reconcile") || r.Annotations["kustomize.toolkit.fluxcd.io/ssa"] == "IfNotPresent":
		return nil
	case r.Labels["kustomize.toolkit.fluxcd.io/name"] != "" || manages(r, "kustomize-controller"):
		return reason.New(reason.FluxAppliesRoute, "namespace", r.Namespace, "route", r.Name, "kustomization", r.Labels["kustomize.toolkit.fluxcd.io/name"])
	case r.Labels["helm.toolkit.fluxcd.io/name"] != "" || manages(r, "helm-controller"):
		return reason.New(reason.HelmReleaseAppliesRoute, "namespace", r.Namespace, "route", r.Name,
			"release", r.Labels["helm.toolkit.fluxcd.io/name"], "label", label, "journal", journal)
	}
	return nil
}

func off(r *routev1.Route, annotation string) bool {
	return strings.EqualFold(r.Annotations[annotation], "disabled")
}

// manages says whether one of these applied the Route.
func manages(r *routev1.Route, managers ...string) bool {
	for _, f := range r.ManagedFields {
		for _, m := range managers {
			if f.Manager == m {
				return true
			}
		}
	}
	return false
}

// pointer writes a key as a part of a JSON pointer (RFC 6901).
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
