package preflight

import "github.com/osc-debug/osc-debug/pkg/reason"

// foreign are refusals of plugins of Kubernetes and OpenShift that people meet often, by a part
// of their words: these plugins give no codes. This is the only place where a message's text is
// looked at, and for nothing but picking a code. The first that fits counts.
var foreign = []struct {
	words string
	code  reason.Code
}{
	// k8s.io/pod-security-admission, admission.
	{"violates PodSecurity", reason.PodSecurityForbids},
	// github.com/openshift/apiserver-library-go, pkg/securitycontextconstraints (capabilities,
	// sccmatching, sccadmission): what does not fit the one SCC that a pod is to be judged by
	// stands behind the words of the last, which alone mean that there is no grant.
	{"capability may not be added", reason.SCCForbidsCapability},
	{"volumes are not allowed to be used", reason.SCCForbidsVolume},
	{"unable to validate against any security context constraint", reason.SCCNotGranted},
	// k8s.io/apiserver, pkg/admission/plugin/policy/generic: a binding whose parameters are gone.
	{"no params found", reason.PolicyParamsMissing},
	// k8s.io/kubernetes, plugin/pkg/admission/limitranger.
	{"usage per Container", reason.LimitRangeExceeded},
	{"usage per Pod", reason.LimitRangeExceeded},
	{"limit to request ratio per", reason.LimitRangeExceeded},
	// k8s.io/kubernetes, plugin/pkg/admission/runtimeclass.
	{"pod rejected: RuntimeClass", reason.RuntimeClassNotFound},
	// k8s.io/apiserver, pkg/admission/plugin/resourcequota: what is counted must be specified.
	{"failed quota", reason.QuotaWantsResources},
	{"exceeded quota", reason.QuotaExceeded},
	// k8s.io/kubernetes, plugin/pkg/admission/gc.
	{"cannot set an ownerRef", reason.OwnerReferenceForbidden},
	// github.com/openshift/library-go, pkg/route.
	{"permission on custom-host", reason.CustomHostForbidden},
}
