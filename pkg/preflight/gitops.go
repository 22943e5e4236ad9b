package preflight

import (
	"fmt"
	"strings"

	routev1 "github.com/openshift/api/route/v1"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// gitops refuses a Route that a GitOps tool applies: it would take the session's weights
// back within minutes. The message has the rule by which it lets them be.
func gitops(f *Facts) error {
	r := f.Route
	switch {
	case r.Annotations["argocd.argoproj.io/tracking-id"] != "" || manages(r, "argocd-controller", "argocd-application-controller"):
		return fmt.Errorf(`%s: Argo CD applies it and would take the session's weights back. Add to its Application, then give --force:
  spec:
    syncPolicy:
      syncOptions: [RespectIgnoreDifferences=true]
    ignoreDifferences:
    - group: route.openshift.io
      kind: Route
      name: %s
      jsonPointers: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/%s, /metadata/annotations/%s]`,
			name(r), r.Name, pointer(session.Label), pointer(session.JournalKey))
	case off(r, "kustomize.toolkit.fluxcd.io/reconcile") || r.Annotations["kustomize.toolkit.fluxcd.io/ssa"] == "IfNotPresent":
		return nil
	case r.Labels["kustomize.toolkit.fluxcd.io/name"] != "" || manages(r, "kustomize-controller"):
		return fmt.Errorf(`%s: Flux applies it (Kustomization %s) and would take the session's weights back. Have it leave the Route alone for the session, then it is not refused:
  oc annotate route %s -n %s kustomize.toolkit.fluxcd.io/reconcile=disabled`, name(r), r.Labels["kustomize.toolkit.fluxcd.io/name"], r.Name, r.Namespace)
	case r.Labels["helm.toolkit.fluxcd.io/name"] != "" || manages(r, "helm-controller"):
		return fmt.Errorf(`%s: Flux applies it (HelmRelease %s) and may take the session's weights back. Add to the HelmRelease, then give --force:
  spec:
    driftDetection:
      ignore:
      - paths: [/spec/to/weight, /spec/alternateBackends, /metadata/labels/%s, /metadata/annotations/%s]
        target: {kind: Route, name: %s}`,
			name(r), r.Labels["helm.toolkit.fluxcd.io/name"], pointer(session.Label), pointer(session.JournalKey), r.Name)
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
