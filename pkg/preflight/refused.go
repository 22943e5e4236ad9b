package preflight

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/osc-debug/osc-debug/pkg/session"
)

// What mends obstacles that several checks meet.
const (
	mendEmpty       = "--empty-volume gives the sandbox an empty volume instead"
	mendPowers      = "a sandbox' own containers may have NET_BIND_SERVICE alone: have a cluster administrator add what this one needs to SCC osc-debug-kata (allowedCapabilities), and its image, by digest, to images of ConfigMap osc-debug in namespace osc-debug"
	MendSCC         = "you have no grant to use SCC osc-debug-kata: have a cluster administrator apply 'osc-debug manifests scc' and 'osc-debug manifests rbac', then 'oc create rolebinding osc-debug --clusterrole=osc-debug-user --user=YOU -n NAMESPACE'"
	MendPermissions = "ask for 'oc create rolebinding osc-debug --clusterrole=osc-debug-user --user=YOU -n NAMESPACE' (a cluster administrator makes the role: 'osc-debug manifests rbac')"
	MendPodSecurity = "a namespace that holds sandboxes needs a label, and the sandbox policy still refuses every other privileged pod: 'oc label namespace NAMESPACE pod-security.kubernetes.io/enforce=privileged security.openshift.io/scc.podSecurityLabelSync=false --overwrite'"
)

// Concrete fills into what mends the namespace and the user, "" for one who is not known.
func Concrete(mend, namespace, user string) string {
	if user == "" {
		user = "YOU"
	}
	return strings.NewReplacer("NAMESPACE", namespace, "YOU", user).Replace(mend)
}

// meanings of refusals that people meet often, by a part of the API server's words.
var meanings = []struct{ words, mend string }{
	{"violates PodSecurity", MendPodSecurity},
	// What SCC admission says of a pod that does not fit the one SCC that it is to be judged by
	// (github.com/openshift/apiserver-library-go, sccmatching); else there is no grant.
	{"capability may not be added", mendPowers},
	{"volumes are not allowed to be used", mendEmpty},
	{"unable to validate against any security context constraint", MendSCC},
	{"has volumes of these kinds only", mendEmpty},
	{"names in images, by digest", "have an administrator add the image, by digest, to images of ConfigMap osc-debug in namespace osc-debug: 'oc edit configmap osc-debug -n osc-debug' (on OpenShift, capabilities that it adds also to allowedCapabilities of SCC osc-debug-kata)"},
	{"no params found", "the sandbox policy finds no ConfigMap osc-debug in namespace osc-debug: have an administrator apply 'osc-debug manifests guard'"},
	{"a runtime class for VMs", "name one of those with --runtime-class, or have an administrator add it to runtimeClasses of ConfigMap osc-debug in namespace osc-debug"},
	{"usage per Container", "a LimitRange of the namespace does not let the pod in: 'oc describe limitrange' shows it"},
	{"usage per Pod", "a LimitRange of the namespace does not let the pod in: 'oc describe limitrange' shows it"},
	{"RuntimeClass", "the cluster has no such RuntimeClass: install OpenShift sandboxed containers, or name another with --runtime-class"},
	{"must specify", "a quota of the namespace wants limits or requests of every container: give them to the workload's, or let a LimitRange set defaults"},
	{"exceeded quota", "free some of the namespace's quota, or ask for more"},
	{"cannot set an ownerRef", "you lack a right that owner references need: roles edit and osc-debug-user have it"},
	{"custom-host", "the Route's host or certificate is protected: ask for permission routes/custom-host"},
}

// Refused says what the API server's refusal of an object means for who meets it.
func Refused(what string, err error) error {
	if err == nil {
		return nil
	}
	if other := (*session.InSession)(nil); errors.As(err, &other) {
		return err // somebody was faster: no judgement of the API server's
	}
	refusal := &Refusal{Check: "dry run", Cause: fmt.Errorf("the API server refuses %s: %w", what, err), Rights: apierrors.IsForbidden(err) || denied(err)}
	for _, m := range meanings {
		if strings.Contains(err.Error(), m.words) {
			refusal.Mend = m.mend
			break
		}
	}
	return refusal
}

// denied says whether an admission policy or webhook refused an object: with whichever
// reason it chose, it says so.
func denied(err error) bool {
	return strings.Contains(err.Error(), "denied request") || strings.Contains(err.Error(), "denied the request")
}

// OfLimits says whether a quota or LimitRange of the namespace is why the API server
// refused something.
func OfLimits(err error) bool {
	text := err.Error()
	return strings.Contains(text, "exceeded quota") || strings.Contains(text, "usage per Container") || strings.Contains(text, "usage per Pod") ||
		strings.Contains(text, "limit to request ratio per")
}
