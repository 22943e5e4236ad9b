package preflight

import "github.com/osc-debug/osc-debug/pkg/reason"

// pluginMessages maps common rejections by plugins of Kubernetes and OpenShift to codes. These
// plugins return no codes, so a part of the message's text identifies them. This is the only place
// that examines a message's text, and only to pick a code. The first match wins.
var pluginMessages = []struct {
	text string
	code reason.Code
}{
	// k8s.io/pod-security-admission, admission.
	{"violates PodSecurity", reason.PodSecurityForbids},
	// github.com/openshift/apiserver-library-go, pkg/securitycontextconstraints (capabilities,
	// sccmatching, sccadmission). The third message also precedes the first two, which say what
	// the required SCC does not allow. On its own it means that the caller may not use the SCC.
	{"capability may not be added", reason.SCCForbidsCapability},
	{"volumes are not allowed to be used", reason.SCCForbidsVolume},
	{"unable to validate against any security context constraint", reason.SCCNotGranted},
	// k8s.io/apiserver, pkg/admission/plugin/policy/generic: the binding's parameters do not exist.
	{"no params found", reason.PolicyParamsMissing},
	// k8s.io/kubernetes, plugin/pkg/admission/limitranger.
	{"usage per Container", reason.LimitRangeExceeded},
	{"usage per Pod", reason.LimitRangeExceeded},
	{"limit to request ratio per", reason.LimitRangeExceeded},
	// k8s.io/kubernetes, plugin/pkg/admission/runtimeclass.
	{"pod rejected: RuntimeClass", reason.RuntimeClassNotFound},
	// k8s.io/apiserver, pkg/admission/plugin/resourcequota. "failed quota": the pod does not specify
	// a resource that the quota counts.
	{"failed quota", reason.QuotaWantsResources},
	{"exceeded quota", reason.QuotaExceeded},
	// k8s.io/kubernetes, plugin/pkg/admission/gc.
	{"cannot set an ownerRef", reason.OwnerReferenceForbidden},
	// github.com/openshift/library-go, pkg/route.
	{"permission on custom-host", reason.CustomHostForbidden},
}
